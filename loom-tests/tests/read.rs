//! Readers against appends.
#![cfg(loom)]

use annals::{Batch, Expected};
use annals_loom::{appending, event, explore, fill, log};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// L1–L3: a reader of log and streams beside two appenders: no hole, and one view of log and streams.
#[test]
fn two_streams_and_a_reader() {
    explore("two_streams_and_a_reader", 1, [0, 1, 2], |notes| {
        let log = log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let writers: Vec<_> = [one.clone(), two.clone()]
            .into_iter()
            .map(|stream| {
                thread::spawn(move || {
                    stream.log().appender().append(&stream, event("e")).unwrap();
                })
            })
            .collect();
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let view = log.view();
                let positions: Vec<_> = view.read().iter().map(|envelope| envelope.position().get()).collect();
                assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
                let streams = view.read_stream("one").iter().count() + view.read_stream("two").iter().count();
                assert_eq!(streams, positions.len(), "log and streams agree");
                assert!(log.view().read().iter().count() >= positions.len(), "what was seen stays");
                positions.len()
            })
        };
        for writer in writers {
            writer.join().unwrap();
        }
        notes.note(reader.join().unwrap());
        assert_eq!(log.end(), 2);
    });
}

/// L4: a batch over a segment boundary and two streams is seen whole or not at all.
#[test]
fn a_batch_and_a_reader() {
    explore("a_batch_and_a_reader", 2, [(1, 0), (4, 2)], |notes| {
        let log = log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        log.appender().append(&one, event("before")).unwrap();
        let writer = {
            let (one, two) = (one.clone(), two.clone());
            thread::spawn(move || {
                let batch = Batch::new().add(&two, event("b")).add(&one, event("b")).add(&two, event("b"));
                let appended = one.log().appender().append_batch(batch).unwrap();
                assert_eq!((appended.first.get(), appended.last.get()), (2, 4));
            })
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let view = log.view();
                (view.read().iter().count(), view.read_stream("two").iter().count())
            })
        };
        writer.join().unwrap();
        notes.note(reader.join().unwrap());
    });
}

/// L4: a batch, a single append, and a reader of the end: never inside the batch.
#[test]
fn a_batch_an_append_and_a_reader() {
    explore("a_batch_an_append_and_a_reader", 1, [0, 1, 2, 3], |notes| {
        let log = log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let batch = {
            let one = one.clone();
            thread::spawn(move || {
                let batch = Batch::new().add(&one, event("b")).add(&one, event("b"));
                one.log().appender().append_batch(batch).unwrap().first.get()
            })
        };
        let single = thread::spawn(move || two.log().appender().append(&two, event("s")).unwrap().position.get());
        let reader = {
            let log = log.clone();
            thread::spawn(move || log.end().get())
        };
        let (first, single) = (batch.join().unwrap(), single.join().unwrap());
        let end = reader.join().unwrap();
        assert_ne!(end, first, "the end is never inside the batch");
        assert!(single == 1 || single == 3);
        notes.note(end);
    });
}

/// L3: who learns by other means that an append returned, sees it, in the log and in its stream.
#[test]
fn a_causal_hand_off() {
    explore("a_causal_hand_off", 3, [false, true], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let returned = loom::sync::Arc::new(AtomicBool::new(false));
        let writer = {
            let (stream, returned) = (stream.clone(), returned.clone());
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                returned.store(true, Ordering::Release);
            })
        };
        let reader = thread::spawn(move || {
            let told = returned.load(Ordering::Acquire);
            if told {
                assert_eq!(log.end(), 1);
                assert_eq!(stream.revision().unwrap(), 0);
                assert_eq!(log.get(1).unwrap().stream(), "s");
            }
            told
        });
        writer.join().unwrap();
        notes.note(reader.join().unwrap());
    });
}

/// L5: who has seen a revision and expects it is refused only by a later one, which it is then handed.
#[test]
fn observe_then_expect() {
    explore("observe_then_expect", 3, ["absent, conflict", "absent, won", "seen, won"], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let writer = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("first")).unwrap();
            })
        };
        let observer = thread::spawn(move || {
            let seen = stream.revision();
            let expected = seen.map_or(Expected::NoStream, Expected::Exactly);
            match (seen, stream.log().appender().append_with(&stream, event("second"), expected)) {
                (None, Ok(_)) => "absent, won",
                (Some(_), Ok(_)) => "seen, won",
                (None, Err(rejected)) => {
                    let conflict = rejected.conflict().unwrap();
                    assert_eq!(conflict.actual().unwrap(), 0);
                    assert_eq!(conflict.missed().iter().count(), 1);
                    // What a conflict tells of is there for everybody who reads after it.
                    assert_eq!(stream.revision().unwrap(), 0);
                    "absent, conflict"
                }
                (Some(_), Err(_)) => "seen, conflict",
            }
        });
        writer.join().unwrap();
        notes.note(observer.join().unwrap());
    });
}

/// S4: the end hint never runs ahead of what is finished, and appends never run far ahead of the hint.
#[test]
fn the_end_hint() {
    explore("the_end_hint", 2, [15, 16, 17], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 15);
        let writer = {
            let stream = stream.clone();
            thread::spawn(move || {
                let mut appender = stream.log().appender();
                appender.append(&stream, event("e")).unwrap();
                appender.append(&stream, event("e")).unwrap();
            })
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let end = log.end().get();
                assert!(log.read().iter().count() as u64 >= end);
                assert_eq!(log.get(end).unwrap().position(), end);
                end
            })
        };
        writer.join().unwrap();
        notes.note(reader.join().unwrap());
    });
}

/// L3: who moves the hint has not finished all that is before it, but has seen it finished.
#[test]
fn the_end_hint_moved_by_another() {
    explore("the_end_hint_moved_by_another", 1, [15, 16], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 15);
        let writer = appending(&stream, 1);
        let mover = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append_batch(Batch::new().expect(&stream, Expected::Any)).unwrap();
            })
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let end = log.end().get();
                assert!(log.read().iter().count() as u64 >= end);
                end
            })
        };
        writer.join().unwrap();
        mover.join().unwrap();
        notes.note(reader.join().unwrap());
    });
}

/// L3: two threads, two appends each, and a reader of all four: what it sees is a prefix, and grows.
#[test]
fn four_appends_and_a_reader() {
    // More than two are not seen while others go on: who loses a swap yields to all others under loom.
    explore("four_appends_and_a_reader", 1, [0, 1, 2], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let stream = stream.clone();
                thread::spawn(move || {
                    let mut appender = stream.log().appender();
                    appender.append(&stream, event("e")).unwrap();
                    appender.append(&stream, event("e")).unwrap();
                })
            })
            .collect();
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let seen = log.end().get();
                assert_eq!(log.get(seen).map_or(0, |envelope| envelope.revision().get() + 1), seen);
                seen
            })
        };
        for writer in writers {
            writer.join().unwrap();
        }
        notes.note(reader.join().unwrap());
        assert_eq!(log.end(), 4);
    });
}

/// L3: whatever is before the last segment is found, however little of it its maker has done yet: a tree of pages grows, and
/// gets another level.
#[test]
fn a_segment_is_looked_for_while_others_are_made() {
    explore("a_segment_is_looked_for_while_others_are_made", 1, [3, 6], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 2);
        let one = {
            let stream = stream.clone();
            thread::spawn(move || stream.log().appender().append(&stream, event("e")).unwrap().position.get())
        };
        let other = thread::spawn(move || {
            fill(&stream, 3);
            for position in 1..=5 {
                assert_eq!(stream.log().get(position).unwrap().revision().get() + 1, position);
            }
        });
        other.join().unwrap();
        notes.note(one.join().unwrap());
    });
}
