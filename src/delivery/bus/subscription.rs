//! A subscription to a key, and ending it.

use std::fmt;

use super::Core;
use super::member::Member;
use crate::delivery::door::Door;
use crate::delivery::keyed::Topic;
use crate::delivery::set::Left;
use crate::sync::Arc;

/// A handler's subscription to a key of a [`Bus`](super::Bus). Ends when it is dropped.
#[must_use = "a subscription ends when it is dropped"]
pub struct BusSubscription<V: 'static> {
    core: Arc<Core<V>>,
    topic: Arc<Topic<Member<V>>>,
    door: Arc<Door>,
    number: u64,
}

impl<V: 'static> BusSubscription<V> {
    pub(super) fn new(core: Arc<Core<V>>, topic: Arc<Topic<Member<V>>>, door: Arc<Door>, number: u64) -> Self {
        Self { core, topic, door, number }
    }

    /// The key.
    pub fn key(&self) -> &str {
        self.topic.key()
    }

    /// No publish that begins from now on calls the handler. Those that are delivering still may; the last of them drops it.
    ///
    /// Does not wait; lock-free. Dropping does the same. Again, it does nothing.
    pub fn unsubscribe(&self) {
        if self.topic.set.leave(self.number, true) == Left::Retired {
            self.core.remove(&self.topic);
        }
    }

    /// When this has returned, the handler is not running, will not be called again, and has been dropped.
    ///
    /// Waits for the deliveries that began before, of this key. So whoever closes must not be what one of their handlers waits
    /// for. Inside a handler, of any bus or log, it does not wait: it might be that very handler; from then on nobody begins
    /// to call it, but other threads may be in the middle of it. Again, it does nothing but wait.
    pub fn close(&self) {
        self.door.close();
        self.unsubscribe();
        self.core.closed();
        self.door.wait_until_gone();
    }
}

impl<V: 'static> Drop for BusSubscription<V> {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

impl<V: 'static> fmt::Debug for BusSubscription<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusSubscription")
            .field("key", &self.key())
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
