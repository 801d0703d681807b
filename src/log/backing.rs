//! What a log may rest on besides its memory: files, say. What that is, is the business of a floor above; here is what the log
//! asks of it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc as StdArc;

use super::core::Core;
use super::cursor::Range;
use super::directory::Entry;
use super::envelope::Envelope;
use super::reclaim::Guard;
#[cfg(feature = "durable")]
use super::record::Record;
use crate::model::{Position, Query, Timestamp};

/// When an append returns, in a log that is kept on disk: see the module `durable`. In a log in memory all are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ack {
    /// When the envelope is in memory. It is written soon after. A kill of the process may lose it.
    Memory,
    /// When it was handed to the operating system. A kill of the process does not lose it, a power cut may.
    Written,
    /// When the disk has said that it has it.
    Synced,
}

/// A log on disk has failed: nothing is appended any more, what was read before can be read on; the same for every call. Or
/// something in it could not be read; then what did not need it goes on.
#[derive(Clone)]
pub struct Stopped(StdArc<Cause>);

/// Boxed, so that the results of appends stay small.
type Cause = Box<dyn Error + Send + Sync>;

impl Stopped {
    #[cfg(feature = "durable")]
    pub(crate) fn new(cause: impl Error + Send + Sync + 'static) -> Self {
        Self(StdArc::new(Box::new(cause)))
    }

    /// What failed.
    pub fn cause(&self) -> &(dyn Error + 'static) {
        &**self.0
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log stopped: {}", self.0)
    }
}

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stopped").field(&self.0).finish()
    }
}

/// The same failure is equal to itself alone.
impl PartialEq for Stopped {
    fn eq(&self, other: &Self) -> bool {
        StdArc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stopped {}

impl Error for Stopped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.0)
    }
}

/// A stream as of what is not in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Its next revision.
    pub(crate) next: u64,
    pub(crate) created: Position,
    pub(crate) created_at: Timestamp,
}

/// Where records are that the log's memory does not have, or not any more; and who says that one is safe.
pub(crate) trait Backing: Any + Send + Sync {
    /// Blocks until the record before `end` is as safe as `ack` says, or as the log always has it.
    fn acknowledge(&self, core: &Core, end: u64, ack: Option<Ack>) -> Result<(), Stopped>;

    /// Why nothing is appended any more.
    fn stopped(&self) -> Option<Stopped>;

    /// What failed last when something was read.
    fn unreadable(&self) -> Option<Stopped>;

    /// The log is gone, but for its memory: this is the last call.
    fn dropped(&self, core: &Core);

    /// Indexes before this one are removed: nobody reads them any more. Blocks until that is so for good, or cannot be.
    fn truncate(&self, core: &Core, floor: u64);

    /// Removes what retention asks for.
    fn maintain(&self, core: &Core);

    /// What appends wait for that do not say it.
    fn default_ack(&self) -> Ack;

    /// Index after the last record that is as safe as this.
    fn mark(&self, ack: Ack) -> u64;

    /// From this index on records are only in memory.
    fn end(&self) -> u64;

    /// Some envelopes of `rest`, from its beginning on, or backwards from its end; takes away from it what was looked at.
    fn read(&self, rest: &mut Range, backwards: bool, query: Option<&Query>) -> Result<Vec<Envelope>, Stopped>;

    /// The same of a stream: `rest` is of revisions.
    fn read_stream(&self, stream: &str, rest: &mut Range, backwards: bool) -> Result<Vec<Envelope>, Stopped>;

    /// What is known of a stream, if it was there before the log was opened.
    fn stream(&self, id: &str) -> Result<Option<Known>, Stopped>;

    /// How many revisions of a stream come before an index.
    fn count_before(&self, id: &str, index: u64) -> Result<u64, Stopped>;

    /// How many commands come before an index.
    fn commands_before(&self, index: u64) -> Result<u64, Stopped>;

    /// The last index up to `index` that no batch lies across.
    fn between_batches(&self, index: u64) -> Result<u64, Stopped>;

    /// The first index from `from` to `to` whose time is not before `time`; `to` when there is none.
    fn index_at(&self, time: Timestamp, from: u64, to: u64) -> Result<u64, Stopped>;

    /// The streams that were there before the log was opened, in the order of their creation.
    fn streams(&self) -> Result<Vec<Box<str>>, Stopped>;

    /// How many.
    fn stream_count(&self) -> u64;
}

/// What an append waits for.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    /// Not for what its subscribers do.
    pub(crate) stored: bool,
    pub(crate) ack: Option<Ack>,
}

/// Waits until what was appended up to `last` is as safe as it is to be.
pub(crate) fn acknowledge(core: &Core, last: Position, ack: Option<Ack>) -> Result<(), Stopped> {
    core.backing().map_or(Ok(()), |backing| backing.acknowledge(core, last.get(), ack))
}

/// Why something could not be read lately.
pub(crate) fn unreadable(core: &Core) -> Option<Stopped> {
    core.backing()?.unreadable()
}

/// Why a log that is closed was not closed by its owner.
pub(crate) fn cause(core: &Core) -> Option<Stopped> {
    core.backing()?.stopped()
}

impl Core {
    /// Index after the last record that is as safe as `ack`: in a log in memory all are.
    pub(crate) fn mark(&self, ack: Ack) -> u64 {
        self.backing().map_or(u64::MAX, |backing| backing.mark(ack))
    }

    /// How many revisions of a stream have positions up to `end`. The caller has seen everything up to `end` finished.
    pub(crate) fn count_of(&self, entry: &Entry, end: u64, guard: &Guard) -> u64 {
        let Some(backing) = self.backing() else { return entry.index.count(end, guard) };
        if end >= self.resident() {
            let count = entry.index.count(end, guard);
            // Unless memory gave up meanwhile what the count was made of.
            if end >= self.resident() {
                return count;
            }
        }
        backing.count_before(entry.name(), end).unwrap_or(0)
    }

    /// Each record from `from` to `to`, which are finished and in memory: with whether its batch goes on. Until `visit` says
    /// that it was the last; pinned as long as that.
    #[cfg(feature = "durable")]
    pub(crate) fn visit(&self, from: u64, to: u64, mut visit: impl FnMut(Record<'_>, bool) -> bool) {
        let guard = self.pin();
        let mut index = from;
        while index < to {
            let segment = self.segment_of(index, &guard).expect("what was not written yet is in memory");
            while index < to.min(segment.end_index()) {
                let (record, more) = segment.record_of_batch(index);
                if !visit(record, more) {
                    return;
                }
                index += 1;
            }
        }
    }
}
