//! A key that has been looked up.

use std::fmt;

use super::member::Member;
use super::{Core, Published};
use crate::delivery::keyed::Topic;
use crate::sync::{Arc, turn};

/// A handle to a key of a [`Bus`](super::Bus): publishes without looking the key up. It works on while subscribers of the key
/// come and go.
pub struct Key<V: 'static> {
    core: Arc<Core<V>>,
    topic: Arc<Topic<Member<V>>>,
}

impl<V: 'static> Key<V> {
    /// Whoever makes one holds on to the topic's set.
    pub(super) fn new(core: Arc<Core<V>>, topic: Arc<Topic<Member<V>>>) -> Self {
        Self { core, topic }
    }

    /// The key itself.
    pub fn name(&self) -> &str {
        self.topic.key()
    }

    /// The same as [`Bus::publish`](super::Bus::publish). Wait-free but for the handlers.
    #[inline]
    pub fn publish(&self, value: V) -> Published {
        let Some(turn) = turn::begin() else {
            Core::defer(&self.core, self.topic.key(), value);
            return Published::DEFERRED;
        };
        let closings = self.core.closings();
        let published = self.core.deliver(&self.topic.set.load(), closings, &value);
        drop(turn);
        published
    }

    /// How many subscribers the key has. Wait-free.
    pub fn subscriber_count(&self) -> usize {
        self.topic.set.load().get().map_or(0, |state| state.members.len())
    }
}

impl<V: 'static> Clone for Key<V> {
    fn clone(&self) -> Self {
        // Never retired: this handle holds on to it.
        self.topic.set.hold();
        Self { core: self.core.clone(), topic: self.topic.clone() }
    }
}

impl<V: 'static> Drop for Key<V> {
    fn drop(&mut self) {
        if self.topic.set.let_go() {
            self.core.remove(&self.topic);
        }
    }
}

impl<V: 'static> fmt::Debug for Key<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name()).finish()
    }
}
