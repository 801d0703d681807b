//! Who decides transactions, and what it tells replicas of their group.
//!
//! A commit is an update that changes the group of the sequence before it, so a replica applies it to exactly that: after a gap
//! there is nothing to apply it to, and the replica refetches. Seeds and refetches are whole groups.

use std::collections::BTreeMap;

use thiserror::Error;

use super::builder::ReplicaBuilder;
use super::change::Change;
use super::handle::Replica;
use super::transaction::{Changes, Group, Transaction, TransactionConflict};
use super::update::Update;
use crate::sync::StdArc;

/// What is published of a group.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Committed<V> {
    /// The group as it is: for seeds and refetches.
    Whole(Group<V>),
    /// What one transaction changed.
    #[non_exhaustive]
    Changes {
        /// The sequence of the transaction: the version of each key that it wrote.
        sequence: u64,
        /// What it wrote to each key; none: it removed it.
        changes: BTreeMap<StdArc<str>, Option<StdArc<V>>>,
    },
}

impl<V> Committed<V> {
    /// What a transaction of this sequence changed, for who receives it from elsewhere.
    pub fn changes(sequence: u64, changes: BTreeMap<StdArc<str>, Option<StdArc<V>>>) -> Self {
        Self::Changes { sequence, changes }
    }
}

impl<V: Send + Sync + 'static> Committed<V> {
    /// What it does to a replica of the group: the parse gate of [`Group::replica`].
    pub fn change(&self) -> Change<Group<V>> {
        match self {
            Self::Whole(group) => Change::whole(group.clone()),
            Self::Changes { sequence, changes } => {
                let (sequence, changes) = (*sequence, changes.clone());
                Change::patch(move |before: &Group<V>| Ok::<_, String>(before.after(sequence, &changes)))
            }
        }
    }
}

impl<V: Send + Sync + 'static> Group<V> {
    /// Sets up a replica of a group whose [`Ledger`] publishes what it commits. Each snapshot has all of a transaction, or
    /// nothing of it.
    ///
    /// ```
    /// use annals::Bus;
    /// use annals::replica::{Group, Ledger, Transaction};
    /// use annals::store::block_on;
    ///
    /// let (bus, mut ledger) = (Bus::new(), Ledger::new());
    /// let accounts = block_on(Group::replica().seed(ledger.snapshot()).start(&bus, "accounts"))?;
    /// bus.publish("accounts", ledger.commit(&Transaction::new().put("alice", 70).put("bob", 30))?);
    ///
    /// let group = accounts.get().expect("there is a seed");
    /// assert_eq!(group.iter().map(|(_, account)| *account.value).sum::<i32>(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replica() -> ReplicaBuilder<Committed<V>, Self> {
        Replica::patching(|committed: &Committed<V>| Ok::<_, String>(committed.change()))
    }
}

/// Decides transactions, one after the other, and numbers them: the authority over a group. Plain data, for whoever is the
/// authority to keep: in an aggregate, behind a lock, in a thread of its own.
///
/// Updates must be published in the order of their commits, or they look like gaps.
pub struct Ledger<V> {
    group: Group<V>,
    sequence: u64,
}

/// A transaction that was not committed. The ledger is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommitFailure {
    /// A key is not as expected.
    #[error(transparent)]
    Conflict(#[from] TransactionConflict),
    /// All sequences are used.
    #[error("the group has no sequences left")]
    Full,
}

impl<V> Ledger<V> {
    /// An empty group, of sequence 0.
    pub fn new() -> Self {
        Self::at(0, Group::new())
    }

    /// Goes on with a group of this sequence.
    pub fn at(sequence: u64, group: Group<V>) -> Self {
        Self { group, sequence }
    }

    /// Changes the group as the transaction says, when everything is as it expects. The update is to be published; who takes
    /// proposals adds the operation's id to it ([`Update::operation`]). Takes time in the keys that it has to look at and to
    /// change, whatever the size of the group.
    ///
    /// # Errors
    /// [`CommitFailure`].
    pub fn commit(&mut self, transaction: &Transaction<V>) -> Result<Update<Committed<V>>, CommitFailure> {
        if let Some(conflict) = transaction.conflict(&self.group) {
            return Err(conflict.into());
        }
        let sequence = self.sequence.checked_add(1).ok_or(CommitFailure::Full)?;
        let changes: Changes<V> = transaction.shared_changes();
        self.group.commit(sequence, &changes);
        self.sequence = sequence;
        Ok(Update::new(sequence, Committed::Changes { sequence, changes }))
    }

    /// The group as it is: for seeds and refetches. Copies the map, not the values.
    pub fn snapshot(&self) -> Update<Committed<V>> {
        Update::new(self.sequence, Committed::Whole(self.group.clone()))
    }

    /// The group as it is.
    pub fn group(&self) -> &Group<V> {
        &self.group
    }

    /// The sequence of the last commit; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl<V> Default for Ledger<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for Committed<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Whole(group) => Self::Whole(group.clone()),
            Self::Changes { sequence, changes } => Self::Changes { sequence: *sequence, changes: changes.clone() },
        }
    }
}

impl<V> std::fmt::Debug for Ledger<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("sequence", &self.sequence).field("keys", &self.group.len()).finish()
    }
}
