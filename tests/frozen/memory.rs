//! Memory while a thread stands still. The bounds:
//!
//! - Frozen in the middle of a call, so pinned: every segment removed after the freeze stays, and nothing else.
//!   `Log::unreturned_segments` counts them. After the thaw they are returned.
//! - Frozen between calls, with a cursor: one segment stays. With an envelope: its chunk of memory, no segment.
//!
//! The log keeps the last `KEPT` messages; the others append `APPENDED` while the victim stands still.

use annals::{Log, Message, Retention, Stream};

use crate::allocator::live;
use crate::operations;
use crate::position::{Child, Crash, Move};
use crate::scene::{Operation, Other, Outcome, Scene, Stage, Victim};
use crate::sweep::PATIENCE;

const SLOTS: u64 = 64;
const KEPT: u64 = 640;
const APPENDED: u64 = 4_800;
/// Bytes of one record of this size with all that belongs to it, but for its segment's own.
const RECORD: u64 = 144;
/// Bytes of a segment besides its slots, and of the epoch's note that it may be freed.
const SEGMENT: u64 = 3_072;
/// The chunks that appenders fill here are no larger.
const CHUNK: u64 = 64 << 10;

/// What may not be returned while the victim stands still.
#[derive(Clone, Copy)]
enum Keeps {
    All,
    OneSegment,
    NoSegment,
}

pub struct Memory {
    pub name: &'static str,
    keeps: Keeps,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub failed: bool,
    /// Segments not returned, and bytes more than before: while frozen; after the thaw and maintenance.
    pub frozen: (u64, u64),
    pub thawed: (u64, u64),
}

pub fn all() -> Vec<Memory> {
    vec![
        Memory { name: "frozen in the middle of an append", keeps: Keeps::All },
        Memory { name: "frozen with a cursor, between two steps", keeps: Keeps::OneSegment },
        Memory { name: "frozen with an envelope", keeps: Keeps::NoSegment },
    ]
}

fn filler() -> Message<'static> {
    Message::event("Filler", b"as it was written").expect("a name and a short payload")
}

fn append(stream: &Stream, count: u64) -> Result<(), String> {
    (0..count).try_for_each(|_| stream.append(filler()).map(drop).map_err(|error| error.to_string()))
}

/// Two numbers for the tracer in one.
fn both(segments: u64, bytes: usize) -> u64 {
    segments << 40 | bytes as u64
}

fn two(value: u64) -> (u64, u64) {
    (value >> 40, value & ((1 << 40) - 1))
}

fn scene(keeps: Keeps) -> Scene {
    let mut retention = Retention::default();
    retention.records = Some(KEPT);
    let log = Log::builder().segment_slots(SLOTS as usize).no_clock().retention(retention).build().expect("in range");
    let stream = log.stream("victims").expect("a stream");
    // As many as are needed for the appender to have come to its larger chunks.
    append(&stream, 2_000).expect("appends");
    (0..4).for_each(|_| log.maintain());
    let prepare = prepare(keeps, &log, &stream);
    let mut before = 0;
    let first: Other = Box::new(move |stage| match stage {
        Stage::Work => {
            before = live();
            while_frozen(&log, &stream, keeps)
        }
        Stage::Clear => after_thaw(&log, before),
        // To find where the victim's slot is taken.
        _ => stream.append(filler()).map(|it| it.position.get()).map_err(|error| error.to_string()),
    });
    Scene { victims: vec![Victim { prepare, check: Box::new(|_| Ok(())) }], others: [first, Box::new(|_| Ok(0))] }
}

fn prepare(keeps: Keeps, log: &Log, stream: &Stream) -> Box<dyn FnOnce() -> Operation + Send> {
    let (log, stream) = (log.clone(), stream.clone());
    let drops = |held: Box<dyn FnOnce()>| -> Operation {
        Box::new(move || {
            held();
            Outcome::default()
        })
    };
    match keeps {
        Keeps::All => Box::new(move || operations::append(0)(log, stream)),
        Keeps::OneSegment => Box::new(move || {
            let mut cursor = log.read().cursor();
            cursor.next();
            drops(Box::new(move || drop(cursor)))
        }),
        Keeps::NoSegment => Box::new(move || {
            let envelope = log.get(log.first());
            drops(Box::new(move || drop(envelope)))
        }),
    }
}

fn while_frozen(log: &Log, stream: &Stream, keeps: Keeps) -> Result<u64, String> {
    let (first, before) = (log.first().get(), live() as u64);
    append(stream, APPENDED)?;
    log.maintain();
    log.maintain();
    let removed = (log.first().get() - 1) / SLOTS - (first - 1) / SLOTS;
    let (unreturned, grown) = (log.unreturned_segments(), (live() as u64).saturating_sub(before));
    // An appender opens another chunk, and the first ones are smaller.
    let (least, most, bytes) = match keeps {
        Keeps::All => (removed, removed, removed * (SLOTS * RECORD + SEGMENT)),
        Keeps::OneSegment => (1, 1, SLOTS * RECORD + SEGMENT),
        Keeps::NoSegment => (0, 0, 0),
    };
    if !(least..=most).contains(&unreturned) || grown > bytes + 3 * CHUNK {
        return Err(format!(
            "{unreturned} segments are not returned, {least} to {most} were expected, \
             and {grown} bytes of {bytes} and three chunks"
        ));
    }
    Ok(both(unreturned, grown as usize))
}

/// Everything is returned, and as much memory is used as before, or twice that: chunks are larger by now.
fn after_thaw(log: &Log, before: usize) -> Result<u64, String> {
    log.maintain();
    log.maintain();
    let (unreturned, now) = (log.unreturned_segments(), live());
    if unreturned > 0 || now > 2 * before {
        return Err(format!("{unreturned} segments are not returned, and {now} bytes are used, {before} were before"));
    }
    Ok(both(unreturned, now.saturating_sub(before)))
}

pub fn run(memory: &Memory) -> Measured {
    let measured = play(memory).unwrap_or_else(|Crash(stop)| {
        eprintln!("frozen: {}: the victim came to {stop:?}", memory.name);
        None
    });
    measured.unwrap_or(Measured { failed: true, frozen: (0, 0), thawed: (0, 0) })
}

fn play(memory: &Memory) -> Result<Option<Measured>, Crash> {
    let mut scene = Some(scene(memory.keeps));
    let moves: &[Move] = if matches!(memory.keeps, Keeps::All) { &[Move::Swap(0)] } else { &[] };
    let mut child = Child::start(&mut scene)?;
    child.follow(moves, PATIENCE)?;
    let Some(frozen) = child.first(Stage::Work, PATIENCE).done() else { return Ok(None) };
    if child.thaw(0, PATIENCE).done().is_none() {
        return Ok(None);
    }
    let Some(thawed) = child.first(Stage::Clear, PATIENCE).done() else { return Ok(None) };
    let (frozen, thawed) = (two(frozen), two(thawed));
    Ok(Some(Measured { failed: false, frozen, thawed }))
}
