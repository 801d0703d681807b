//! Floor 2: the log. The only `unsafe` code of the crate is here.
//!
//! # What is shared
//!
//! A chain of equal [`segment`]s; a segment is an array of write-once slots, each empty or pointing to one [`record`].
//! Slots have *indexes*, positions less one. Any segment is found through [`pages`], in steps that do not grow with the
//! log. Each stream has an [`index`] of its own: write-once cells with the positions
//! of its revisions. Streams are found by name in a [`directory`].
//!
//! # An append
//!
//! 1. *Build.* Check, stamp, allocate, copy: the record is complete but for position and revision. Nothing that can fail,
//!    panic or call out comes after this.
//! 2. *Find the end.* The first empty slot `t`, such that everything before it is finished. An unfinished record in the
//!    way is finished first: whoever finds work half done completes it.
//! 3. *Decide.* Everything before `t` is finished, so every stream's index is complete up to `t`: its first empty cell is
//!    its next revision. Expectations and conditions are decided against exactly the prefix before `t`. A refusal that
//!    names a revision is returned only if slot `t` is then seen empty: so the revision was current.
//! 4. *Swap.* Position and revision go into the still private record; a compare-and-swap puts it into slot `t`. This is
//!    the one read-modify-write of an append, and the one place where anything is decided. Lost: finish the winner, go on
//!    at 2.
//! 5. *Finish.* Enter the position in the stream's index, and if it is the first, in its entry; mark the slot as done.
//!    Idempotent: every value follows from the record. A batch is linked through its records, and only its first one is swapped in: to finish it is to fill its
//!    other slots, to enter all its revisions, and to mark its last slot. The mark is the instant at which an append takes
//!    effect (law L3), a batch as a whole (L4).
//!
//! A log with indexes by key (see [`keys`]) does the same for each key of a record as for its stream: the cell is chosen in 3
//! and entered in 5.
//!
//! # Invariants
//!
//! - S1 A record is swapped into slot `t` only after slot `t` − 1 was seen done. Hence no gaps, and one order (L1).
//! - S2 A slot goes through the states at the head of [`segment`], and no others.
//! - S3 The cell of a revision exists before its record is swapped in, and is stored before its slot is marked.
//! - S4 The *end hint* is an index with everything before it finished, never inside a batch, and at most 16 slots and
//!   one batch behind the first empty slot: who wants to go further moves it first. So a reader finds the end in a bounded
//!   number of steps.
//! - S5 The *tail* points to a segment with everything before it finished, and all segments up to it entered in their pages.
//!   It is never unlinked.
//! - S6 Memory that a pinned thread can reach is not freed before it unpins (see [`reclaim`]). A held segment keeps its
//!   records; a held record keeps its chunk of memory (see [`arena`]); a chunk keeps the names of the streams.
//!
//! # Stopped threads
//!
//! A thread that stops before the swap has changed nothing that others wait for. After the swap and before the mark, the
//! next appender finishes for it; readers go on seeing the log without it. A pinned thread that stops delays the return
//! of memory, and nothing else; [`Log::unreturned_segments`] shows it.

mod append;
mod appender;
mod arena;
mod backing;
mod batch;
mod builder;
mod canary;
mod check;
mod clock;
mod copy;
mod core;
mod counts;
mod cursor;
mod directory;
mod envelope;
mod error;
mod garbage;
mod handle;
mod index;
mod info;
mod keyed;
mod keys;
#[cfg(feature = "durable")]
mod lease;
mod lists;
mod once;
mod options;
mod pages;
mod pool;
mod prefetch;
mod read;
mod reclaim;
mod record;
mod retain;
mod search;
mod segment;
mod settle;
mod source;
mod tail;
#[cfg(test)]
mod tests;
mod view;
mod watch;

#[cfg(any(loom, annals_shuttle))]
pub use reclaim::quarantine::empty as empty_quarantine;

/// From now on the log frees what is unlinked as soon as it may.
#[cfg(any(loom, annals_shuttle))]
pub fn arm_reclamation(log: &Log) {
    log.core().domain.arm();
}

/// A log with `left` positions left.
#[cfg(any(loom, annals_shuttle))]
pub fn nearly_full_log(left: u64) -> Log {
    Builder::new().segment_slots(2).no_clock().build_at(append::LIMIT - left).unwrap()
}

pub(crate) use backing::Backing;
#[cfg(feature = "durable")]
pub(crate) use backing::Known;
#[cfg(feature = "durable")]
pub(crate) use builder::Start;
pub(crate) use core::{Core, HELPED, LOST, REFUSED};
#[cfg(feature = "durable")]
pub(crate) use cursor::Range;
#[cfg(feature = "durable")]
pub use lease::Lease;
pub(crate) use pool::Pool;
#[cfg(feature = "durable")]
pub(crate) use record::Record;
pub(crate) use tail::{Step, Tail};
pub(crate) use watch::{Interest, Watcher};

pub use appender::{Appended, Appender};
pub use backing::{Ack, Stopped};
pub use batch::{Batch, BatchAppended, Target};
pub use builder::Builder;
pub use counts::Counts;
pub use cursor::Cursor;
pub use envelope::Envelope;
pub use error::{AppendError, BuildError, ConditionFailed, Conflict, NotThereYet, Rejected, StreamError};
pub use handle::{Log, Stream};
pub use info::StreamInfo;
pub use keys::Indexes;
pub use options::AppendOptions;
pub use read::{Envelopes, OneStream, Read, WholeLog};
pub use source::{EnvelopeError, EnvelopeSource};
pub use view::View;
