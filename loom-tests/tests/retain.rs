//! Truncation against everybody else: nothing is freed while somebody may look at it.
#![cfg(loom)]

use annals_loom::{event, explore, fill, reclaiming_log};
use loom::thread;

/// L8: a reader that holds an envelope keeps it, whatever is truncated meanwhile.
#[test]
fn truncation_and_a_held_envelope() {
    explore("truncation_and_a_held_envelope", 3, [false, true], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 3);
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let Some(envelope) = log.get(1) else { return false };
                assert_eq!((envelope.position().get(), envelope.stream(), envelope.name()), (1, "s", "e"));
                true
            })
        };
        let truncation = {
            let log = log.clone();
            thread::spawn(move || assert_eq!(log.truncate_before(3), 3))
        };
        truncation.join().unwrap();
        notes.note(reader.join().unwrap());
        assert!(log.get(1).is_none() && log.get(2).is_none());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
        assert_eq!(stream.read().iter().count(), 1);
    });
}

/// L8: a cursor that is lent an envelope keeps its segment; it never meets what is gone, and nothing out of order.
#[test]
fn truncation_and_a_cursor() {
    explore("truncation_and_a_cursor", 2, [vec![1, 2, 3], vec![1, 3], vec![3]], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 3);
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let mut cursor = log.read().cursor();
                let mut positions = Vec::new();
                while let Some(envelope) = cursor.next() {
                    assert_eq!(envelope.revision().get() + 1, envelope.position().get());
                    positions.push(envelope.position().get());
                }
                positions
            })
        };
        let truncation = {
            let log = log.clone();
            thread::spawn(move || {
                log.truncate_before(3);
            })
        };
        truncation.join().unwrap();
        notes.note(reader.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
    });
}

/// L1, L6: truncation unlinks the first segment while an appender makes and enters the next ones; when it is also the
/// last segment, it stays. Blocks of the stream's index leave with their records, and not before.
#[test]
fn truncation_and_an_appender() {
    for before in [2, 3, 7] {
        explore("truncation_and_an_appender", 2, [3], move |notes| {
            let log = reclaiming_log();
            let stream = log.stream("s").unwrap();
            fill(&stream, before);
            let writer = {
                let stream = stream.clone();
                thread::spawn(move || {
                    let mut appender = stream.log().appender();
                    for revision in before..before + 2 {
                        assert_eq!(appender.append(&stream, event("e")).unwrap().revision, revision);
                    }
                })
            };
            let truncation = {
                let log = log.clone();
                thread::spawn(move || log.truncate_before(3).get())
            };
            notes.note(truncation.join().unwrap());
            writer.join().unwrap();
            let positions: Vec<_> = stream.read().iter().map(|envelope| envelope.position().get()).collect();
            assert_eq!(positions, (3..=before + 2).collect::<Vec<_>>());
            log.truncate_before(before + 3);
            assert_eq!(log.read().iter().count(), 0);
            assert_eq!(stream.revision().unwrap(), before + 1, "truncation does not change a stream's revision");
        });
    }
}

/// L8: an envelope outlives its log, and the last of the two to go frees what both hold.
#[test]
fn an_envelope_outlives_its_log() {
    explore("an_envelope_outlives_its_log", 3, [()], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        log.appender().append(&stream, event("e")).unwrap();
        let envelope = log.get(1).unwrap();
        drop(stream);
        let reader = thread::spawn(move || {
            assert_eq!((envelope.stream(), envelope.name()), ("s", "e"));
        });
        let owner = thread::spawn(move || drop(log));
        reader.join().unwrap();
        owner.join().unwrap();
        notes.note(());
    });
}
