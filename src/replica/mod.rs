//! Floor 5: replicas of keyed values, over any transport.
//!
//! Who has a value publishes an [`Update`] of it to a key, through a [`Transport`]; a [`Replica`] of that key keeps the last one.
//! Transports keep nothing and look at nothing: order, gaps and repetitions are the replica's business.
//!
//! # What a replica does
//!
//! | what comes | what it leads to | status |
//! | --- | --- | --- |
//! | the first value, a seed, what a refetch brought | applied, whatever its sequence, unless there is a newer value | live |
//! | the next sequence | applied | live |
//! | the value's sequence, or a lower one | ignored | as it was |
//! | a higher one: there is a gap | a refetch, or applied, as [`OnGap`] says | stale, or live |
//! | a patch beyond the next one, or without a value before it: there is a gap | a refetch | stale |
//! | a value that does not parse or is of another schema, a patch that does not fit | a refetch, unless it is what a refetch brought | skew |
//! | a refetch that fails or brings nothing | the last good value stands | stale |
//!
//! A status becomes live only if no higher sequence is known. Refetches are one at a time: what asks for one while another
//! is in flight gets one more after it, if that one brought too little. Nothing makes the value go backwards.
//!
//! # Beyond the last value
//!
//! | what | with |
//! | --- | --- |
//! | updates that say what has changed, not what is | [`Replica::patching`]: a [`Patch`] is applied to the value before it, or not at all |
//! | several keys that change together | a [`Ledger`] commits [`Transaction`]s over the keys of a [`Group`], each as one patch of one value |
//! | writes that are shown at once, kept, sent in order, and taken back when they are rejected | [`Writes`] over an [`IntentQueue`] |
//! | who is there | [`Presence`]: a map of [`Peers`] in which the last write wins |
//!
//! # How
//!
//! [`Reconciler`] is these rules and nothing else: no clock, no thread, no transport. A replica has one in a copy-on-write cell;
//! whoever delivers tells it on its own thread, without a lock; whoever reads loads it. What has to wait, refetches, is a future
//! that the user polls: [`Refetcher`].
//!
//! [`Optimistic`], [`Peers`] and [`Ledger`] are such rules, too: plain values that are told, and the shells around them swap them.
//!
//! With the feature `testing`, `conformance` holds any transport against its contract.

mod builder;
mod change;
mod confirms;
mod handle;
mod ledger;
mod operation;
mod optimistic;
mod peers;
mod presence;
mod queue;
mod reconciler;
mod refetcher;
mod shared;
mod snapshot;
mod stream_queue;
mod transaction;
mod transport;
mod update;
mod watch;
mod watched;
mod writes;

#[cfg(feature = "testing")]
pub mod conformance;

pub use builder::ReplicaBuilder;
pub use change::{Change, Patch};
pub use confirms::Confirmations;
pub use handle::Replica;
pub use ledger::{CommitFailure, Committed, Ledger};
pub use operation::OperationId;
pub use optimistic::{Intent, Mark, Optimistic, PendingIntent, Rejection};
pub use peers::{Announcement, Peers, Stamp};
pub use presence::{Announcer, Presence, Said};
pub use queue::{IntentQueue, Pushed, QueueFailure, Queued};
pub use reconciler::{Decided, Decision, Input, OnGap, Parsed, Patched, Reconciler, Rules};
pub use refetcher::{Refetched, Refetcher};
pub use snapshot::{ReplicaStatistics, Snapshot, Status};
pub use stream_queue::StreamQueue;
pub use transaction::{Group, Transaction, TransactionConflict, Versioned};
pub use transport::{PublishFailure, SubscribeFailure, Transport, TransportSubscription};
pub use update::{InvalidSchema, Schema, Update};
pub use watch::Watch;
pub use writes::{Answer, ProposeFailure, SendFailure, Shown, Writes};
