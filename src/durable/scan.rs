//! Reading a file that was not closed: from its first frame to where they end. A pure function of the bytes.
//!
//! Where the frames of the last file end is where a power cut or a kill left off. What lies there may be nothing (zeros), a
//! frame that was being written, a batch without its end, or, since a disk may write what it was not yet asked to sync in any
//! order, whole frames after a hole. None of that was acknowledged as synced: it is cut off. But a frame that says that
//! everything before it had been synced proves that something was lost which had been promised: then the file is damaged. So
//! it is, too, when a file that others follow has fewer records than the next one says, for that is begun only after a sync.

use super::contents::Contents;
use super::error::{Flaw, Found};
use super::frame::Frame;
use super::header::{self, Header};

/// A file as far as it is whole.
pub(crate) struct Scan {
    pub(crate) contents: Contents,
    /// Offset of the end of the frames.
    pub(crate) end: u64,
    /// Bytes after that which are not zeros, and what lies between them and the end.
    pub(crate) torn: u64,
}

/// How far the frames of a file were read.
struct Walk<'b> {
    contents: Contents,
    /// The frames of a batch that is not complete.
    batch: Vec<(Frame<'b>, u64)>,
    /// Offset of the end of the last batch.
    end: usize,
    /// Offset of what is no frame.
    at: usize,
    flaw: Flaw,
}

/// Reads frames until one is none, or until there are records up to an index.
fn walk<'b>(header: &Header, file: &'b [u8], to: u64) -> Walk<'b> {
    let seed = header.seed();
    let mut contents = Contents::new(header.before);
    let mut batch: Vec<(Frame<'b>, u64)> = Vec::new();
    let (mut end, mut at) = (header::LEN, header::LEN);
    let flaw = loop {
        if contents.end() >= to {
            break Flaw::Missing;
        }
        let rest = file.get(at..).unwrap_or_default();
        let (frame, len) = match Frame::decode(seed, at as u64, header.longest, rest) {
            Ok(decoded) => decoded,
            Err(none) => break Flaw::from(none),
        };
        let more = frame.more;
        batch.push((frame, at as u64));
        at += len;
        if more {
            continue;
        }
        let fits = batch.drain(..).try_for_each(|(frame, offset)| contents.take(&frame, offset).map(drop));
        if fits.is_err() {
            break Flaw::Fields;
        }
        end = at;
    };
    Walk { contents, batch, end, at, flaw }
}

/// Reads a file up to an index, or as far as it goes: what there is until then, and the offset of its end.
pub(crate) fn scan_to(header: &Header, file: &[u8], to: u64) -> (Contents, u64) {
    let Walk { contents, end, .. } = walk(header, file, to);
    (contents, end as u64)
}

/// Reads a whole file. `next`: the index at which a later file begins.
///
/// Looks at each byte once, and after the end of the frames of a last file at each offset that may begin a frame.
///
/// # Errors
/// [`Found`] when records are missing that had been synced.
pub(crate) fn scan(header: &Header, file: &[u8], next: Option<u64>) -> Result<Scan, Found> {
    let seed = header.seed();
    let Walk { contents, batch, end, at, flaw } = walk(header, file, u64::MAX);
    let found = |flaw| Found { offset: at as u64, index: contents.end() + batch.len() as u64, flaw };
    let used = file.iter().rposition(|byte| *byte != 0).map_or(end, |last| last + 1).max(end);
    if let Some(next) = next {
        // What follows the last frame is a footer, or what is left of one.
        return if contents.end() == next { Ok(Scan { contents, end: end as u64, torn: 0 }) } else { Err(found(flaw)) };
    }
    // The checksum was right, so this was written so: no power cut does that.
    if flaw == Flaw::Fields {
        return Err(found(flaw));
    }
    if let Some(offset) = synced_after(seed, header.longest, file, at, used) {
        return Err(found(Flaw::Hole { later: offset }));
    }
    Ok(Scan { contents, end: end as u64, torn: (used - end) as u64 })
}

/// The offset of a frame after `from` that was written when everything before it had been synced.
fn synced_after(seed: u32, longest: u32, file: &[u8], from: usize, used: usize) -> Option<u64> {
    let file = &file[..used];
    (from + 1..used).map(|at| (at, Frame::decode(seed, at as u64, longest, &file[at..]))).find_map(|(at, frame)| {
        let synced = frame.is_ok_and(|(frame, _)| frame.synced);
        synced.then_some(at as u64)
    })
}
