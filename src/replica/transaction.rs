//! Several keys that change together.
//!
//! The keys of a *group* are the parts of one value, which has one sequence: a transaction is one update of it, carrying only
//! what it changes. So there is nothing to keep together: whoever reads a snapshot of a replica sees all of a transaction or
//! nothing of it, and what is lost, late or repeated is what it is for any value: a gap, and a refetch.
//!
//! A key's version is the sequence in which it was changed last. An expectation compares versions, and a [`Ledger`] decides all
//! of a transaction's against exactly the state that it changes.

use std::collections::BTreeMap;
use std::collections::btree_map;

use thiserror::Error;

use super::optimistic::Intent;
use crate::sync::StdArc;

/// The keys of a group and their values, as of one sequence. To change it copies the map, not the values.
#[derive(Debug, PartialEq, Eq)]
pub struct Group<V>(BTreeMap<StdArc<str>, Versioned<V>>);

/// A value of a group.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Versioned<V> {
    /// The value.
    pub value: StdArc<V>,
    /// The sequence in which it was written; none as long as a write is pending (see [`Writes`](super::Writes)).
    pub version: Option<u64>,
}

impl<V> Group<V> {
    /// No keys.
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// What is at a key; none when nothing is.
    pub fn get(&self, key: &str) -> Option<&Versioned<V>> {
        self.0.get(key)
    }

    /// The keys with what is at them, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Versioned<V>)> {
        self.0.iter().map(|(key, versioned)| (&**key, versioned))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with a key, for who receives a group from elsewhere.
    #[must_use]
    pub fn with(mut self, key: impl Into<StdArc<str>>, version: u64, value: V) -> Self {
        self.0.insert(key.into(), Versioned { value: StdArc::new(value), version: Some(version) });
        self
    }

    fn change(&mut self, changes: &Changes<V>, version: Option<u64>) {
        for (key, change) in changes {
            match change {
                Some(value) => drop(self.0.insert(key.clone(), Versioned { value: value.clone(), version })),
                None => drop(self.0.remove(key)),
            }
        }
    }

    /// Goes on to the group of this sequence.
    pub(super) fn commit(&mut self, sequence: u64, changes: &Changes<V>) {
        self.change(changes, Some(sequence));
    }

    /// The group of this sequence, which comes after this one.
    pub(super) fn after(&self, sequence: u64, changes: &Changes<V>) -> Self {
        let mut after = self.clone();
        after.commit(sequence, changes);
        after
    }
}

/// What is written to each key; none removes it.
pub(super) type Changes<V> = BTreeMap<StdArc<str>, Option<StdArc<V>>>;

/// Changes of several keys of a group, all of them or none, and what has to hold for them.
///
/// An [`Intent`], too: a transaction may be proposed ([`Writes`](super::Writes)) and shown before the authority has committed it.
/// What it is expected to find is for the authority to decide; shown, it is applied whatever there is.
///
/// ```
/// use annals::replica::{Ledger, Transaction};
///
/// let mut ledger = Ledger::new();
/// ledger.commit(&Transaction::new().put("alice", 100).put("bob", 0))?;
/// let transfer = Transaction::new().put("alice", 70).put("bob", 30).expect("alice", 1);
/// ledger.commit(&transfer)?;
///
/// let late = ledger.commit(&transfer).unwrap_err();
/// assert_eq!(late.to_string(), r#"key "alice" has version 2, expected 1"#);
/// # Ok::<(), annals::replica::CommitFailure>(())
/// ```
#[derive(Debug)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction<V> {
    changes: Changes<V>,
    expected: BTreeMap<StdArc<str>, Option<u64>>,
}

impl<V> Transaction<V> {
    /// No changes, no expectations.
    pub fn new() -> Self {
        Self { changes: BTreeMap::new(), expected: BTreeMap::new() }
    }

    /// Writes a key. Of several changes of one key the last one counts.
    pub fn put(mut self, key: impl Into<StdArc<str>>, value: V) -> Self {
        self.changes.insert(key.into(), Some(StdArc::new(value)));
        self
    }

    /// Removes a key; one that is not there stays so.
    pub fn remove(mut self, key: impl Into<StdArc<str>>) -> Self {
        self.changes.insert(key.into(), None);
        self
    }

    /// The key must have this version. Of several expectations of one key the last one counts.
    pub fn expect(mut self, key: impl Into<StdArc<str>>, version: u64) -> Self {
        self.expected.insert(key.into(), Some(version));
        self
    }

    /// The key must not be there.
    pub fn expect_absent(mut self, key: impl Into<StdArc<str>>) -> Self {
        self.expected.insert(key.into(), None);
        self
    }

    /// What it writes, and removes (none), in the order of keys.
    pub fn changes(&self) -> impl Iterator<Item = (&str, Option<&StdArc<V>>)> {
        self.changes.iter().map(|(key, change)| (&**key, change.as_ref()))
    }

    /// The versions that it expects; none, that a key is not there.
    pub fn expected(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.expected.iter().map(|(key, version)| (&**key, *version))
    }

    pub(super) fn shared_changes(&self) -> Changes<V> {
        self.changes.clone()
    }

    /// The first expectation that does not hold.
    pub(super) fn conflict(&self, group: &Group<V>) -> Option<TransactionConflict> {
        self.expected.iter().find_map(|(key, expected)| {
            let actual = group.get(key).and_then(|versioned| versioned.version);
            let conflict = || TransactionConflict { key: (&**key).into(), expected: *expected, actual };
            (actual != *expected).then(conflict)
        })
    }
}

impl<V> Intent<Group<V>> for Transaction<V> {
    fn apply(&self, group: &mut Group<V>) {
        group.change(&self.changes, None);
    }
}

/// A key was not as a transaction expected it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("key {key:?} {}, expected {}", said(*actual, "has version"), said(*expected, "").trim_start())]
#[non_exhaustive]
pub struct TransactionConflict {
    /// Which key: the first of those that are not as expected.
    pub key: Box<str>,
    /// The version that was expected; none: that it is not there.
    pub expected: Option<u64>,
    /// The version that it has; none: it is not there.
    pub actual: Option<u64>,
}

fn said(version: Option<u64>, has: &str) -> String {
    version
        .map_or_else(|| if has.is_empty() { "none".into() } else { "is not there".into() }, |it| format!("{has} {it}"))
}

impl<V> Default for Group<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for Group<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Clone for Versioned<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), version: self.version }
    }
}

impl<V> Default for Transaction<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for Transaction<V> {
    fn clone(&self) -> Self {
        Self { changes: self.changes.clone(), expected: self.expected.clone() }
    }
}

impl<'g, V> IntoIterator for &'g Group<V> {
    type Item = (&'g StdArc<str>, &'g Versioned<V>);
    type IntoIter = btree_map::Iter<'g, StdArc<str>, Versioned<V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
