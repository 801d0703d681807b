//! How a log is made.

use std::sync::Arc as StdArc;

use super::clock::Time;
use super::core::{Config, Core};
use super::counts::Sums;
use super::error::BuildError;
use super::handle::Log;
use super::keys::Indexes;
use super::record::Shape;
use crate::model::{Clock, Limits, Retention, Timestamp};
#[cfg(feature = "durable")]
use crate::sync::Ordering;

/// Builds a [`Log`]. Without any setting: segments of 4,096 slots, the system's clock, default limits, no retention.
///
/// ```
/// let log = annals::Log::builder().segment_slots(4096).coarse_clock().build()?;
/// # Ok::<(), annals::BuildError>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    segment_slots: Option<usize>,
    time: Time,
    limits: Limits,
    retention: Retention,
    counted: bool,
    indexes: Indexes,
    once_within: u64,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            segment_slots: None,
            time: Time::System,
            limits: Limits::default(),
            retention: Retention::default(),
            counted: false,
            indexes: Indexes::new(),
            once_within: 1 << 16,
        }
    }

    /// Slots of a segment, 8 bytes each: a power of two from 2 to 2^20. Memory of truncated envelopes returns by whole
    /// segments; one append in so many makes a segment, which takes it a microsecond or two.
    ///
    /// Without this: 4,096, or with a retention by number of records about half as many as are kept, if that is less, but
    /// 64 at least.
    pub fn segment_slots(mut self, slots: usize) -> Self {
        self.segment_slots = Some(slots);
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.time = Time::Custom(StdArc::new(clock));
        self
    }

    /// Takes the time from the system's clock, to the nanosecond: 24 ns an append, measured. The default.
    pub fn system_clock(mut self) -> Self {
        self.time = Time::System;
        self
    }

    /// Takes the time from the kernel's last tick, in steps of 1 to 10 ms: 2 ns an append, measured. On systems without such
    /// a clock, the same as [`system_clock`](Self::system_clock).
    pub fn coarse_clock(mut self) -> Self {
        self.time = Time::Coarse;
        self
    }

    /// Every append brings its time, see [`AppendOptions::at`](crate::AppendOptions::at); one without is refused.
    pub fn time_per_append(mut self) -> Self {
        self.time = Time::Given;
        self
    }

    /// Records have no time. Saves 8 bytes a record, and the look at the clock.
    pub fn no_clock(mut self) -> Self {
        self.time = Time::None;
        self
    }

    /// What the log accepts.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How much of its past the log keeps.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Counts commands, events and bytes exactly, see [`View::counts`](crate::View::counts): 16 bytes a record. A log that
    /// keeps to a number of bytes ([`Retention`]) counts anyway.
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Which indexes the log keeps besides those of its streams. Without this, none. With one, positions end at 2^48.
    pub fn indexes(mut self, indexes: Indexes) -> Self {
        self.indexes = indexes;
        self
    }

    /// Among how many of the last envelopes [`AppendOptions::once`](crate::AppendOptions::once) looks for a message id, at least. Without this, 65,536. Costs
    /// no memory: the log is where it looks.
    pub fn once_within(mut self, envelopes: u64) -> Self {
        self.once_within = envelopes;
        self
    }

    /// The log.
    ///
    /// # Errors
    /// [`BuildError`] when a setting is out of range.
    pub fn build(self) -> Result<Log, BuildError> {
        self.build_at(0)
    }

    /// A log whose first position is after `start`.
    pub(crate) fn build_at(self, start: u64) -> Result<Log, BuildError> {
        let core = self.core(start, (Timestamp::MIN, Sums::default()))?;
        Ok(Log::from_core(core))
    }

    /// How many envelopes are in memory, in a log that has the others elsewhere; and the retention, which is of those.
    #[cfg(feature = "durable")]
    pub(crate) fn resident(mut self, envelopes: Option<u64>) -> Result<(Self, Retention), BuildError> {
        let resident = Retention { records: envelopes, ..Retention::default() };
        let retention = std::mem::replace(&mut self.retention, resident);
        if retention.age.is_some() && matches!(self.time, Time::None) {
            return Err(BuildError::AgeWithoutClock);
        }
        Ok((self, retention))
    }

    #[cfg(feature = "durable")]
    pub(crate) fn limits_given(&self) -> &Limits {
        &self.limits
    }

    /// A log that goes on at `start`; what is before `floor` was removed.
    #[cfg(feature = "durable")]
    pub(crate) fn build_from(self, start: Start, floor: u64) -> Result<Log, BuildError> {
        let sums = Sums { bytes: 0, commands: start.commands };
        let core = self.core(start.index, (start.time, sums))?;
        // Relaxed: nobody else has the log.
        core.floor.store(floor, Ordering::Relaxed);
        Ok(Log::from_core(core))
    }

    fn core(self, start: u64, before: (Timestamp, Sums)) -> Result<Core, BuildError> {
        let slots = self.segment_slots.unwrap_or_else(|| default_slots(&self.retention));
        if !slots.is_power_of_two() || !(2..=1 << 20).contains(&slots) {
            return Err(BuildError::SegmentSize { slots });
        }
        let Limits { name_bytes, metadata_bytes, batch_len, .. } = self.limits;
        if name_bytes > 255 {
            return Err(BuildError::NameLimit { bytes: name_bytes });
        }
        if metadata_bytes > 1 << 24 {
            return Err(BuildError::MetadataLimit { bytes: metadata_bytes });
        }
        if batch_len > 1 << 20 {
            return Err(BuildError::BatchLimit { messages: batch_len });
        }
        if self.retention.age.is_some() && matches!(self.time, Time::None) {
            return Err(BuildError::AgeWithoutClock);
        }
        let buckets = self.indexes.buckets;
        if !buckets.is_power_of_two() || buckets > 1 << 24 {
            return Err(BuildError::Buckets { buckets });
        }
        let counted = self.counted || self.retention.bytes.is_some();
        let shape = Shape::new(!matches!(self.time, Time::None), counted);
        let config = Config {
            segment_bits: slots.trailing_zeros(),
            limits: self.limits,
            time: self.time,
            retains: self.retention.is_any(),
            retention: self.retention,
            shape,
            indexes: self.indexes,
            once_within: self.once_within,
        };
        Ok(Core::new(config, start, before))
    }
}

/// Where a log goes on.
#[cfg(feature = "durable")]
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) index: u64,
    /// Time of the record before.
    pub(crate) time: Timestamp,
    /// Commands before.
    pub(crate) commands: u64,
}

/// So many slots that one append in 1,000 at most makes a segment, or a block of an index; but fewer when few are kept.
fn default_slots(retention: &Retention) -> usize {
    const MOST: usize = 4096;
    let kept = retention.records.and_then(|records| usize::try_from(records).ok()).unwrap_or(usize::MAX);
    (kept / 2).min(MOST).next_power_of_two().max(64)
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("segment_slots", &self.segment_slots)
            .field("limits", &self.limits)
            .field("retention", &self.retention)
            .field("counted", &self.counted)
            .field("indexes", &self.indexes)
            .finish_non_exhaustive()
    }
}
