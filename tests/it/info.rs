//! What is known of streams, and which there are: the same as what reading tells, in every view, whatever was removed.

use std::thread;

use annals::{Batch, Expected, Log, Message, Position, StreamInfo, Timestamp, View};

const STREAMS: [&str; 4] = ["c", "a", "d", "b"];

fn event() -> Message<'static> {
    Message::event("E", "").unwrap()
}

fn ids(view: &View) -> Vec<String> {
    view.streams().iter().map(|stream| stream.id().to_owned()).collect()
}

/// Which stream the envelope at a position belongs to: they begin one after the other, and go on unevenly.
fn stream_of(position: u64) -> &'static str {
    match position {
        1..=3 => "c",
        4 => "a",
        5..=20 => STREAMS[position as usize % 3],
        21 => "b",
        _ => STREAMS[(position * 7 % 4) as usize],
    }
}

fn time_of(position: u64) -> Timestamp {
    Timestamp::from_nanos(1000 + position as i64)
}

fn filled(slots: usize, count: u64) -> Log {
    let log = Log::builder().segment_slots(slots).time_per_append().build().unwrap();
    for position in 1..=count {
        let options = annals::AppendOptions::new().at(time_of(position));
        log.append_with(stream_of(position), event(), options).unwrap();
    }
    log
}

/// Revision, messages, first and last, created; when created and updated.
type Told = (u64, u64, [Option<u64>; 2], u64, [Option<Timestamp>; 2]);

/// What is to be known of a stream when the log has ended at `end`, and what is before `first` was removed.
fn expected(stream: &str, first: u64, end: u64) -> Option<Told> {
    let of_stream: Vec<_> = (1..=end.max(first - 1)).filter(|position| stream_of(*position) == stream).collect();
    let created = *of_stream.first().filter(|created| **created <= end)?;
    let kept: Vec<_> = of_stream.iter().copied().filter(|position| *position >= first).collect();
    let bounds = [kept.first().copied(), kept.last().copied()];
    let times = [Some(time_of(created)), bounds[1].map(time_of)];
    Some((of_stream.len() as u64 - 1, kept.len() as u64, bounds, created, times))
}

fn told(info: StreamInfo) -> Told {
    let bounds = [info.first, info.last].map(|position| position.map(Position::get));
    (info.revision.get(), info.messages, bounds, info.created.get(), [info.created_at, info.updated_at])
}

/// Every stream in every view of the past, after each truncation; by id and by handle.
#[test]
fn what_is_known_of_a_stream_is_what_was_appended() {
    const END: u64 = 90;
    for first in [1, 2, 4, 5, 9, 20, 21, 22, 40, 77, 90, 91] {
        let log = filled(4, END);
        log.truncate_before(first);
        for _ in 0..3 {
            log.maintain();
        }
        for end in 0..=END {
            let view = log.view_at(end).unwrap();
            for stream in STREAMS {
                let expected = expected(stream, first, view.end().get());
                assert_eq!(view.stream_info(stream).map(told), expected, "{stream} from {first} to {end}");
                let handle = log.stream(stream).unwrap();
                assert_eq!(view.stream_info(&handle).map(told), expected);
            }
        }
        assert_eq!(log.stream_info("a"), log.view().stream_info("a"));
    }
}

/// A log without a clock tells no times.
#[test]
fn without_a_clock_there_are_no_times() {
    let log = Log::builder().no_clock().build().unwrap();
    log.append("a", event()).unwrap();
    log.append("a", event()).unwrap();
    let info = log.stream_info("a").unwrap();
    assert_eq!((info.created_at, info.updated_at, info.messages), (None, None, 2));
}

/// Streams are listed by their first envelopes: in each view those written by then, removed or not; nothing that was only
/// asked for, or refused.
#[test]
fn streams_are_listed_as_they_were_created() {
    let log = filled(2, 40);
    log.stream("a handle").unwrap();
    log.append_with("refused", event(), Expected::Exists).unwrap_err();
    let batch = Batch::new().expect("c", Expected::NoStream).add("part of a refused batch", event());
    log.append_batch(batch.at(time_of(41))).unwrap_err();
    assert!(log.view_at(0).unwrap().streams().is_empty());
    for _ in 0..2 {
        for end in 1..=40 {
            let mut expected = Vec::new();
            for position in 1..=end {
                if !expected.contains(&stream_of(position)) {
                    expected.push(stream_of(position));
                }
            }
            assert_eq!(ids(&log.view_at(end).unwrap()), expected);
        }
        log.truncate_before(1000);
        log.maintain();
    }
    assert!(log.stream_info("a handle").is_none() && log.stream_info("never heard of").is_none());
}

/// Streams are counted when they are written, each once, whoever creates them; a handle alone does not count.
#[test]
fn streams_are_counted_when_they_are_written() {
    let log = Log::new();
    log.stream("only a handle").unwrap();
    assert_eq!(log.written_streams(), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|n| _ = log.append(&(n % 300).to_string(), event()).unwrap()));
        }
    });
    let batch = Batch::new().add("a", event()).add("b", event()).add("a", event());
    log.append_batch(batch).unwrap();
    assert_eq!((log.written_streams(), log.streams().len()), (302, 302));
}

/// The streams of a batch begin in its order, at one instant.
#[test]
fn a_batch_creates_its_streams_in_order() {
    let log = Log::new();
    let batch = ["z", "y", "z", "x"].into_iter().fold(Batch::new(), |batch, id| batch.add(id, event()));
    log.append_batch(batch).unwrap();
    assert_eq!(ids(&log.view()), ["z", "y", "x"]);
    let created = |id| log.stream_info(id).unwrap().created.get();
    assert_eq!((created("z"), created("y"), created("x")), (1, 2, 4));
    assert!(log.view_at(3).unwrap().streams().is_empty(), "no view has a part of the batch");
    assert!(log.view_at(3).unwrap().stream_info("z").is_none());
}

/// Many streams, more than fit into the first tables.
#[test]
fn many_streams_are_listed() {
    let log = Log::new();
    let names: Vec<_> = (0..10_000).map(|n| format!("{}", n * 7919 % 10_000)).collect();
    names.iter().for_each(|name| _ = log.append(name, event()).unwrap());
    assert_eq!(ids(&log.view()), names);
}

/// Beside threads that create streams, and one that truncates: a view's streams are those of the first envelopes in it.
#[test]
fn listings_beside_appends_agree_with_the_log() {
    let log = Log::builder().segment_slots(8).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..2 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..3000 {
                    log.append(&format!("{}", (n * 2 + thread) / 2), event()).unwrap();
                    log.append("always", event()).unwrap();
                }
            });
        }
        let mut seen = 0;
        while seen < 3001 {
            let view = log.view();
            let listed = view.streams();
            seen = listed.len();
            let infos: Vec<_> = listed.iter().map(|stream| view.stream_info(stream).expect("it is listed")).collect();
            assert!(infos.is_sorted_by_key(|info| info.created));
            let firsts = view.read().iter().filter(|envelope| envelope.revision() == 0);
            assert!(firsts.map(|envelope| envelope.position()).eq(infos.iter().map(|info| info.created)));
            let messages: u64 = infos.iter().map(|info| info.messages).sum();
            assert_eq!(messages, view.end().get(), "every envelope is one of some stream");
        }
    });
}

/// Beside a thread that truncates all there is, again and again: infos stay possible.
#[test]
fn infos_beside_truncations_are_possible() {
    let log = Log::builder().segment_slots(2).build().unwrap();
    log.append("s", event()).unwrap();
    let first = log.stream_info("s").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                let end = log.append("s", event()).unwrap().position;
                log.truncate_before(end);
            }
        });
        loop {
            let view = log.view();
            let info = view.stream_info("s").expect("it was written");
            assert_eq!((info.created, info.created_at), (first.created, first.created_at));
            // All envelopes are of this stream.
            assert!(info.revision.get() + 1 >= view.end().get());
            match (info.first, info.last) {
                (Some(first), Some(last)) => {
                    assert_eq!(last, view.end());
                    assert_eq!(info.messages, last.get() - first.get() + 1);
                    assert!(info.updated_at >= info.created_at);
                }
                (None, None) => assert_eq!((info.messages, info.updated_at), (0, None)),
                other => panic!("{other:?}"),
            }
            if view.end() == 20_001 {
                break;
            }
        }
    });
}
