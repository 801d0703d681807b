//! Taking a place in the order of the log without appending a record: to begin to watch, or to close.

use super::append::LIMIT;
use super::core::{Core, Spot};
use super::reclaim::Guard;
use super::segment::{Seen, closed};
use crate::sync::{Ordering, decide, fence, probe};

/// Where the log ends, as an appender would find it.
pub(crate) struct Settled {
    /// Index of the first slot that is not taken. Everything before it is finished.
    pub(crate) end: u64,
    /// Nothing is ever appended after it.
    pub(crate) closed: bool,
}

impl Core {
    /// Where the log ends. Finishes what is in the way, as an appender does, so that whatever was decided before has taken
    /// effect.
    ///
    /// What the caller wrote before this call (a subscription, say), everybody sees who takes a slot from the end on; see
    /// [`decide`](crate::sync::decide). Lock-free: every step more than an appender's walk means an append took effect.
    pub(crate) fn settle(&self, guard: &Guard) -> Settled {
        // SeqCst: the caller's writes before it come before the look at the slots; pairs with `decide` and `look_up`.
        fence(Ordering::SeqCst);
        let mut spot = self.late_spot(guard);
        loop {
            match self.first_seen(&mut spot, guard) {
                None | Some(Seen::Closed) => return Settled { end: spot.index, closed: true },
                Some(Seen::Empty) => return Settled { end: spot.index, closed: false },
                Some(seen) => self.pass(&mut spot, seen, guard),
            }
        }
    }

    /// Closes the log: whoever appends from now on is refused. The mark of it takes a slot like an append, so what is before
    /// has taken effect, and what is not will never be. Returns the end. Lock-free, idempotent.
    pub(crate) fn close(&self, guard: &Guard) -> u64 {
        let mut spot = self.late_spot(guard);
        loop {
            match self.first_seen(&mut spot, guard) {
                None | Some(Seen::Closed) => return spot.index,
                Some(Seen::Empty) => {
                    let slot = spot.segment.slot(spot.index);
                    // `decide`: as for an append, whoever waits for the next one sees the mark or is seen. Relaxed: who was
                    // faster is looked at again.
                    let swap = slot.compare_exchange(std::ptr::null_mut(), closed(), decide(), Ordering::Relaxed);
                    if swap.is_ok() {
                        return spot.index;
                    }
                }
                Some(seen) => self.pass(&mut spot, seen, guard),
            }
        }
    }

    /// What is in the slot of the spot, whose segment is made when it is not there; none when there are no slots left.
    fn first_seen<'g>(&self, spot: &mut Spot<'g>, guard: &'g Guard) -> Option<Seen> {
        if spot.index >= LIMIT {
            return None;
        }
        if !spot.segment.holds(spot.index) {
            *spot = self.next_segment(*spot, guard).ok()?;
        }
        Some(Seen::of(probe(spot.segment.slot(spot.index))))
    }
}
