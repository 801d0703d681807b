//! Appends against appends.
#![cfg(loom)]

use annals::model_checking::{ENTERED, FILLED, SWAPPED, nearly_full_log, stop_at};
use annals::{AppendError, AppendOptions, Batch, Condition, Expected, Log, Message, Query, Stream, Timestamp};
use annals_loom::{check_whole, event, explore, fill, log, reclaiming_log, warm};
use loom::thread;

/// L5: of two appends that expect the same, one wins; a conflict names what is there. Two operations a thread.
#[test]
fn exact_expectations_on_one_stream() {
    explore("exact_expectations_on_one_stream", 2, [(0, 2), (1, 1), (1, 2), (2, 0), (2, 1)], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let attempts = |stream: Stream| {
            move || {
                let mut appender = stream.log().appender();
                let mut expected = Expected::NoStream;
                let (mut wins, mut conflicts) = (Vec::new(), Vec::new());
                for _ in 0..2 {
                    match appender.append_with(&stream, event("e"), expected) {
                        Ok(appended) => {
                            wins.push(appended.revision.get());
                            expected = Expected::Exactly(appended.revision);
                        }
                        Err(rejected) => {
                            let conflict = rejected.conflict().unwrap().clone();
                            let actual = conflict.actual().expect("only an existing stream is in the way");
                            assert!(!conflict.expected().admits(Some(actual)));
                            conflicts.push(conflict);
                            expected = Expected::Exactly(actual);
                        }
                    }
                }
                (wins, conflicts)
            }
        };
        let a = thread::spawn(attempts(stream.clone()));
        let b = thread::spawn(attempts(stream.clone()));
        let ((a, lost), (b, lost_too)) = (a.join().unwrap(), b.join().unwrap());
        for conflict in lost.iter().chain(&lost_too) {
            let last = conflict.missed().iter().last().map(|envelope| envelope.revision());
            assert_eq!(last, conflict.actual(), "a conflict hands over what was missed, up to what it names");
        }
        let mut all: Vec<_> = a.iter().chain(&b).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..all.len() as u64).collect::<Vec<_>>(), "each revision is won once");
        check_whole(&log, &[&stream]);
        notes.note((a.len(), b.len()));
    });
}

/// L1, L2: two threads, two appends each, over a boundary of segments that both want to make.
#[test]
fn a_segment_boundary() {
    explore("a_segment_boundary", 2, [0, 1, 2], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let twice = |stream: Stream| {
            move || {
                let mut appender = stream.log().appender();
                let first = appender.append(&stream, event("e")).unwrap();
                let second = appender.append(&stream, event("e")).unwrap();
                assert!(second.position > first.position && second.revision > first.revision);
                first.position.get()
            }
        };
        let a = thread::spawn(twice(stream.clone()));
        let b = thread::spawn(twice(stream.clone()));
        let first = a.join().unwrap();
        b.join().unwrap();
        assert_eq!(log.end(), 4);
        check_whole(&log, &[&stream]);
        notes.note(first - 1);
    });
}

/// L2: two threads that create the same stream get the same stream.
#[test]
fn one_new_stream_created_twice() {
    explore("one_new_stream_created_twice", 2, [0, 1], |notes| {
        let log = log();
        let create = |log: Log| {
            move || {
                let stream = log.stream("new").unwrap();
                log.appender().append(&stream, event("e")).unwrap().revision.get()
            }
        };
        let a = thread::spawn(create(log.clone()));
        let b = thread::spawn(create(log.clone()));
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        assert_eq!(a + b, 1);
        assert_eq!(log.stream_count(), 1);
        check_whole(&log, &[&log.stream("new").unwrap()]);
        notes.note(a);
    });
}

/// L2: the directory grows while streams are added and found; none is lost, none is there twice.
#[test]
fn the_directory_grows() {
    explore("the_directory_grows", 1, [4], |notes| {
        let log = reclaiming_log();
        // The first table holds two entries before it grows.
        let known = log.stream("known").unwrap();
        let add = |log: Log, ids: [&'static str; 2]| {
            move || {
                for id in ids {
                    let stream = log.stream(id).unwrap();
                    assert_eq!(stream.id(), id);
                    assert_eq!(log.stream("known").unwrap().id(), "known");
                }
            }
        };
        let a = thread::spawn(add(log.clone(), ["x", "y"]));
        let b = thread::spawn(add(log.clone(), ["y", "z"]));
        a.join().unwrap();
        b.join().unwrap();
        let again = log.stream("y").unwrap();
        again.append(event("e")).unwrap();
        assert_eq!(log.read_stream("y").iter().count(), 1);
        assert_eq!(known.revision(), None);
        notes.note(log.stream_count());
    });
}

/// L5: of two appends under the same condition, one wins.
#[test]
fn conditions_race() {
    explore("conditions_race", 3, [(false, true), (true, false)], |notes| {
        let log = log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let take = |stream: Stream| {
            move || {
                let seat = Message::builder("Taken").tag("seat").build().unwrap();
                let free = Condition::none(Query::tag("seat").unwrap());
                stream.log().appender().append_with(&stream, seat, &free).is_ok()
            }
        };
        let a = thread::spawn(take(one.clone()));
        let b = thread::spawn(take(two.clone()));
        let outcome = (a.join().unwrap(), b.join().unwrap());
        assert_eq!(log.end(), 1);
        check_whole(&log, &[&one, &two]);
        notes.note(outcome);
    });
}

/// L6: a thread that stops after it won its slot stops nobody: the next appender finishes for it.
#[test]
fn a_stopped_appender_is_helped() {
    for place in [SWAPPED, ENTERED] {
        explore("a_stopped_appender_is_helped", 2, [1, 2], move |notes| {
            let log = log();
            let stream = log.stream("s").unwrap();
            let stopped = {
                let stream = stream.clone();
                thread::spawn(move || {
                    stop_at(place);
                    let _ = stream.log().appender().append(&stream, event("stopped"));
                })
            };
            let other = {
                let stream = stream.clone();
                thread::spawn(move || {
                    let mut appender = stream.log().appender();
                    let appended = appender.append(&stream, event("other")).unwrap();
                    // Who starts to read after an append returned sees it, and everything before.
                    assert_eq!(stream.log().read().iter().last().unwrap().name(), "other");
                    assert_eq!(stream.read().iter().count() as u64, appended.revision.get() + 1);
                    appended.position.get()
                })
            };
            let position = other.join().unwrap();
            stopped.join().unwrap();
            // Whichever was second may be left unfinished; one more append finishes it.
            log.appender().append(&stream, event("last")).unwrap();
            assert_eq!(log.end(), 3);
            check_whole(&log, &[&stream]);
            notes.note(position);
        });
    }
}

/// L4, L6: a batch whose appender stopped, before or after filling a slot, is completed as a whole.
#[test]
fn a_stopped_batch_is_helped() {
    for place in [SWAPPED, FILLED] {
        explore("a_stopped_batch_is_helped", 2, [1, 4], move |notes| {
            let log = log();
            let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
            let stopped = {
                let (one, two) = (one.clone(), two.clone());
                thread::spawn(move || {
                    stop_at(place);
                    let batch = Batch::new().add(&one, event("b")).add(&two, event("b")).add(&one, event("b"));
                    let _ = one.log().appender().append_batch(batch);
                })
            };
            let other = {
                let one = one.clone();
                thread::spawn(move || {
                    let appended = one.log().appender().append(&one, event("other")).unwrap();
                    assert_eq!(one.log().read().iter().count() as u64, appended.position.get());
                    appended.position.get()
                })
            };
            let position = other.join().unwrap();
            stopped.join().unwrap();
            log.appender().append(&two, event("last")).unwrap();
            assert_eq!(log.end(), 5);
            check_whole(&log, &[&one, &two]);
            notes.note(position);
        });
    }
}

/// L1, L2: two threads, two appends each, a stream each: one order for both.
#[test]
fn two_streams_two_appends_each() {
    // Turn about, as in (1, 3), is not reached: who loses a swap yields to all others under loom.
    explore("two_streams_two_appends_each", 2, [(1, 2), (1, 4), (2, 3), (3, 4)], |notes| {
        let log = log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let twice = |stream: Stream| {
            move || {
                let mut appender = stream.log().appender();
                let first = appender.append(&stream, event("e")).unwrap();
                let second = appender.append(&stream, event("e")).unwrap();
                assert_eq!((first.revision.get(), second.revision.get()), (0, 1));
                (first.position.get(), second.position.get())
            }
        };
        let a = thread::spawn(twice(one.clone()));
        let b = thread::spawn(twice(two.clone()));
        let positions = a.join().unwrap();
        b.join().unwrap();
        check_whole(&log, &[&one, &two]);
        notes.note(positions);
    });
}

/// L1, L2: three appends to one stream meet at the end of a segment that each of them may replace.
#[test]
fn three_appenders_at_a_boundary() {
    explore("three_appenders_at_a_boundary", 1, [4, 5, 6], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let threads: Vec<_> = [(); 3]
            .map(|()| (warm(&stream), stream.clone()))
            .into_iter()
            .map(|(mut appender, stream)| {
                thread::spawn(move || (appender.append(&stream, event("e")).unwrap().position.get(), appender, stream))
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ended.iter().map(|(position, ..)| position).sum::<u64>(), 4 + 5 + 6);
        check_whole(&log, &[&stream]);
        notes.note(ended[2].0);
    });
}

/// L5: of three appends that expect a new stream, one wins, and the others are told of it.
#[test]
fn three_exact_expectations() {
    explore("three_exact_expectations", 1, [0, 1, 2], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let create = |stream: Stream| {
            move || match stream.log().appender().append_with(&stream, event("e"), Expected::NoStream) {
                Ok(_) => true,
                Err(rejected) => {
                    let conflict = rejected.conflict().unwrap();
                    assert_eq!(conflict.actual().unwrap(), 0);
                    false
                }
            }
        };
        let threads: Vec<_> = (0..3).map(|_| thread::spawn(create(stream.clone()))).collect();
        let won: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        check_whole(&log, &[&stream]);
        notes.note(won.iter().position(|won| *won).unwrap());
    });
}

/// L5: a batch that expects what an append beside it brings about is refused only before that, or recorded after it.
#[test]
fn a_batch_expects_an_append() {
    explore("a_batch_expects_an_append", 2, [Some(0), None], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 1);
        let append = {
            let stream = stream.clone();
            thread::spawn(move || {
                let appended = stream.log().appender().append(&stream, event("e")).unwrap();
                assert_eq!(appended.revision, 1);
            })
        };
        let batch = {
            let stream = stream.clone();
            thread::spawn(move || {
                let batch = Batch::new().expect(&stream, Expected::Exactly(1.into()));
                let batch = batch.add(&stream, event("b")).add(&stream, event("b"));
                let refused = stream.log().appender().append_batch(batch).err()?;
                let conflict = refused.conflict().unwrap();
                assert_eq!(conflict.missed().iter().count(), 0);
                Some(conflict.actual().unwrap().get())
            })
        };
        append.join().unwrap();
        let refused = batch.join().unwrap();
        assert_eq!(log.end(), if refused.is_some() { 2 } else { 4 });
        check_whole(&log, &[&stream]);
        notes.note(refused);
    });
}

/// S1: a new appender begins at the end hint, in the middle of a segment: it has not seen the slots before it, but whoever
/// moved the hint had.
#[test]
fn a_new_appender_begins_at_the_hint() {
    // The first is the mover's: who begins behind the hint loses swaps, and yields.
    explore("a_new_appender_begins_at_the_hint", 2, [17, 18], |notes| {
        let log = Log::builder().segment_slots(32).no_clock().build().unwrap();
        let stream = log.stream("s").unwrap();
        // At the end already: who has to look for it loses swaps, and yields.
        let mut appender = warm(&stream);
        for _ in 1..15 {
            appender.append(&stream, event("e")).unwrap();
        }
        let mover = {
            let stream = stream.clone();
            thread::spawn(move || {
                appender.append(&stream, event("e")).unwrap();
                appender.append(&stream, event("e")).unwrap();
            })
        };
        let begins = {
            let stream = stream.clone();
            thread::spawn(move || stream.log().appender().append(&stream, event("e")).unwrap().position.get())
        };
        mover.join().unwrap();
        notes.note(begins.join().unwrap());
        assert_eq!(log.end(), 18);
        check_whole(&log, &[&stream]);
    });
}

/// The last position: a batch of two and two single appends compete for two positions. What does not fit is refused
/// whole, and the log can be read.
#[test]
fn the_last_positions() {
    explore("the_last_positions", 2, [(true, 0), (false, 2)], |notes| {
        let log = nearly_full_log(2);
        let stream = log.stream("s").unwrap();
        let batch = {
            let stream = stream.clone();
            thread::spawn(move || {
                let batch = Batch::new().add(&stream, event("b")).add(&stream, event("b"));
                let refused = stream.log().appender().append_batch(batch).err();
                assert!(refused.as_ref().is_none_or(|refused| matches!(refused.error, AppendError::Full)));
                refused.is_none()
            })
        };
        let singles = {
            let stream = stream.clone();
            thread::spawn(move || {
                let mut appender = stream.log().appender();
                (0..2).filter(|_| appender.append(&stream, event("s")).is_ok()).count()
            })
        };
        let outcome = (batch.join().unwrap(), singles.join().unwrap());
        assert!(matches!(stream.append(event("e")).unwrap_err().error, AppendError::Full));
        assert_eq!((log.read().iter().count(), stream.read().iter().count()), (2, 2));
        notes.note(outcome);
    });
}

/// Appends without an appender of their own share a pool: what one thread left there, the next one goes on with.
#[test]
fn two_threads_and_one_pool() {
    explore("two_threads_and_one_pool", 2, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let twice = |stream: Stream| {
            move || {
                let first = stream.append(event("e")).unwrap().revision.get();
                (first, stream.append(event("e")).unwrap().revision.get())
            }
        };
        let a = thread::spawn(twice(stream.clone()));
        let b = thread::spawn(twice(stream.clone()));
        let revisions = a.join().unwrap();
        b.join().unwrap();
        check_whole(&log, &[&stream]);
        notes.note(revisions);
    });
}

/// L7: of two appends that bring their times, the later in the log has the later time, over a segment boundary, too.
#[test]
fn times_never_decrease() {
    explore("times_never_decrease", 2, [vec![1, 1, 5, 5], vec![1, 5, 5, 5]], |notes| {
        let log = Log::builder().segment_slots(2).time_per_append().build().unwrap();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let at = |time: i64| AppendOptions::new().at(Timestamp::from_nanos(time));
        one.append_with(event("e"), at(1)).unwrap();
        let late = {
            let one = one.clone();
            thread::spawn(move || {
                let mut appender = one.log().appender();
                appender.append_with(&one, event("e"), at(5)).unwrap();
                appender.append_with(&one, event("e"), at(4)).unwrap();
            })
        };
        let early = {
            let two = two.clone();
            thread::spawn(move || {
                two.log().appender().append_with(&two, event("e"), at(1)).unwrap();
            })
        };
        late.join().unwrap();
        early.join().unwrap();
        check_whole(&log, &[&one, &two]);
        notes.note(log.read().iter().map(|envelope| envelope.time().unwrap().as_nanos()).collect::<Vec<_>>());
    });
}
