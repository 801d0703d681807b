//! The log as of one end.

use std::fmt;

use super::batch::Target;
use super::envelope::Envelope;
use super::error::NotThereYet;
use super::handle::Log;
use super::read::{OneStream, Read, WholeLog};
use super::segment::Seen;
use crate::model::Position;
use crate::sync::Ordering;

/// Every envelope up to one position: of the log, and of every stream alike.
///
/// Several reads of one view are one consistent snapshot, however fast others append. A view holds nothing but the log
/// itself: retention may remove envelopes from it, from the beginning.
#[derive(Clone)]
pub struct View {
    log: Log,
    end: Position,
}

impl View {
    pub(crate) fn new(log: Log, end: Position) -> Self {
        Self { log, end }
    }

    pub(crate) fn at(log: Log, position: Position) -> Result<Self, NotThereYet> {
        let end = log.end();
        if position > end {
            return Err(NotThereYet { position, end });
        }
        let core = log.core();
        let guard = core.pin();
        let mut index = position.get();

        // Back over a batch that goes on after `position`; what was removed is nobody's to see anyway.
        let first = core.first();
        while index > first {
            let Some(segment) = core.segment_of(index - 1, &guard) else {
                if let Some(backing) = core.backing() {
                    index = backing.between_batches(index).unwrap_or(index).max(first);
                }
                break;
            };
            // Relaxed: `end` was read with Acquire, and this lies before it.
            match Seen::of(segment.slot(index - 1).load(Ordering::Relaxed)) {
                Seen::More(_) => index -= 1,
                _ => break,
            }
        }
        drop(guard);
        Ok(Self { log, end: Position::new(index) })
    }

    /// The position of its last envelope.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Reads all of it.
    pub fn read(&self) -> Read<WholeLog> {
        Read::log(self)
    }

    /// Reads a stream, by id or by handle. One that was never written reads as empty.
    pub fn read_stream<'s>(&self, stream: impl Into<Target<'s>>) -> Read<OneStream> {
        Read::stream(self, stream.into().entry(&self.log))
    }

    /// The envelope at a position; none when it is after the end or has been removed.
    pub fn get(&self, position: impl Into<Position>) -> Option<Envelope> {
        let core = self.log.core();
        core.envelope(position.into(), self.end.get(), &core.pin())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("end", &self.end).finish_non_exhaustive()
    }
}
