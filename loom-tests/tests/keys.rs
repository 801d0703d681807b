//! Indexes by key: buckets that several streams share. Under loom every key has a list, and lists are always taken.
#![cfg(loom)]

use annals::model_checking::{FILLED, SWAPPED, arm_reclamation, stop_at};
use annals::{AppendOptions, Batch, Condition, Expected, Indexes, Log, Message, Query, Stream};
use annals_loom::{check_whole, explore};
use loom::thread;

/// Everything with a tag goes into one bucket.
fn tagged_log() -> Log {
    Log::builder().segment_slots(2).no_clock().indexes(Indexes::new().tags().buckets(1)).build().unwrap()
}

fn tagged(tag: &str) -> Message<'static> {
    Message::builder("E").tag(tag.to_owned()).build().unwrap()
}

fn listed(log: &Log, tag: &str) -> Vec<u64> {
    log.read().matching(Query::tag(tag).unwrap()).iter().map(|envelope| envelope.position().get()).collect()
}

/// Of a log where everything has the tag: what is found by it must be everything.
fn all(log: &Log, tag: &str) -> Vec<u64> {
    let view = log.view();
    let read = view.read().matching(Query::tag(tag).unwrap());
    let found: Vec<_> = read.iter().map(|envelope| envelope.position().get()).collect();
    assert_eq!(found, (1..=view.end().get()).collect::<Vec<_>>());
    found
}

fn spawn<T: 'static>(stream: &Stream, act: impl FnOnce(&Stream) -> T + 'static) -> thread::JoinHandle<T> {
    let stream = stream.clone();
    thread::spawn(move || act(&stream))
}

/// L3: an append and a batch to different streams share a bucket; a reader finds by the tag what it finds by looking.
#[test]
fn a_bucket_of_two_streams_and_a_reader() {
    explore("a_bucket_of_two_streams_and_a_reader", 1, [0, 1, 2], |notes| {
        let log = tagged_log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let a = spawn(&one, |stream| _ = stream.append(tagged("t")).unwrap());
        let b = spawn(&two, |stream| _ = stream.log().append_batch(Batch::new().add(stream, tagged("t"))).unwrap());
        let reader = spawn(&one, |stream| all(stream.log(), "t").len());
        let seen = reader.join().unwrap();
        a.join().unwrap();
        b.join().unwrap();
        assert_eq!(listed(&log, "t"), [1, 2]);
        check_whole(&log, &[&one, &two]);
        notes.note(seen);
    });
}

/// L6: a thread that stops after its swap leaves its key to whoever comes next.
#[test]
fn a_stopped_append_with_a_key_is_helped() {
    explore("a_stopped_append_with_a_key_is_helped", 2, [vec![1], vec![1, 2]], |notes| {
        let log = tagged_log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        let stopped = spawn(&one, |stream| {
            stop_at(SWAPPED);
            let _ = stream.log().appender().append(stream, tagged("t"));
        });
        let other = spawn(&two, |stream| {
            let position = stream.append(tagged("t")).unwrap().position.get();
            let seen = all(stream.log(), "t");
            assert_eq!(seen.last(), Some(&position));
            seen
        });
        let seen = other.join().unwrap();
        stopped.join().unwrap();
        two.append(tagged("u")).unwrap();
        assert_eq!((listed(&log, "t"), listed(&log, "u")), (vec![1, 2], vec![3]));
        notes.note(seen);
    });
}

/// L4, L6: the keys of a batch whose appender stopped, before or after filling a slot, become visible as a whole.
#[test]
fn a_stopped_batch_with_keys_is_helped() {
    for place in [SWAPPED, FILLED] {
        explore("a_stopped_batch_with_keys_is_helped", 2, [vec![1], vec![1, 2, 3]], move |notes| {
            let log = tagged_log();
            let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
            let stopped = spawn(&one, move |stream| {
                stop_at(place);
                let batch = Batch::new().add(stream, tagged("t")).add(stream, tagged("t"));
                let _ = stream.log().appender().append_batch(batch);
            });
            let other = spawn(&two, |stream| {
                stream.append(tagged("t")).unwrap();
                all(stream.log(), "t")
            });
            let seen = other.join().unwrap();
            stopped.join().unwrap();
            two.append(tagged("u")).unwrap();
            assert_eq!(listed(&log, "t"), [1, 2, 3]);
            notes.note(seen);
        });
    }
}

/// L5: of an append and a batch under a condition that an index decides, one wins.
#[test]
fn conditions_race_on_an_index() {
    explore("conditions_race_on_an_index", 2, [(false, true), (true, false)], |notes| {
        let log = tagged_log();
        let (one, two) = (log.stream("one").unwrap(), log.stream("two").unwrap());
        one.append(tagged("t")).unwrap();
        let free = || Condition::none(Query::tag("t").unwrap()).after(1);
        let a = spawn(&one, move |stream| stream.append_with(tagged("t"), &free()).is_ok());
        let b = spawn(&two, move |stream| {
            let batch = Batch::new().add(stream, tagged("t")).condition(free());
            stream.log().append_batch(batch).is_ok()
        });
        let outcome = (a.join().unwrap(), b.join().unwrap());
        assert_eq!(listed(&log, "t"), [1, 2]);
        notes.note(outcome);
    });
}

/// L8: a reader that follows a list while the log is truncated finds what is left, in order, and nothing that was freed.
#[test]
fn truncation_and_a_list() {
    explore("truncation_and_a_list", 2, [vec![1, 2, 3], vec![1, 3], vec![3]], |notes| {
        let log = tagged_log();
        arm_reclamation(&log);
        let stream = log.stream("s").unwrap();
        (0..3).for_each(|_| _ = stream.append(tagged("t")).unwrap());
        let reader = spawn(&stream, |stream| {
            let read = stream.log().read().matching(Query::tag("t").unwrap());
            read.iter().map(|envelope| envelope.position().get()).collect::<Vec<_>>()
        });
        let truncation = spawn(&stream, |stream| {
            stream.log().truncate_before(3);
        });
        truncation.join().unwrap();
        notes.note(reader.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
        assert_eq!(listed(&log, "t"), [3]);
    });
}

/// Of two threads that append the same message once, one does, and both are told where it is; also when it is expected that
/// nothing is there.
#[test]
fn the_same_message_twice() {
    for expected in [Expected::Any, Expected::NoStream] {
        explore("the_same_message_twice", 1, [(false, true), (true, false)], move |notes| {
            let log = Log::builder().segment_slots(2).no_clock().indexes(Indexes::new().message_ids().buckets(1));
            let log = log.build().unwrap();
            let stream = log.stream("s").unwrap();
            let once = move |stream: &Stream| {
                let message = Message::builder("E").message_id("m").build().unwrap();
                let once = stream.append_with(message, AppendOptions::new().expected(expected).once()).unwrap();
                assert_eq!((once.position.get(), once.revision.get()), (1, 0));
                once.repeated
            };
            let (a, b) = (spawn(&stream, once), spawn(&stream, once));
            let outcome = (a.join().unwrap(), b.join().unwrap());
            assert_eq!(log.end(), 1);
            notes.note(outcome);
        });
    }
}
