//! How much of its past a log keeps.

use std::time::Duration;

/// How much of its past a log keeps. What is set is kept to by every append; nothing is set by default.
///
/// An append that makes the log too large removes from its beginning: at most 64 envelopes, or twice as many as it
/// appended. [`Log::maintain`](crate::Log::maintain) removes all that is due. Memory returns by whole segments, in steps
/// as small, so that no append waits for it. A log on disk keeps to it by whole files, see `Builder::open`.
///
/// ```
/// use annals::{Log, Message, Retention};
///
/// let mut retention = Retention::default();
/// retention.records = Some(2);
/// let log = Log::builder().retention(retention).build()?;
/// for n in ["1", "2", "3"] {
///     log.append("count", Message::event("Counted", n)?)?;
/// }
/// assert_eq!((log.first().get(), log.end().get()), (2, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// At most so many envelopes.
    pub records: Option<u64>,
    /// At most so many bytes of records and payloads; costs 16 bytes a record. The last envelope stays in any case.
    pub bytes: Option<u64>,
    /// Only envelopes whose time is at most so long before the log's present. Needs a clock.
    pub age: Option<Duration>,
}

impl Retention {
    pub(crate) fn is_any(&self) -> bool {
        self.records.is_some() || self.bytes.is_some() || self.age.is_some()
    }
}
