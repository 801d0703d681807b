//! What a log on disk keeps, and how it goes on.

use annals::durable::Options;
use annals::{Ack, Envelope, Log, Message, Position, Revision};
use tempfile::TempDir;

pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

/// Small files, so that there are many.
pub fn small() -> Options {
    Options::new().file_bytes(4096)
}

fn open(directory: &TempDir, options: Options) -> Log {
    Log::builder().segment_slots(16).open(directory.path(), options).unwrap()
}

fn event(n: u64) -> Message<'static> {
    Message::event("Counted", n.to_string()).unwrap()
}

fn payloads(envelopes: impl Iterator<Item = Envelope>) -> Vec<u64> {
    envelopes.map(|envelope| std::str::from_utf8(envelope.payload()).unwrap().parse().unwrap()).collect()
}

/// What was appended is there after the log was closed, and what is appended then goes on where it ended.
#[test]
fn a_log_goes_on_where_it_ended() {
    for options in [Options::new(), small()] {
        for ack in [Ack::Memory, Ack::Written, Ack::Synced] {
            let there = directory();
            for round in 0..5 {
                let log = open(&there, options.acknowledge(ack));
                assert_eq!(log.end(), 40 * round);
                let recovered = log.journal().unwrap().recovered();
                assert_eq!((recovered.unclean, recovered.torn_bytes, recovered.end), (false, 0, log.end()));
                for n in 40 * round..40 * round + 40 {
                    let stream = format!("s-{}", n % 3);
                    let appended = log.append(&stream, event(n)).unwrap();
                    assert_eq!((appended.position, appended.revision), (Position::new(n + 1), Revision::new(n / 3)));
                }
                let all: Vec<u64> = (0..40 * round + 40).collect();
                assert_eq!(payloads(log.read().iter()), all);
                assert_eq!(payloads(log.read().backwards().iter()), all.iter().rev().copied().collect::<Vec<_>>());
                for stream in 0..3 {
                    let own: Vec<u64> = all.iter().copied().filter(|n| n % 3 == stream).collect();
                    let read = log.read_stream(format!("s-{stream}"));
                    assert_eq!(payloads(read.iter()), own);
                    let read = log.read_stream(format!("s-{stream}")).backwards();
                    assert_eq!(payloads(read.iter()), own.iter().rev().copied().collect::<Vec<_>>());
                }
            }
        }
    }
}
