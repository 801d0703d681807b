//! Many threads on one log, through its public face, in random schedules.
#![cfg(annals_shuttle)]

#[path = "../../../tests/it/history.rs"]
mod history;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::model_checking::{ENTERED, FILLED, SWAPPED, arm_reclamation, empty_quarantine, stop_at};
use annals::{Batch, Envelope, Expected, Log, Message};
use annals_shuttle::explore;
use history::{Actor, History, STREAMS, Span, check};
use shuttle::rand::Rng;
use shuttle::thread::{self, JoinHandle};

/// Segments of four slots: a batch of three crosses a boundary half of the time.
fn log() -> Log {
    empty_quarantine();
    Log::builder().segment_slots(4).no_clock().build().unwrap()
}

fn event(payload: &'static str) -> Message<'static> {
    Message::event("E", payload).unwrap()
}

fn seed() -> u64 {
    shuttle::rand::thread_rng().r#gen()
}

/// A clock without scheduling points of its own: one thread runs at a time.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A thread that does `steps` operations of the mix.
fn actor(log: &Log, clock: &Clock, steps: usize) -> JoinHandle<History> {
    let (log, clock, seed) = (log.clone(), clock.clone(), seed());
    thread::spawn(move || {
        let mut actor = Actor::new(&log, seed);
        let step = |_| {
            let began = clock.tick();
            let operation = actor.step();
            (Span { began, returned: clock.tick() }, operation)
        };
        (0..steps).map(step).collect()
    })
}

/// L1 to L3, when all is quiet: no gaps, log and streams agree. How many there are.
fn check_whole(log: &Log) -> u64 {
    let envelopes: Vec<Envelope> = log.read().iter().collect();
    assert!(envelopes.iter().map(|it| it.position().get()).eq(1..=envelopes.len() as u64), "L1: no gaps");
    assert_eq!(log.end(), envelopes.len() as u64);
    for stream in STREAMS {
        let of_log: Vec<_> = envelopes.iter().filter(|it| it.stream() == stream).collect();
        assert!(of_log.iter().map(|it| it.revision().get()).eq(0..of_log.len() as u64), "L2: no gaps in {stream}");
        let of_stream: Vec<_> = log.read_stream(stream).iter().map(|it| it.position()).collect();
        assert!(of_log.iter().map(|it| it.position()).eq(of_stream), "L2: log and stream agree");
    }
    envelopes.len() as u64
}

fn linearizable(threads: usize, steps: usize) {
    let (log, clock) = (log(), Clock::default());
    let actors: Vec<_> = (0..threads).map(|_| actor(&log, &clock, steps)).collect();
    let history = actors.into_iter().flat_map(|actor| actor.join().unwrap()).collect();
    check(&history).unwrap_or_else(|reason| panic!("{reason}: {history:#?}"));
    check_whole(&log);
}

/// L3 to L5: four threads, four operations each.
#[test]
fn four_by_four() {
    explore("four_by_four", 12_000, || linearizable(4, 4));
}

/// L3 to L5: eight threads, eight operations each.
#[test]
fn eight_by_eight() {
    explore("eight_by_eight", 1_500, || linearizable(8, 8));
}

/// L6: threads that stop for good in the middle of an append, or of a batch, beside others that go on: what the stopped
/// ones had swapped in is there, as a whole (L4).
#[test]
fn threads_that_stop_for_good() {
    explore("threads_that_stop_for_good", 6_000, || {
        let log = log();
        let single = |log: &Log| log.appender().append(&log.stream(STREAMS[0]).unwrap(), event("single")).is_ok();
        let batch = |log: &Log| log.appender().append_batch(batch_of("stopped")).is_ok();
        let stopped = [stops(&log, SWAPPED, single), stops(&log, ENTERED, single), stops(&log, SWAPPED, batch)];
        let going = goes_on(&log, |log, number| {
            log.append_batch(batch_of(["zero", "one", "two"][number])).unwrap();
        });
        stopped.into_iter().chain(going).for_each(|thread| thread.join().unwrap());
        log.append(STREAMS[1], event("single")).unwrap();
        let end = check_whole(&log);
        assert!((1 + 1 + 3 + 6 * 3 + 1..=1 + 1 + 3 + 6 * 4 + 1).contains(&end), "L6: whatever was swapped in, {end}");
        let batches: Vec<_> = log.read().iter().filter(|it| it.payload() != b"single").collect();
        assert!(batches.chunks(3).all(|batch| batch.iter().all(|it| it.payload() == batch[0].payload())), "L4");
    });
}

/// L4, L6: a thread stops for good when it has filled one slot of its batch. (Others append no batches: the stop would
/// catch it as a helper.)
#[test]
fn a_batch_half_filled() {
    explore("a_batch_half_filled", 6_000, || {
        let log = log();
        let stopped = stops(&log, FILLED, |log| log.appender().append_batch(batch_of("stopped")).is_ok());
        let going = goes_on(&log, |log, _| {
            let seen = log.read().iter().filter(|it| it.payload() == b"stopped").count();
            assert!([0, 3].contains(&seen), "L4: {seen} of a batch");
        });
        going.into_iter().chain([stopped]).for_each(|thread| thread.join().unwrap());
        log.append(STREAMS[1], event("single")).unwrap();
        assert!((3 + 1..=3 + 6 + 1).contains(&check_whole(&log)));
    });
}

/// A thread that stops at a place of its append. It has an appender of its own: one from the pool would go back to it.
fn stops(log: &Log, place: u32, append: impl Fn(&Log) -> bool + Send + 'static) -> JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || {
        stop_at(place);
        assert!(append(&log), "nothing is in its way");
    })
}

/// Three threads that append twice what they expect to fit, and do something else in between.
fn goes_on(log: &Log, also: impl Fn(&Log, usize) + Send + Copy + 'static) -> [JoinHandle<()>; 3] {
    [0, 1, 2].map(|number| {
        let log = log.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                let stream = STREAMS[number % 2];
                let last = log.stream(stream).unwrap().revision().map_or(Expected::NoStream, Expected::Exactly);
                let appended = log.append_with(stream, event("single"), last);
                let seen = log.end();
                assert!(appended.is_err() || seen >= appended.unwrap().position, "L3: seen by its appender");
                also(&log, number);
            }
        })
    })
}

fn batch_of(payload: &'static str) -> Batch<'static> {
    [0, 1, 0].iter().fold(Batch::new(), |batch, stream| batch.add(STREAMS[*stream], event(payload)))
}

/// L2: six threads add thirty streams, each of them two threads, while the directory grows from four cells; a reader
/// looks for them.
#[test]
fn streams_while_the_directory_grows() {
    explore("streams_while_the_directory_grows", 3_000, || {
        let log = log();
        let name = |number: usize| format!("stream-{}", number % 15);
        let writers: Vec<_> = (0..6)
            .map(|thread| {
                let log = log.clone();
                thread::spawn(move || {
                    for number in thread * 5..thread * 5 + 5 {
                        let revision = log.append(&name(number), event("single")).unwrap().revision;
                        assert!(log.stream(&name(number)).unwrap().revision() >= Some(revision));
                    }
                })
            })
            .collect();
        let reader = {
            let log = log.clone();
            thread::spawn(move || {
                let view = log.view();
                let streams = (0..15).map(|number| view.read_stream(name(number)).iter().count()).sum::<usize>();
                assert_eq!(streams, view.read().iter().count(), "one view of log and streams");
            })
        };
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
        assert_eq!(check_whole(&log), 30);
        for number in 0..15 {
            assert!(log.read_stream(name(number)).iter().map(|it| it.revision().get()).eq([0, 1]));
        }
    });
}

/// L3, L4, L8: readers and truncation beside appenders, memory given back as soon as it may.
#[test]
fn readers_and_truncation() {
    explore("readers_and_truncation", 5_000, || {
        let log = log();
        arm_reclamation(&log);
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        log.append_batch(batch_of("batch")).unwrap();
                        log.append(STREAMS[0], event("single")).unwrap();
                    }
                })
            })
            .collect();
        let truncation = {
            let log = log.clone();
            thread::spawn(move || {
                for before in [3, 8, 14] {
                    log.truncate_before(before);
                    log.maintain();
                }
            })
        };
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || {
                    let held: Vec<Envelope> = log.read().iter().collect();
                    let positions: Vec<_> = held.iter().map(|it| it.position().get()).collect();
                    let first = log.first().get();
                    assert!(positions.windows(2).all(|two| two[0] + 1 == two[1] || two[1] <= first), "L3: no holes");
                    let seen = log.end();
                    let revisions: Vec<_> = log.read_stream(STREAMS[1]).iter().map(|it| it.revision().get()).collect();
                    assert!(revisions.is_sorted(), "L2: in order");
                    assert!(log.end() >= seen, "L3: what was seen stays");
                    assert!(held.iter().all(|it| [&b"batch"[..], b"single"].contains(&it.payload())), "L8");
                })
            })
            .collect();
        writers.into_iter().chain(readers).for_each(|thread| thread.join().unwrap());
        truncation.join().unwrap();
        assert_eq!(log.end(), 3 * 2 * 4);
        let left: Vec<_> = log.read().iter().map(|it| it.position().get()).collect();
        assert!(left.iter().copied().eq(log.first().get()..=24), "a suffix without gaps: {left:?}");
        log.truncate_before(25);
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0, "nothing is pinned: all memory is back");
    });
}
