//! Going through the log from a place on, as it grows.
//!
//! What is next is looked for in its slot: one load, when the slot lies in the held segment, and no pin. A slot that is done
//! is visible, and so is everything before it (S1); inside a batch the end decides.

use super::backing::{Ack, Stopped, cause};
use super::cursor::{Held, Range};
use super::envelope::Envelope;
use super::handle::Log;
use super::segment::Seen;
use crate::sync::Ordering;

pub(crate) struct Tail {
    held: Held,
    /// Index of what is next.
    next: u64,
    /// An end of the log: what is before it is visible.
    end: u64,
    /// How safe what is met has to be.
    ack: Ack,
    /// What is next, read from what the log rests on.
    recalled: std::vec::IntoIter<Envelope>,
}

/// What is next.
pub(crate) enum Step {
    Envelope(Envelope),
    /// So many envelopes were removed before they were met.
    Removed(u64),
    /// What the log rests on could not be read. Asked again, it is tried again.
    Unreadable(Stopped),
    /// Nothing yet.
    End,
    /// Nothing, for ever: the log was closed.
    Closed,
}

impl Tail {
    pub(crate) fn new(log: Log, next: u64, ack: Ack) -> Self {
        Self { held: Held::new(log), next, end: 0, ack, recalled: Vec::new().into_iter() }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.held.log
    }

    /// Index of what is next: everything before it was met, or removed.
    pub(crate) fn index(&self) -> u64 {
        self.next
    }

    /// How far it is behind, less up to 16 and a batch. One load.
    pub(crate) fn lag(&self) -> u64 {
        // Relaxed: a number to look at.
        self.held.log.core().hint.load(Ordering::Relaxed).saturating_sub(self.next)
    }

    /// The next envelope, in order. Wait-free but for finding a segment.
    pub(crate) fn next(&mut self) -> Step {
        loop {
            let first = self.held.log.core().first();
            if self.next < first {
                let removed = first - self.next;
                self.next = first;
                return Step::Removed(removed);
            }
            if self.ack != Ack::Memory && self.next >= self.held.log.core().mark(self.ack) {
                // It will never be as safe when the log has stopped.
                return cause(self.held.log.core()).map_or(Step::End, Step::Unreadable);
            }
            if !self.is_visible() {
                if !self.is_closed() {
                    return Step::End;
                }
                // It may have been appended between the two looks, and the log closed after that.
                if self.ack != Ack::Memory && self.next >= self.held.log.core().mark(self.ack) {
                    return Step::End;
                }
                if !self.is_visible() {
                    return Step::Closed;
                }
            }
            // A segment that has been removed meanwhile is not found; then the floor is beyond it.
            if (self.held.holds(self.next) || self.held.change(self.next))
                && let Some(record) = self.held.record(self.next)
            {
                let envelope = Envelope::of(record);
                self.next += 1;
                return Step::Envelope(envelope);
            }
            match self.recall() {
                Some(Ok(envelope)) => {
                    self.next += 1;
                    return Step::Envelope(envelope);
                }
                Some(Err(failure)) => return Step::Unreadable(failure),
                None => {}
            }
        }
    }

    /// What is next, when it is in memory no more.
    #[cold]
    fn recall(&mut self) -> Option<Result<Envelope, Stopped>> {
        let next = self.next + 1;
        // What was met in memory meanwhile is not met again.
        if let Some(envelope) = self.recalled.find(|envelope| envelope.position() == next) {
            return Some(Ok(envelope));
        }
        let backing = self.held.log.core().backing()?;
        let mut rest = Range { start: self.next, end: self.end.max(next) };
        match backing.read(&mut rest, false, None) {
            Ok(envelopes) => self.recalled = envelopes.into_iter(),
            Err(failure) => return Some(Err(failure)),
        }
        self.recalled.find(|envelope| envelope.position() == next).map(Ok)
    }

    /// Whether what is next is there.
    #[inline]
    fn is_visible(&mut self) -> bool {
        if self.next < self.end {
            return true;
        }
        // Acquire: pairs with the Release of the mark: publishes the record.
        match self.held.slot(self.next).map(|slot| Seen::of(slot.load(Ordering::Acquire))) {
            Some(Seen::Done(_)) => true,
            Some(Seen::Empty | Seen::Open(_) | Seen::Closed) => false,
            Some(Seen::More(_)) | None => self.look_for_the_end(),
        }
    }

    /// Looks where the log ends; whether that is after what is next.
    #[cold]
    fn look_for_the_end(&mut self) -> bool {
        let core = self.held.log.core();
        self.end = core.end(&core.pin());
        self.next < self.end
    }

    /// Whether the slot of what is next stays empty for ever.
    fn is_closed(&self) -> bool {
        match self.held.slot(self.next) {
            // Relaxed: it is looked at once more, with Acquire, before the end is told.
            Some(slot) => Seen::of(slot.load(Ordering::Relaxed)) == Seen::Closed,
            None => self.held.log.is_closed(),
        }
    }
}
