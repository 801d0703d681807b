//! What the log knows of those who watch it: whether there are any, and whom to tell. Who they are is the business of the
//! floor above.
//!
//! Of the whole log and of each stream there is a word that says how many watch; zero is what most appends find, by one
//! load. An appender loads it after its swap. Who begins to watch changes the word first, then enters its set, changes the
//! word again and settles (see [`settle`](super::settle)) where the log ends: an append whose swap it did not see sees the
//! word, and by it the set. Who ceases to watch leaves the set first. So there is nobody in a set whose word is zero.

use std::any::Any;

use super::core::Core;
use super::directory::Entry;
use super::envelope::Envelope;
use super::handle::Log;
use super::reclaim::Guard;
use crate::model::Failures;
use crate::sync::{AtomicU64, Ordering, look_up};

/// Who is told of appends.
pub(crate) trait Watcher: Any + Send + Sync {
    /// Called after an append took effect, by the thread that appended. Not pinned. With `stored`, the append does not wait
    /// for what its subscribers do.
    fn appended(&self, log: &Log, envelopes: &[Envelope], stored: bool) -> Failures;

    /// Called after the log was closed, by every thread that closed it.
    fn closed(&self, log: &Log);
}

/// How many watch.
pub(crate) struct Interest(AtomicU64);

impl Interest {
    /// One who waits for the next append.
    pub(crate) const WAITING: u64 = 1;
    /// One who watches all of it.
    pub(crate) const ONE: u64 = 1 << 20;
    /// In the word of the log: one who watches a stream, and is counted there.
    pub(crate) const STREAM: u64 = 1 << 40;

    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Loads the word; after a swap, in the order that the head of this file asks for.
    #[inline]
    pub(crate) fn word(&self) -> u64 {
        look_up(&self.0)
    }

    /// Whether somebody watches all that has this word.
    #[inline]
    pub(crate) fn is_for_all(word: u64) -> bool {
        word & (Self::STREAM - 1) != 0
    }

    pub(crate) fn add(&self, what: u64) {
        // Release: pairs with the load in `word`: who sees the word sees that there is a watcher. (The fence of `settle`,
        // which follows, orders it before the look at the slots.)
        self.0.fetch_add(what, Ordering::Release);
    }

    pub(crate) fn remove(&self, what: u64) {
        // Release: pairs with the load in `word`: who sees that nobody waits any more comes after the waking.
        self.0.fetch_sub(what, Ordering::Release);
    }

    /// Whether somebody waits.
    #[inline]
    pub(crate) fn is_waited_for(word: u64) -> bool {
        word & (Self::ONE - 1) != 0
    }

    /// Whether somebody is subscribed to all that has this word.
    #[inline]
    pub(crate) fn has_subscribers(word: u64) -> bool {
        word & (Self::STREAM - Self::ONE) != 0
    }
}

impl Core {
    /// After a swap for the stream of `entry`: whether somebody watches.
    #[inline]
    pub(crate) fn is_watched(&self, entry: &Entry) -> bool {
        let word = self.interest.word();
        word != 0 && (Interest::is_for_all(word) || entry.interest.word() != 0)
    }

    /// The word of a stream that is known.
    #[cfg(feature = "durable")]
    pub(crate) fn with_interest(&self, stream: &str, work: impl FnOnce(&Interest)) {
        if let Some(entry) = self.directory.get(stream, &self.pin()) {
            // SAFETY: entries live as long as the log.
            work(unsafe { &entry.as_ref().interest });
        }
    }

    /// Where the log ends, for one who relies on what it did or saw of a set: whoever appends from there on sees it, too.
    pub(crate) fn settle_watched(&self, guard: &Guard) -> u64 {
        // Release: pairs with the load in `word`, which comes after this when its swap comes after the fence of `settle`.
        // (Under loom the fence in `look_up` says as much alone.)
        self.interest.0.fetch_add(0, Ordering::Release);
        self.settle(guard).end
    }

    /// Who is told, made when there is nobody yet. Lock-free.
    pub(crate) fn watcher_or<W: Watcher>(&self, make: impl FnOnce() -> W) -> &W {
        let watcher: &dyn Watcher = &**self.watcher.get_or_init(|| Box::new(Box::new(make()) as Box<dyn Watcher>));
        (watcher as &dyn Any).downcast_ref().expect("there is one kind of watcher")
    }

    pub(crate) fn watcher<W: Watcher>(&self) -> Option<&W> {
        let watcher: &dyn Watcher = &**self.watcher.get()?;
        (watcher as &dyn Any).downcast_ref()
    }
}

/// Tells of an append that is watched.
#[cold]
pub(crate) fn tell(log: &Log, envelopes: &[Envelope], stored: bool) -> Failures {
    log.core().watcher.get().map_or(Failures::NONE, |watcher| watcher.appended(log, envelopes, stored))
}

/// Tells that the log was closed.
pub(crate) fn tell_closed(log: &Log) {
    // Who begins to wait too late for this look settles after the mark of the close, and sees it.
    log.core().interest.word();
    if let Some(watcher) = log.core().watcher.get() {
        watcher.closed(log);
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use super::*;
    use crate::log::Log;

    /// A word tells those who wait from those who are subscribed, and both from those who watch a stream.
    #[test]
    fn a_word_says_who_watches() {
        let interest = Interest::new();
        let says = || {
            let word = interest.word();
            (Interest::is_for_all(word), Interest::is_waited_for(word), Interest::has_subscribers(word))
        };
        assert_eq!(says(), (false, false, false));
        interest.add(Interest::WAITING);
        assert_eq!(says(), (true, true, false));
        interest.add(Interest::ONE);
        assert_eq!(says(), (true, true, true));
        interest.remove(Interest::WAITING);
        assert_eq!(says(), (true, false, true));
        interest.add(Interest::STREAM);
        interest.remove(Interest::ONE);
        assert_eq!(says(), (false, false, false));
        assert_ne!(interest.word(), 0, "somebody watches a stream");
        interest.remove(Interest::STREAM);
        assert_eq!(interest.word(), 0);
    }

    /// Who watches a stream is told of that one alone; who watches the log, of all; and nobody, when they are gone.
    #[test]
    fn appends_look_for_those_of_their_stream() {
        let log = Log::new();
        let streams = ["mine", "other"].map(|id| log.stream(id).unwrap());
        // SAFETY: entries live as long as the log.
        let [mine, other] = streams.each_ref().map(|stream| unsafe { stream.entry().as_ref() });
        let watched = || (log.core().is_watched(mine), log.core().is_watched(other));
        assert_eq!(watched(), (false, false));
        log.core().interest.add(Interest::STREAM);
        mine.interest.add(Interest::ONE);
        assert_eq!(watched(), (true, false));
        log.core().interest.add(Interest::ONE);
        assert_eq!(watched(), (true, true));
        log.core().interest.remove(Interest::ONE + Interest::STREAM);
        assert_eq!(watched(), (false, false), "the word of the log comes first");
        mine.interest.remove(Interest::ONE);
    }
}
