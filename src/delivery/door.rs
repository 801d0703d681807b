//! When a subscription is over: no set of subscribers has it, and no delivery looks at a set that had it.
//!
//! Every set that a subscriber is in holds its [`Ticket`]; sets are replaced, and those that deliveries still look at live on
//! until the last of these is done. So the last ticket goes when nobody can call the handler any more, and the handler has
//! been dropped. Its [`Door`] says so, and whoever closes waits for that (law L14).

use super::waiting::Waiters;
use crate::sync::{Arc, AtomicU32, Ordering, turn};

/// Unsubscribed: deliveries that have begun go on, none of the past begins.
const LEFT: u32 = 1;
/// Closed: no call of the handler begins.
const CLOSED: u32 = 2;

/// What a subscription keeps to end it.
pub(crate) struct Door {
    state: AtomicU32,
    gone: AtomicU32,
    waiters: Waiters,
}

/// Declared last in what is dropped with it: the door opens when everything else is gone.
pub(crate) struct Ticket(Arc<Door>);

impl Door {
    pub(crate) fn new() -> (Arc<Self>, Ticket) {
        let door = Arc::new(Self { state: AtomicU32::new(0), gone: AtomicU32::new(0), waiters: Waiters::new() });
        (door.clone(), Ticket(door))
    }

    /// From now on no delivery begins to call the handler.
    pub(crate) fn close(&self) {
        // Relaxed: nothing comes with it. Who comes after the close sees it; beside the close either will do.
        self.state.fetch_max(CLOSED, Ordering::Relaxed);
    }

    /// From now on nothing of the past is delivered.
    pub(crate) fn leave(&self) {
        // Relaxed: as in `close`.
        self.state.fetch_max(LEFT, Ordering::Relaxed);
    }

    pub(crate) fn is_left(&self) -> bool {
        // Relaxed: as in `close`.
        self.state.load(Ordering::Relaxed) >= LEFT
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: as in `close`.
        self.state.load(Ordering::Relaxed) == CLOSED
    }

    /// Waits until nobody can call the handler any more; not inside a handler, which might be that very one.
    pub(crate) fn wait_until_gone(&self) {
        if !turn::is_taken() {
            self.waiters.block(None, || self.is_gone());
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        // Acquire: pairs with the store in `Ticket::drop`: all that the handler did comes before.
        self.gone.load(Ordering::Acquire) != 0
    }
}

impl Ticket {
    #[inline]
    pub(crate) fn door(&self) -> &Door {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Release: pairs with the load in `is_gone`.
        self.0.gone.store(1, Ordering::Release);
        self.0.waiters.wake_all();
    }
}
