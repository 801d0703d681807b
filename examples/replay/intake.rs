//! Lines to events, in rounds that fit in memory.

use std::io::{self, BufRead};

use annals::Limits;

use crate::event::Event;
use crate::faults::Fault;
use crate::lines::{Line, Lines};

const ROUND_LINES: u64 = 16 * 1024;
const ROUND_BYTES: u64 = 16 * 1024 * 1024;
/// For the fields beside the payload.
const BESIDE_PAYLOAD: usize = 1024 * 1024;

pub struct Intake<R> {
    lines: Lines<R>,
    /// Bytes of the longest line.
    max: usize,
}

pub struct Round {
    pub events: Vec<Event>,
    pub faults: Vec<Fault>,
    pub end: End,
}

/// What a round ended at.
pub enum End {
    More,
    Input,
    Error(io::Error),
}

impl<R: BufRead> Intake<R> {
    pub fn new(input: R) -> Self {
        let max = Limits::default().payload_bytes + BESIDE_PAYLOAD;
        Self { lines: Lines::new(input, max), max }
    }

    pub fn round(&mut self) -> Round {
        let mut round = Round { events: Vec::new(), faults: Vec::new(), end: End::More };
        let (lines, bytes) = (self.lines.number, self.lines.bytes);
        while self.lines.number - lines < ROUND_LINES && self.lines.bytes - bytes < ROUND_BYTES {
            match self.event() {
                Ok(Some(Ok(event))) => round.events.extend(event),
                Ok(Some(Err(reason))) => round.faults.push(Fault { line: self.lines.number, reason }),
                Ok(None) => {
                    round.end = End::Input;
                    break;
                }
                Err(error) => {
                    round.end = End::Error(error);
                    break;
                }
            }
        }
        round
    }

    /// Where the input was when it ended.
    pub fn how_far(&self) -> String {
        format!("after line {} (byte {})", self.lines.number, self.lines.bytes)
    }

    /// The event of the next line: none on an empty one, a reason when it is not an event. Nothing after the last line.
    fn event(&mut self) -> io::Result<Option<Result<Option<Event>, String>>> {
        let max = self.max;
        let number = self.lines.number + 1;
        Ok(self.lines.next()?.map(|line| match line {
            Line::TooLong(bytes) => Err(format!("{bytes} bytes are more than the {max} a line may have")),
            Line::Whole(line) if line.trim_ascii().is_empty() => Ok(None),
            Line::Whole(line) => Event::parse(number, line).map(Some),
        }))
    }
}
