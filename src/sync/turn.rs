//! Whose turn it is on a thread.
//!
//! A handler may append, and publish: that is delivered after what is being delivered (law L12). So deliveries of one thread
//! form a queue. Whoever is first delivers at once, and then, one after the other, what handlers added meanwhile: no recursion,
//! however long the chain. The queue is of the thread, not of a log: two logs whose handlers append to each other do not wait
//! for each other, because inside a handler nobody waits.
//!
//! No thread-local here has a destructor: the first use of one with a destructor takes a lock of the C library (law L6).

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

#[cfg(loom)]
use loom::thread_local;
#[cfg(annals_shuttle)]
use shuttle::thread_local;

/// A delivery that waits for its turn.
pub(crate) type Task = Box<dyn FnOnce()>;

#[allow(clippy::box_collection, reason = "one word, which a cell can swap")]
type Queue = Option<ManuallyDrop<Box<VecDeque<Task>>>>;

/// Nobody delivers.
const FREE: u8 = 0;
/// Somebody delivers.
const TAKEN: u8 = 1;
/// And something waits for its turn.
const QUEUED: u8 = 2;

#[cfg(not(any(loom, annals_shuttle)))]
thread_local! {
    static TURN: Cell<u8> = const { Cell::new(FREE) };
    static LATER: Cell<Queue> = const { Cell::new(None) };
}

#[cfg(any(loom, annals_shuttle))]
thread_local! {
    static TURN: Cell<u8> = Cell::new(FREE);
    static LATER: Cell<Queue> = Cell::new(None);
}

/// Whether the calling thread is in the middle of a delivery: then it must not wait for one.
#[inline]
pub(crate) fn is_taken() -> bool {
    TURN.with(Cell::get) != FREE
}

/// Delivers, or has it delivered after the delivery at hand. What `now` returns; nothing when it is for later.
#[inline]
pub(crate) fn take<R>(now: impl FnOnce() -> R, later: impl FnOnce() -> Task) -> Option<R> {
    let Some(turn) = begin() else {
        defer(later());
        return None;
    };
    let result = now();
    drop(turn);
    Some(result)
}

/// The thread's turn, unless it is taken: then the delivery is to be [deferred](defer).
#[inline]
pub(crate) fn begin() -> Option<Turn> {
    if is_taken() {
        return None;
    }
    TURN.with(|turn| turn.set(TAKEN));
    Some(Turn(()))
}

/// Adds a delivery to those that wait.
#[cold]
pub(crate) fn defer(task: Task) {
    let mut queue = LATER.with(Cell::take).unwrap_or_default();
    queue.push_back(task);
    LATER.with(|later| later.set(Some(queue)));
    TURN.with(|turn| turn.set(QUEUED));
}

/// A turn. Dropped, it delivers what waits, and is over. On a panic, too, which no handler's is.
pub(crate) struct Turn(());

impl Drop for Turn {
    #[inline]
    fn drop(&mut self) {
        if TURN.with(Cell::get) == QUEUED {
            deliver();
        }
        TURN.with(|turn| turn.set(FREE));
    }
}

#[cold]
fn deliver() {
    let mut queue = VecDeque::new();
    loop {
        // What the last task's handlers added comes after what was there.
        if let Some(added) = LATER.with(Cell::take) {
            queue.append(&mut *ManuallyDrop::into_inner(added));
        }
        let Some(task) = queue.pop_front() else { return };
        task();
    }
}
