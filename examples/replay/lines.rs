//! The lines of an input, none of them longer than memory should hold.

use std::io::{self, BufRead, Read};

/// One line, without what ends it.
pub enum Line<'b> {
    Whole(&'b [u8]),
    /// Its length; its content was passed over.
    TooLong(u64),
}

pub struct Lines<R> {
    input: R,
    max: usize,
    buffer: Vec<u8>,
    /// Lines read to their end.
    pub number: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// `max`: bytes of the longest line that is kept.
    pub fn new(input: R, max: usize) -> Self {
        Self { input, max, buffer: Vec::new(), number: 0, bytes: 0 }
    }

    /// The next line; none at the end. The last one need not be ended.
    ///
    /// # Errors
    /// The input's. The line that was begun is lost.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let kept = self.input.by_ref().take(self.max as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if kept == 0 {
            return Ok(None);
        }
        let ended = self.buffer.last() == Some(&b'\n');
        let passed = if !ended && kept > self.max { self.input.skip_until(b'\n')? } else { 0 };
        self.number += 1;
        self.bytes += (kept + passed) as u64;
        if !ended && kept > self.max {
            return Ok(Some(Line::TooLong((kept + passed) as u64)));
        }
        Ok(Some(Line::Whole(&self.buffer[..kept - usize::from(ended)])))
    }
}
