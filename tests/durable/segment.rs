//! Any bytes as the file of a log: it opens, or says what is wrong and leaves the file alone; what opens can be read or says that
//! it cannot, goes on, and opens again as it was. Never a panic.
//!
//! The first byte says how the others become a file: as they are; or after a valid header, with the checksums of frames and of
//! the footer put right, so that what they mean is reached.

use std::collections::BTreeMap;

use annals::durable::Options;
use annals::{Envelope, Log, Message, Revision};

use crate::crash_disk::{CrashDisk, Image};

/// No more bytes than this: longer files repeat what shorter ones do.
pub const MOST: usize = 16 << 10;

const HEADER: usize = 96;
const HEAD: usize = 8;
const TRAILER: usize = 64;
const NAME: &str = "0000000000000001.seg";
const ID: [u8; 16] = [7; 16];

/// The header of the first file of a log.
fn header() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(b"annalsSG");
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(96_u32.to_le_bytes());
    bytes.extend(ID);
    for number in [1, 1, i64::MIN.cast_unsigned(), 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend((2_u32 << 20).to_le_bytes());
    bytes.resize(HEADER - 4, 0);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize
}

/// The file that some bytes stand for.
pub fn file(bytes: &[u8]) -> Vec<u8> {
    let Some((how, rest)) = bytes.split_first() else { return Vec::new() };
    if how & 1 == 0 {
        return rest.to_vec();
    }
    let mut file = header();
    file.extend(rest);
    let seed = crc32c::crc32c_append(crc32c::crc32c(&ID), &1_u64.to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &0_u64.to_le_bytes());
    if how & 2 == 2 {
        let mut at = HEADER;
        while at + HEAD < file.len() {
            let end = at + HEAD + number(&file, at + 4);
            if end == at + HEAD || end > file.len() {
                break;
            }
            let begin = seed.wrapping_add(u32::try_from(at).expect("a short file"));
            let sum = crc32c::crc32c_append(begin, &file[at + 4..end]);
            file[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            at = end;
        }
    }
    if how & 4 == 4 && file.len() >= HEADER + TRAILER {
        let trailer = file.len() - TRAILER;
        let section = number(&file, trailer + 8);
        if how & 8 == 8 && section < trailer {
            let sum = crc32c::crc32c(&file[section..trailer]);
            file[trailer + 48..trailer + 52].copy_from_slice(&sum.to_le_bytes());
        }
        let sum = crc32c::crc32c_append(seed, &file[trailer..trailer + TRAILER - 4]);
        file[trailer + TRAILER - 4..].copy_from_slice(&sum.to_le_bytes());
    }
    file
}

/// What a log has, if all of it can be read.
fn all(log: &Log) -> Option<Vec<Envelope>> {
    let mut read = log.read().iter();
    let envelopes: Vec<Envelope> = read.by_ref().collect();
    let mut backwards = log.read().backwards().iter();
    let count = backwards.by_ref().count();
    if read.failure().is_some() || backwards.failure().is_some() {
        return None;
    }
    assert_eq!(log.end(), envelopes.len() as u64);
    assert_eq!(count, envelopes.len());
    let mut streams: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, envelope) in envelopes.iter().enumerate() {
        assert_eq!(envelope.position(), at as u64 + 1);
        *streams.entry(envelope.stream()).or_default() += 1;
    }
    for (stream, _) in streams {
        let _ = log.read_stream(stream).iter().count();
        let _ = log.stream_info(stream);
    }
    Some(envelopes)
}

/// Opens a log that has the file, and looks at it.
pub fn run(bytes: &[u8]) {
    let image = Image::from([(NAME.to_owned(), file(bytes).into())]);
    let disk = CrashDisk::of(&image);
    let options = Options::new().file_bytes(4096);
    let open = || Log::builder().segment_slots(16).open_on(disk.clone(), options);
    let Ok(log) = open() else {
        assert_eq!(disk.model().shown(), image, "what does not open is left as it is");
        return;
    };
    let there = all(&log);
    let end = log.end();
    drop(log);
    let log = open().expect("what opens once opens again");
    assert_eq!(log.end(), end);
    assert_eq!(log.journal().expect("it is on disk").recovered().torn_bytes, 0, "it was cut");
    let again = all(&log);
    match (&there, &again) {
        (Some(there), Some(again)) => {
            assert!(there.len() == again.len() && there.iter().zip(again).all(|(a, b)| same(a, b)));
        }
        (None, None) => return,
        (there, again) => panic!("{there:?}, then {again:?}"),
    }
    let appended = log.append("new stream", Message::event("E", "").expect("a message"));
    drop(log);
    let Ok(appended) = appended else { return };
    assert_eq!(appended.position, end.get() + 1);
    let log = open().expect("what was closed opens");
    assert_eq!(log.end(), end.get() + 1);
    assert!(appended.revision >= Revision::new(0));
    let _ = all(&log);
}

fn same(one: &Envelope, other: &Envelope) -> bool {
    one.revision() == other.revision()
        && one.stream() == other.stream()
        && one.name() == other.name()
        && one.payload() == other.payload()
        && one.time() == other.time()
}
