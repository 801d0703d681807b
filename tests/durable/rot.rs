//! Files that changed by themselves, or were changed by somebody: a log that was closed gives all its records or says that it
//! cannot; never others, never silently fewer.
//!
//! What cannot be told apart, and is not asked for:
//!
//! - The end of a log that was not closed: a last group of records that is damaged is as one that was being written when power
//!   failed, also when it had been synced. It is cut off, and [`Recovered`](annals::durable::Recovered) says so.
//! - The last file cut short: without its footer the log was not closed. `Recovered` says that.
//! - The last file missing, or an older state of it put back: then the log is what it was then.
//!
//! `ANNALS_ROT=all`: every byte, not only one of seven within a payload.

use std::sync::atomic::{AtomicUsize, Ordering};

use annals::durable::{Flaw, OpenError};
use annals::{Ack, Envelope};

use crate::crash_check::{Run, open, options, same};
use crate::crash_disk::{CrashDisk, Image};

/// Bytes of a header, of the head of a frame, of the end of a footer.
const HEADER: usize = 96;
const HEAD: usize = 8;
const TRAILER: usize = 64;

/// What a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    All,
    Refused,
    /// So many of the first records; and what it says of that.
    Fewer {
        end: u64,
        unclean: bool,
        torn: u64,
    },
    Wrong(String),
}

/// A log's files, and all that was in it.
struct Sample {
    image: Image,
    envelopes: Vec<Envelope>,
}

impl Sample {
    /// Three files, closed, or as they were when the process was killed.
    fn new(closed: bool) -> Self {
        let disk = CrashDisk::new();
        let run = Run::new(&disk, 500);
        while disk.model().names.len() < 3 {
            run.one(Ack::Synced);
        }
        (0..8).for_each(|_| run.one(Ack::Synced));
        let killed = disk.model().shown();
        let oracle = run.finish();
        let image = if closed { disk.model().shown() } else { killed };
        assert_eq!(image.len(), 3);
        Self { image, envelopes: oracle.envelopes }
    }

    /// The same with a file changed.
    fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Image {
        let mut image = self.image.clone();
        let mut bytes = image[name].to_vec();
        change(&mut bytes);
        image.insert(name.into(), bytes.into());
        image
    }

    fn names(&self) -> Vec<String> {
        self.image.keys().cloned().collect()
    }

    /// Reads the log and one of its streams.
    fn judge(&self, image: &Image, which: usize) -> Verdict {
        let streams: Vec<&str> = self.envelopes.iter().map(Envelope::stream).collect();
        self.read(image, Some(streams[which % streams.len()]))
    }

    fn read(&self, image: &Image, stream: Option<&str>) -> Verdict {
        let Ok(log) = open(&CrashDisk::of(image), options()) else { return Verdict::Refused };
        let end = log.end().get();
        let known = &self.envelopes[..usize::try_from(end).unwrap_or(usize::MAX).min(self.envelopes.len())];
        if end != known.len() as u64 {
            return Verdict::Wrong(format!("{end} records"));
        }
        let mut refused = false;
        let mut compare = |mut read: annals::Envelopes, known: &mut dyn Iterator<Item = &Envelope>| {
            for there in read.by_ref() {
                match known.next() {
                    Some(known) if same(&there, known) => {}
                    known => return Some(Verdict::Wrong(format!("{there:?}, not {known:?}"))),
                }
            }
            let missing = known.next();
            refused |= read.failure().is_some();
            let is_wrong = missing.is_some() && read.failure().is_none();
            is_wrong.then(|| Verdict::Wrong(format!("{missing:?} is missing")))
        };
        let mut wrong = compare(log.read().iter(), &mut known.iter());
        if let Some(stream) = stream {
            let of_it = |envelope: &&Envelope| envelope.stream() == stream;
            wrong = wrong.or(compare(log.read_stream(stream).iter(), &mut known.iter().filter(of_it)));
        }
        let recovered = log.journal().expect("it is on disk").recovered();
        match wrong {
            Some(wrong) => wrong,
            None if refused => Verdict::Refused,
            None if known.len() == self.envelopes.len() => Verdict::All,
            None => Verdict::Fewer { end, unclean: recovered.unclean, torn: recovered.torn_bytes },
        }
    }

    /// Where the frames of a file begin, and where they end.
    fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
        let trailer = bytes.len() - TRAILER;
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
        let end = number(trailer + 8);
        let (mut frames, mut at) = (Vec::new(), HEADER);
        while at < end {
            frames.push((at, at + HEAD + number(at + 4)));
            at = frames[frames.len() - 1].1;
        }
        assert_eq!(at, end);
        frames
    }
}

/// Judges many changes of each file, on two threads.
fn each_change(
    sample: &Sample,
    changes: impl Fn(&str, usize) -> Vec<(usize, u8)> + Sync,
    judge: impl Fn(&str, usize, Verdict) + Sync,
) -> usize {
    let count = AtomicUsize::new(0);
    let work = |half: usize| {
        for name in sample.names() {
            let len = sample.image[&name].len();
            for at in (0..len).filter(|at| at % 2 == half && is_chosen(sample, &name, *at)) {
                for (at, byte) in changes(&name, at) {
                    if sample.image[&name][at] != byte {
                        judge(&name, at, sample.judge(&sample.with(&name, |bytes| bytes[at] = byte), at));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(0));
        work(1);
    });
    count.into_inner()
}

/// Whether a place of a file is to be tried: of those in the midst of a payload, which is of one letter, one of some.
fn is_chosen(sample: &Sample, name: &str, at: usize) -> bool {
    let bytes = &sample.image[name];
    let is_payload =
        at > HEADER && bytes.get(at - 3..at + 3).is_some_and(|near| near.iter().all(|other| *other == bytes[at]));
    !is_payload || at.is_multiple_of(7) || is_thorough()
}

fn is_thorough() -> bool {
    std::env::var("ANNALS_ROT").is_ok_and(|which| which == "all")
}

/// The bytes with one bit flipped that are to be tried at a place of a file.
fn flips(sample: &Sample, name: &str, at: usize) -> Vec<(usize, u8)> {
    let byte = sample.image[name][at];
    let bits = if at.is_multiple_of(7) && !is_thorough() { at % 8..at % 8 + 1 } else { 0..8 };
    bits.map(|bit| (at, byte ^ (1 << bit))).collect()
}

/// Whichever bit of a closed log flips: all records, or an error.
#[test]
fn flipped_bits_of_a_closed_log() {
    let sample = Sample::new(true);
    (0..30).for_each(|which| assert_eq!(sample.judge(&sample.image, which), Verdict::All));
    let tried = each_change(
        &sample,
        |name, at| flips(&sample, name, at),
        |name, at, verdict| {
            assert!(matches!(verdict, Verdict::All | Verdict::Refused), "{name} at {at}: {verdict:?}");
        },
    );
    println!("{tried} flipped bits");
    assert!(tried > 12_000);
}

/// The same of each byte that becomes zero.
#[test]
fn zeroed_bytes_of_a_closed_log() {
    let sample = Sample::new(true);
    let tried = each_change(
        &sample,
        |_, at| vec![(at, 0)],
        |name, at, verdict| {
            assert!(matches!(verdict, Verdict::All | Verdict::Refused), "{name} at {at}: {verdict:?}");
        },
    );
    println!("{tried} zeroed bytes");
    assert!(tried > 2_000);
}

/// Of a log that was not closed only the last record, after which nothing was synced, may go, and it says so.
#[test]
fn flipped_bits_of_a_log_that_was_killed() {
    let sample = Sample::new(false);
    let last = sample.names().pop().unwrap();
    let count = sample.envelopes.len() as u64;
    let tried = each_change(
        &sample,
        |name, at| flips(&sample, name, at).into_iter().take(1).collect(),
        |name, at, verdict| {
            let cut = |verdict: &Verdict| match verdict {
                Verdict::Fewer { end, unclean, torn } => name == last && *end == count - 1 && *unclean && *torn > 0,
                _ => false,
            };
            assert!(matches!(verdict, Verdict::All | Verdict::Refused) || cut(&verdict), "{name} at {at}: {verdict:?}");
        },
    );
    println!("{tried} flipped bits of a log that was killed");
    assert!(tried > 2_000);
}

/// Each file at each shorter length: all records, an error, or, of the last file, a log that was not closed.
#[test]
fn files_that_were_cut() {
    let sample = Sample::new(true);
    let last = sample.names().pop().unwrap();
    let mut tried = 0;
    for name in sample.names() {
        for len in (0..sample.image[&name].len()).filter(|at| is_chosen(&sample, &name, *at)) {
            let verdict = sample.judge(&sample.with(&name, |bytes| bytes.truncate(len)), len);
            let is_told = matches!(verdict, Verdict::Fewer { unclean: true, .. }) && name == last && len >= HEADER;
            assert!(is_told || matches!(verdict, Verdict::All | Verdict::Refused), "{name} cut to {len}: {verdict:?}");
            tried += 1;
        }
    }
    println!("{tried} lengths");
}

/// A frame is valid at its place alone: not where another one was, nor twice.
#[test]
fn frames_that_moved() {
    let sample = Sample::new(true);
    let mut tried = 0;
    for name in sample.names() {
        let frames = Sample::frames(&sample.image[&name]);
        let whole = sample.image[&name].clone();
        for (at, one) in frames.iter().enumerate() {
            for other in &frames[at + 1..] {
                let swapped = sample.with(&name, |bytes| {
                    bytes.splice(other.0..other.1, whole[one.0..one.1].iter().copied());
                    bytes.splice(one.0..one.1, whole[other.0..other.1].iter().copied());
                });
                assert_eq!(sample.read(&swapped, None), Verdict::Refused, "{name}: {one:?} and {other:?} swapped");
                tried += 1;
            }
            let doubled =
                sample.with(&name, |bytes| drop(bytes.splice(one.1..one.1, whole[one.0..one.1].iter().copied())));
            // After the last one there is only the footer.
            let expected = if at + 1 == frames.len() { Verdict::All } else { Verdict::Refused };
            assert_eq!(sample.read(&doubled, None), expected, "{name}: {one:?} twice");
            let without = sample.with(&name, |bytes| drop(bytes.drain(one.0..one.1)));
            assert_eq!(sample.read(&without, None), Verdict::Refused, "{name}: without {one:?}");
            tried += 2;
        }
    }
    println!("{tried} frames moved");
    assert!(tried > 50);
}

/// Damage of an image.
fn flaw(image: &Image) -> (String, Flaw) {
    match open(&CrashDisk::of(image), options()) {
        Err(OpenError::Damaged(damage)) => (damage.file.into(), damage.flaw),
        other => panic!("{other:?}"),
    }
}

/// Files in each other's place, of another log, or not there.
#[test]
fn files_that_do_not_belong() {
    let sample = Sample::new(true);
    let names = sample.names();
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let mut image = sample.image.clone();
        image.insert(names[one].clone(), sample.image[&names[other]].clone());
        image.insert(names[other].clone(), sample.image[&names[one]].clone());
        assert_eq!(flaw(&image), (names[one].clone(), Flaw::Foreign));
    }
    let other_log = Sample::new(true);
    for (at, name) in names.iter().enumerate() {
        let mut image = sample.image.clone();
        image.insert(name.clone(), other_log.image[name].clone());
        // The first file says which log it is.
        assert_eq!(flaw(&image), (names[at.max(1)].clone(), Flaw::Foreign));
        let mut image = sample.image.clone();
        image.remove(name);
        match at {
            // Retention would have said that the first one is gone.
            0 | 1 => assert_eq!(flaw(&image), (name.clone(), Flaw::Missing)),
            _ => assert!(open(&CrashDisk::of(&image), options()).unwrap().end().get() < sample.envelopes.len() as u64),
        }
        let copied = name.replace('1', "7").replace('2', "8").replace('3', "9");
        let mut image = sample.image.clone();
        image.insert(copied.clone(), sample.image[name].clone());
        assert_eq!(flaw(&image), (copied, Flaw::Foreign), "a copy under a later number");
    }
}

/// An older state of a file that others follow is not taken for the file.
#[test]
fn a_file_of_an_older_state() {
    let disk = CrashDisk::new();
    let run = Run::new(&disk, 200);
    (0..6).for_each(|_| run.one(Ack::Synced));
    let oracle = run.finish();
    let older = disk.model().shown();
    let run = Run::going_on(&disk, 200, oracle);
    (0..30).for_each(|_| run.one(Ack::Synced));
    run.finish();
    let mut image = disk.model().shown();
    assert!(older.len() == 1 && image.len() > 1);
    let (name, bytes) = older.first_key_value().unwrap();
    image.insert(name.clone(), bytes.clone());
    assert_eq!(flaw(&image).1, Flaw::Foreign);
    // Without its footer, too.
    let frames = Sample::frames(bytes);
    image.insert(name.clone(), bytes[..frames[frames.len() - 1].1].into());
    assert_eq!(flaw(&image).1, Flaw::Missing);
}
