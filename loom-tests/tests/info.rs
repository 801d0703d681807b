//! What is known of streams, beside those who create them and those who remove.
#![cfg(loom)]

use annals::model_checking::{ENTERED, FILLED, SWAPPED, arm_reclamation, stop_at};
use annals::{AppendOptions, Batch, Log, Timestamp, View};
use annals_loom::{event, explore, fill, reclaiming_log};
use loom::thread;

/// A log with segments of two slots whose appends bring their times.
fn timed_log() -> Log {
    Log::builder().segment_slots(2).time_per_append().build().unwrap()
}

fn at(time: i64) -> AppendOptions<'static> {
    AppendOptions::new().at(Timestamp::from_nanos(time))
}

/// The streams of a view are those of the first envelopes in it, in their order. How many.
fn check_streams(view: &View) -> usize {
    let firsts: Vec<_> = view.read().iter().filter(|envelope| envelope.revision() == 0).collect();
    let streams = view.streams();
    assert!(streams.iter().map(|stream| stream.id()).eq(firsts.iter().map(|first| first.stream())));
    for (stream, first) in streams.iter().zip(firsts) {
        let info = view.stream_info(stream).expect("it was written");
        assert_eq!((info.created, info.created_at), (first.position(), first.time()));
    }
    streams.len()
}

/// L3, L6: who finishes the first append of a stream for a thread that stopped also notes where the stream begins, before
/// anybody sees that append.
#[test]
fn a_stopped_thread_created_a_stream() {
    for place in [SWAPPED, ENTERED] {
        explore("a_stopped_thread_created_a_stream", 2, [1, 2], move |notes| {
            let log = timed_log();
            let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
            let stopped = thread::spawn(move || {
                stop_at(place);
                let _ = one.log().appender().append_with(&one, event("stopped"), at(1));
            });
            let other = {
                let log = log.clone();
                thread::spawn(move || {
                    let position = log.appender().append_with(&two, event("other"), at(2)).unwrap().position.get();
                    assert_eq!(check_streams(&log.view()) as u64, position);
                    position
                })
            };
            let position = other.join().unwrap();
            stopped.join().unwrap();
            notes.note(position);
        });
    }
}

/// L3, L4: a batch creates its streams at one instant, whoever finishes it.
#[test]
fn a_batch_creates_streams_beside_a_listing() {
    explore("a_batch_creates_streams_beside_a_listing", 1, [0, 1, 2, 3], |notes| {
        // One segment: without loads as read-modify-writes, loom shows no reader a segment that is made beside it.
        let log = Log::builder().segment_slots(8).time_per_append().build().unwrap();
        let (one, two, three) = (log.stream("one").unwrap(), log.stream("two").unwrap(), log.stream("three").unwrap());
        let stopped = thread::spawn(move || {
            stop_at(FILLED);
            let batch = Batch::new().at(Timestamp::from_nanos(1)).add(&two, event("b")).add(&one, event("b"));
            let _ = one.log().appender().append_batch(batch);
        });
        let helper = thread::spawn(move || {
            three.log().appender().append_with(&three, event("e"), at(2)).unwrap();
        });
        let reader = {
            let log = log.clone();
            thread::spawn(move || check_streams(&log.view()))
        };
        let listed = reader.join().unwrap();
        helper.join().unwrap();
        stopped.join().unwrap();
        // The batch may be left unfinished; one more append finishes it.
        log.append_with("three", event("last"), at(3)).unwrap();
        assert_eq!(check_streams(&log.view()), 3);
        notes.note(listed);
    });
}

/// L3: streams are created, and the directory grows, while a view's streams are listed: those that it has, and no others.
#[test]
fn a_listing_beside_new_streams() {
    explore("a_listing_beside_new_streams", 2, [1, 2, 3], |notes| {
        let log = reclaiming_log();
        fill(&log.stream("known").unwrap(), 1);
        let creator = {
            let log = log.clone();
            thread::spawn(move || {
                let mut appender = log.appender();
                for id in ["x", "y"] {
                    appender.append(&log.stream(id).unwrap(), event("e")).unwrap();
                }
            })
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || check_streams(&log.view()))
        };
        let listed = reader.join().unwrap();
        creator.join().unwrap();
        assert_eq!(check_streams(&log.view()), 3);
        notes.note(listed);
    });
}

/// L8: what is known of a stream is as of one floor, while envelopes are removed, and freed: its last one too.
#[test]
fn an_info_beside_a_truncation() {
    explore("an_info_beside_a_truncation", 2, [(0, 1), (3, 0)], |notes| {
        let log = timed_log();
        arm_reclamation(&log);
        let stream = log.stream("s").unwrap();
        for time in 1..=5 {
            stream.append_with(event("e"), at(time)).unwrap();
        }
        let view = log.view_at(1).unwrap();
        let truncation = {
            let log = log.clone();
            thread::spawn(move || {
                log.truncate_before(5);
                log.maintain();
            })
        };
        let reader = thread::spawn(move || {
            let info = view.stream_info(&stream).expect("it was written");
            assert_eq!((info.created.get(), info.created_at), (1, Some(Timestamp::from_nanos(1))));
            assert_eq!(info.first.is_some(), info.messages > 0);
            assert_eq!(info.updated_at.is_some(), info.messages > 0);
            (info.revision.get(), info.messages)
        });
        let known = reader.join().unwrap();
        truncation.join().unwrap();
        notes.note(known);
    });
}

/// L8: what is known of a stream is as of one floor, too, when another has asked since it was raised, and has noted what is
/// gone; and while that is freed.
#[test]
fn an_info_beside_another() {
    for frees in [false, true] {
        explore("an_info_beside_another", 2, [(1, 1), (3, 0)], move |notes| {
            let log = reclaiming_log();
            let stream = log.stream("s").unwrap();
            fill(&stream, 5);
            log.truncate_before(2);
            let view = log.view_at(2).unwrap();
            let other = {
                let stream = stream.clone();
                thread::spawn(move || {
                    let log = stream.log();
                    log.truncate_before(5);
                    let info = log.stream_info(&stream).unwrap();
                    assert_eq!((info.revision.get(), info.messages, info.first.unwrap().get()), (4, 1, 5));
                    if frees {
                        log.maintain();
                    }
                })
            };
            let reader = thread::spawn(move || {
                let info = view.stream_info(&stream).expect("it was written");
                assert_eq!(info.first.is_some(), info.messages > 0);
                (info.revision.get(), info.messages)
            });
            let known = reader.join().unwrap();
            other.join().unwrap();
            notes.note(known);
        });
    }
}

/// L8: a log's memory is counted beside a thread that makes segments: never less than there was, never more than there will
/// be.
#[test]
fn memory_beside_new_segments() {
    explore("memory_beside_new_segments", 2, [true], |notes| {
        let log = reclaiming_log();
        let stream = log.stream("s").unwrap();
        let before = log.memory();
        let writer = thread::spawn(move || fill(&stream, 5));
        let reader = {
            let log = log.clone();
            thread::spawn(move || log.memory())
        };
        writer.join().unwrap();
        let during = reader.join().unwrap();
        notes.note(before <= during && during <= log.memory());
    });
}
