//! What is done once, by whoever comes first; the others wait for it.
//!
//! A word says how far that is: nobody has begun, somebody is at it, it is done. Who finds that nobody has begun begins; when
//! it fails, or is dropped halfway, nobody has begun again, and one of those who wait takes over.

use crate::delivery::Waiters;
use crate::sync::{AtomicU32, Ordering};

const NOBODY: u32 = 0;
const BUSY: u32 = 1;
const DONE: u32 = 2;

/// Only models see it from outside.
pub struct FirstUse {
    state: AtomicU32,
    waiters: Waiters,
}

/// Whoever is at it. Dropped before it is done, somebody else may begin.
struct Beginner<'f>(&'f FirstUse);

impl FirstUse {
    /// Nobody has begun.
    pub fn new() -> Self {
        Self { state: AtomicU32::new(NOBODY), waiters: Waiters::new() }
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        // Acquire: pairs with the Release of `leave`: what was done comes before.
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Ready when it is done. Of all that come at once, one polls what `work` makes.
    pub async fn ensure<E, W: Future<Output = Result<(), E>>>(&self, work: impl FnOnce() -> W) -> Result<(), E> {
        let begun = self.waiters.until(|| if self.is_done() { Some(None) } else { self.begin().map(Some) });
        let Some(beginner) = begun.await else { return Ok(()) };
        work().await?;
        beginner.end();
        Ok(())
    }

    fn begin(&self) -> Option<Beginner<'_>> {
        // Acquire: pairs with the Release of `leave` of one who failed. Relaxed: a loser looks again.
        let begun = self.state.compare_exchange(NOBODY, BUSY, Ordering::Acquire, Ordering::Relaxed);
        // Made only by who begins: one that is dropped says that nobody has.
        begun.is_ok().then(|| Beginner(self))
    }

    fn leave(&self, state: u32) {
        // Release: pairs with the Acquires above.
        self.state.store(state, Ordering::Release);
        self.waiters.wake_all();
    }
}

impl Beginner<'_> {
    fn end(self) {
        self.0.leave(DONE);
        std::mem::forget(self);
    }
}

impl Drop for Beginner<'_> {
    fn drop(&mut self) {
        self.0.leave(NOBODY);
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::store::block_on;

    /// Who fails, and who is dropped halfway, leaves it to the next. (Many at once: `tests/sourcing`.)
    #[test]
    fn who_does_not_end_it_leaves_it_to_another() {
        let first = FirstUse::new();
        assert_eq!(block_on(first.ensure(|| ready(Err("no")))), Err("no"));
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut halfway = pin!(first.ensure(pending::<Result<(), ()>>));
            assert!(halfway.as_mut().poll(&mut context).is_pending());
            let mut waits = pin!(first.ensure(|| ready(Ok::<_, ()>(()))));
            assert!(waits.as_mut().poll(&mut context).is_pending(), "somebody is at it");
        }
        assert!(!first.is_done());
        assert_eq!(block_on(first.ensure(|| ready(Ok::<_, ()>(())))), Ok(()));
        assert!(first.is_done());
        assert_eq!(block_on(first.ensure(|| ready(Err("not asked")))), Ok(()));
    }
}
