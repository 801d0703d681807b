//! The contract of [`EventStore`] as tests, one for each clause, against any implementation.
//!
//! Needs no runtime: [`check`] is a future like any other. Each clause gets a store of its own from the factory. What a store
//! does not declare in its capabilities must be refused as unsupported; clauses that need it are skipped.
//!
//! What happens at once is tried by polling many futures in turn, which finds races of stores that wait in the middle of a
//! call. Races between threads are the implementation's to test.
//!
//! ```
//! use annals::Log;
//! use annals::store::{block_on, conformance};
//!
//! block_on(conformance::check(async || Log::new())).assert();
//! ```

mod append;
mod at_once;
mod follow;
mod once;
pub(crate) mod patience;
mod read;
mod whole;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;

use super::capabilities::Capability;
use super::event_store::EventStore;
use super::select::Select;
use crate::log::{AppendOptions, Appended, Batch, BatchAppended, Envelope};
use crate::model::Message;

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The clauses that hold.
    pub held: Vec<&'static str>,
    /// The clauses that need what the store does not declare.
    pub skipped: Vec<&'static str>,
    /// The clauses that do not hold.
    pub violated: Vec<Violation>,
}

/// A clause that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Which.
    pub clause: &'static str,
    /// What was found.
    pub found: String,
}

impl Report {
    /// Passes when every clause holds that was not skipped.
    ///
    /// # Panics
    /// When one does not; the message names them all.
    pub fn assert(&self) {
        assert!(self.violated.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, skipped, violated } = self;
        write!(f, "{} clauses hold, {} were skipped, {} are violated", held.len(), skipped.len(), violated.len())?;
        violated.iter().try_for_each(|violation| write!(f, "\n  {}: {}", violation.clause, violation.found))
    }
}

/// What a clause comes to: what was found, when it does not hold.
pub(crate) type Found = Result<(), String>;

struct Run<F> {
    make: F,
    patience: Duration,
    report: Report,
}

/// Holds a store against the contract, clause by clause, each with an empty store that `make` makes.
///
/// Does not stop at a violation. A clause that has not come to its end in 10 seconds is violated.
pub async fn check<S: EventStore>(make: impl AsyncFn() -> S) -> Report {
    check_within(Duration::from_secs(10), make).await
}

/// As [`check`], with another time for each clause.
pub async fn check_within<S: EventStore>(patience: Duration, make: impl AsyncFn() -> S) -> Report {
    let mut run = Run { make, patience, report: Report::default() };
    append::clauses(&mut run).await;
    once::clauses(&mut run).await;
    read::clauses(&mut run).await;
    follow::clauses(&mut run).await;
    whole::clauses(&mut run).await;
    run.report
}

impl<S: EventStore, F: AsyncFn() -> S> Run<F> {
    /// Tries a clause that every store must keep.
    async fn clause<C: Future<Output = Found>>(&mut self, name: &'static str, clause: impl FnOnce(S) -> C) {
        self.clause_if(&[], name, clause).await;
    }

    /// Tries a clause that stores with some capabilities must keep.
    async fn clause_if<C: Future<Output = Found>>(
        &mut self,
        needs: &[Capability],
        name: &'static str,
        clause: impl FnOnce(S) -> C,
    ) {
        let store = (self.make)().await;
        let declared = store.capabilities();
        if needs.iter().any(|needed| !declared.has(*needed)) {
            self.report.skipped.push(name);
            return;
        }
        let never = || Err(format!("it did not come to its end in {:?}", self.patience));
        match patience::within(self.patience, clause(store)).await.unwrap_or_else(never) {
            Ok(()) => self.report.held.push(name),
            Err(found) => self.report.violated.push(Violation { clause: name, found }),
        }
    }

    /// Tries a clause that only stores without a capability must keep: they say that they have it not.
    async fn clause_without<C: Future<Output = Found>>(
        &mut self,
        lacks: Capability,
        name: &'static str,
        clause: impl FnOnce(S) -> C,
    ) {
        let store = (self.make)().await;
        if store.capabilities().has(lacks) {
            return;
        }
        drop(store);
        self.clause(name, clause).await;
    }
}

/// Whether two things are the same.
#[allow(clippy::needless_pass_by_value, reason = "both are made for this")]
pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, is: T, should: T) -> Found {
    if is == should { Ok(()) } else { Err(format!("{what} is {is:?}, should be {should:?}")) }
}

pub(crate) fn holds(what: &str, it: bool) -> Found {
    if it { Ok(()) } else { Err(what.to_owned()) }
}

/// A failure that should not have been.
fn unwanted(what: &str) -> impl Fn(&dyn fmt::Display) -> String {
    move |failure| format!("{what}: {failure}")
}

fn message(name: &'static str) -> Message<'static> {
    match Message::event(name, name) {
        Ok(message) => message,
        Err(_) => unreachable!("the suite's names are names"),
    }
}

async fn append(store: &impl EventStore, stream: &str, name: &'static str) -> Result<Appended, String> {
    let appended = store.append(stream, message(name), AppendOptions::new()).await;
    appended.map_err(|refused| unwanted("an append was refused")(&refused))
}

/// Appends messages of these names to these streams, one after the other.
async fn append_all(store: &impl EventStore, messages: &[(&str, &'static str)]) -> Found {
    for (stream, name) in messages {
        append(store, stream, name).await?;
    }
    Ok(())
}

async fn append_batch(store: &impl EventStore, batch: Batch<'_>) -> Result<BatchAppended, String> {
    store.append_batch(batch).await.map_err(|refused| unwanted("a batch was refused")(&refused))
}

/// The next item of a stream.
async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> Option<T> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

async fn read(store: &impl EventStore, select: Select) -> Result<Vec<Envelope>, String> {
    let mut stream = store.read(select);
    let mut envelopes = Vec::new();
    while let Some(item) = next(&mut stream).await {
        envelopes.push(item.map_err(|failure| unwanted("a read failed")(&failure))?);
    }
    Ok(envelopes)
}

/// A read of as many envelopes as there should be.
async fn read_some<const N: usize>(store: &impl EventStore, select: Select) -> Result<[Envelope; N], String> {
    let read = read(store, select).await?;
    read.try_into().map_err(|read: Vec<_>| format!("{} envelopes are read, should be {N}", read.len()))
}

/// The names of what a read gives: the suite's names tell its messages apart.
async fn names(store: &impl EventStore, select: Select) -> Result<Vec<String>, String> {
    Ok(read(store, select).await?.iter().map(|envelope| envelope.name().to_owned()).collect())
}
