//! Time as the log stores it, and where it comes from.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01T00:00:00Z, from the year 1677 to 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every other timestamp.
    pub const MIN: Self = Self(i64::MIN);
    /// After every other timestamp.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The instant `duration` earlier, or [`Timestamp::MIN`] when there is none.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times outside the representable range become [`Timestamp::MIN`] or [`Timestamp::MAX`].
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => {
                let nanos = i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX);
                Self(0i64.saturating_sub(nanos))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        if time.0 >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({}ns)", self.0)
    }
}

/// Where a log takes its time from.
///
/// A clock may stand still or go back: the log never lets a timestamp be smaller than the one before it (law L7).
/// It is asked before an append begins to compete for its slot, on the appending thread; a panic in it reaches the
/// caller of the append and leaves the log unchanged.
///
/// ```
/// use annals::{Clock, Timestamp};
/// use std::sync::atomic::{AtomicI64, Ordering};
///
/// /// One second later at each look: the same input gives the same bytes.
/// struct Ticks(AtomicI64);
///
/// impl Clock for Ticks {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_nanos(self.0.fetch_add(1_000_000_000, Ordering::Relaxed))
///     }
/// }
///
/// let log = annals::Log::builder().clock(Ticks(AtomicI64::new(0))).build()?;
/// log.append("door", annals::Message::event("Opened", "")?)?;
/// log.append("door", annals::Message::event("Closed", "")?)?;
/// let times: Vec<_> = log.read().iter().map(|e| e.time().unwrap().as_nanos()).collect();
/// assert_eq!(times, [0, 1_000_000_000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}
