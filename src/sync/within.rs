//! Whether the calling thread is inside of something: while the handler of a service is polled, say.
//!
//! A mark of the thread, set for one call at a time and given back whatever happens. Like the one of [`super::turn`] it has no
//! destructor.

use std::cell::Cell;

#[cfg(loom)]
use loom::thread_local;
#[cfg(annals_shuttle)]
use shuttle::thread_local;

#[cfg(not(any(loom, annals_shuttle)))]
thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

#[cfg(any(loom, annals_shuttle))]
thread_local! {
    static WITHIN: Cell<bool> = Cell::new(false);
}

/// Runs with the mark set.
pub(crate) fn run<R>(inner: impl FnOnce() -> R) -> R {
    let before = Before(WITHIN.with(|within| within.replace(true)));
    let result = inner();
    drop(before);
    result
}

/// Whether the mark is set.
pub(crate) fn is_set() -> bool {
    WITHIN.with(Cell::get)
}

/// What the mark was. Dropped, it is that again.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        WITHIN.with(|within| within.set(self.0));
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use super::*;

    /// Set inside, nested too, and as it was outside, after a panic too.
    #[test]
    fn the_mark_is_set_inside_alone() {
        assert!(!is_set());
        run(|| {
            assert!(is_set());
            run(|| assert!(is_set()));
            assert!(is_set());
        });
        assert!(std::panic::catch_unwind(|| run(|| panic!("as planned"))).is_err());
        assert!(!is_set());
    }
}
