//! Where the log's time comes from.

use std::sync::Arc as StdArc;
use std::time::SystemTime;

use crate::model::{Clock, Timestamp};

/// The time source of one log.
#[derive(Clone)]
pub(crate) enum Time {
    /// Records have no time.
    None,
    /// Each append brings its time.
    Given,
    System,
    Coarse,
    Custom(StdArc<dyn Clock>),
}

impl Time {
    /// May call the user's clock: never between taking a slot and finishing it.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Time::None => Timestamp::MIN,
            Time::Coarse => coarse(),
            _ => self.look(),
        }
    }

    #[inline(never)]
    fn look(&self) -> Timestamp {
        match self {
            Time::None | Time::Given => Timestamp::MIN,
            Time::System => SystemTime::now().into(),
            Time::Coarse => coarse(),
            Time::Custom(clock) => clock.now(),
        }
    }
}

/// The kernel's time as of its last tick: in steps of 1 to 10 ms, but a tenth of the price.
#[cfg(target_os = "linux")]
fn coarse() -> Timestamp {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) } != 0 {
        return SystemTime::now().into();
    }
    Timestamp::from_nanos(time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec))
}

#[cfg(not(target_os = "linux"))]
fn coarse() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The coarse clock stands still between two ticks, the fine one does not: of a thousand looks some are the same.
    #[test]
    fn the_coarse_clock_goes_by_ticks() {
        let looks: Vec<_> = (0..1000).map(|_| Time::Coarse.now()).collect();
        assert!(looks.windows(2).any(|two| two[0] == two[1]));
        assert!(looks[0] > Timestamp::from_nanos(0));
    }
}
