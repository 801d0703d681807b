//! Truncation against everybody else: nothing is freed while somebody may look at it.
#![cfg(loom)]

use annals::model_checking::arm_reclamation;
use annals::{Log, Retention, Stream};
use annals_loom::{event, explore, fill, log, reclaiming_log};
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

/// L1, L6: the segment that a slow appender is about to replace is replaced, and unlinked, by another; with it goes the page
/// of the first two segments.
#[test]
fn truncation_overtakes_an_appender() {
    explore("truncation_overtakes_an_appender", 2, [5, 6], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 4);
        let slow = {
            let stream = stream.clone();
            thread::spawn(move || stream.log().appender().append(&stream, event("e")).unwrap().position.get())
        };
        let fast = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                stream.log().truncate_before(5);
            })
        };
        fast.join().unwrap();
        notes.note(slow.join().unwrap());
        let positions: Vec<_> = stream.read().iter().map(|envelope| envelope.position().get()).collect();
        assert_eq!(positions, [5, 6]);
    });
}

/// L1: who truncates finds the log's first segment moved on, to one that was made after it began.
#[test]
fn truncation_overtakes_a_truncation() {
    explore("truncation_overtakes_a_truncation", 2, [3, 5], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 4);
        let fast = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                assert_eq!(stream.log().truncate_before(5), 5);
            })
        };
        let slow = {
            let log = log.clone();
            thread::spawn(move || log.truncate_before(3).get())
        };
        fast.join().unwrap();
        notes.note(slow.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
        assert_eq!(log.read().iter().map(|envelope| envelope.position().get()).collect::<Vec<_>>(), [5]);
    });
}

/// L8: a reader that looks for an old position meets a first segment made after it began.
#[test]
fn truncation_overtakes_a_reader() {
    explore("truncation_overtakes_a_reader", 2, [false, true], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 4);
        let truncation = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                stream.log().truncate_before(5);
            })
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || log.get(1).is_some_and(|envelope| envelope.revision() == 0))
        };
        truncation.join().unwrap();
        notes.note(reader.join().unwrap());
    });
}

/// L8: a read of the past beside truncation meets a part of it, from the beginning, and nothing else.
#[test]
fn truncation_and_a_read_of_the_past() {
    explore("truncation_and_a_read_of_the_past", 2, [vec![], vec![1], vec![1, 2]], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 3);
        let truncation = {
            let log = log.clone();
            thread::spawn(move || log.truncate_before(3))
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let view = log.view_at(2).unwrap();
                view.read().from(1).iter().map(|envelope| envelope.position().get()).collect::<Vec<_>>()
            })
        };
        truncation.join().unwrap();
        notes.note(reader.join().unwrap());
        assert!(log.view_at(2).unwrap().read().iter().next().is_none());
    });
}

/// L8: the last reader of an unlinked segment hands it over to whoever sweeps.
#[test]
fn a_segment_is_handed_over() {
    explore("a_segment_is_handed_over", 3, [0, 1], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 3);
        let mut cursor = log.read().cursor();
        cursor.next().unwrap();
        log.truncate_before(3);
        let reader = thread::spawn(move || {
            assert_eq!(cursor.next().unwrap().position(), 3);
        });
        let sweeper = {
            let log = log.clone();
            thread::spawn(move || {
                log.maintain();
                log.unreturned_segments()
            })
        };
        reader.join().unwrap();
        notes.note(sweeper.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
    });
}

/// L8: two envelopes of one chunk of memory, after their log is gone: the last one to be dropped frees the chunk.
#[test]
fn the_last_envelope_frees_its_chunk() {
    explore("the_last_envelope_frees_its_chunk", 3, [()], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 2);
        let (first, second) = (log.get(1).unwrap(), log.get(2).unwrap());
        drop((stream, log));
        let a = thread::spawn(move || assert_eq!((first.stream(), first.revision().get()), ("s", 0)));
        let b = thread::spawn(move || assert_eq!((second.stream(), second.revision().get()), ("s", 1)));
        a.join().unwrap();
        b.join().unwrap();
        notes.note(());
    });
}

/// L8: whoever drops the last handle frees the log, after all that others did with theirs.
#[test]
fn the_last_handle_frees_the_log() {
    explore("the_last_handle_frees_the_log", 2, [1, 2, 3], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 3);
        drop(stream);
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let mut cursor = log.read().cursor();
                let first = cursor.next().map(|envelope| envelope.position().get()).unwrap();
                let rest = std::iter::from_fn(|| cursor.next().map(|_| ())).count();
                assert_eq!(first == 3, rest == 0);
                rest + 1
            })
        };
        let owner = thread::spawn(move || {
            log.truncate_before(3);
            drop(log);
        });
        owner.join().unwrap();
        notes.note(reader.join().unwrap());
    });
}

/// L1, L8: two appenders keep a log of one record: each raises the floor, unlinks, and sweeps what either left.
#[test]
fn appends_keep_to_a_retention() {
    explore("appends_keep_to_a_retention", 1, [1], |notes| {
        let mut retention = Retention::default();
        retention.records = Some(1);
        let log = Log::builder().segment_slots(2).no_clock().retention(retention).build().unwrap();
        arm_reclamation(&log);
        let stream = log.stream("s").unwrap();
        fill(&stream, 2);
        let append = |stream: Stream| {
            move || {
                let mut appender = stream.log().appender();
                appender.append(&stream, event("e")).unwrap();
                appender.append(&stream, event("e")).unwrap();
            }
        };
        let (a, b) = (thread::spawn(append(stream.clone())), thread::spawn(append(stream.clone())));
        a.join().unwrap();
        b.join().unwrap();
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
        assert_eq!(log.first(), 6);
        notes.note(log.read().iter().count());
    });
}
