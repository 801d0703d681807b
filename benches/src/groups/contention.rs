//! Several threads append at once.

use std::hint::black_box;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Appender, Expected, Log, Stream};
use crossbeam_queue::SegQueue;
use hdrhistogram::Histogram;

use crate::load::{self, Record, ids, timeless};
use crate::measure::{Group, MakeGroup, Sample, cpu_time};
use crate::rivals::{Locked, Ordered, Store, Streams};

/// Appends of one run, all threads together: enough for each thread to be at work for many time slices.
const OPS: u64 = 1_000_000;

pub const ALL: [MakeGroup; 7] = [own_2, own_4, own_8, one_2, one_4, one_8, retry_2];

/// Runs `work` on so many threads that begin together. From the first that begins to the last that ends.
///
/// Threads are tied to processors in turn. Left to itself, the scheduler lets short-lived threads that were woken by one
/// another run on one processor, one after the other, and nothing contends.
fn together<W, A>(workers: Vec<W>, work: impl Fn(W) -> A + Sync) -> (Sample, Vec<A>)
where
    W: Send,
    A: Send,
{
    let barrier = Barrier::new(workers.len());
    let cpu = cpu_time();
    let done: Vec<(Instant, Instant, A)> = thread::scope(|scope| {
        let (barrier, work) = (&barrier, &work);
        let run = |(number, worker)| {
            scope.spawn(move || {
                tie_to_processor(number);
                barrier.wait();
                let begin = Instant::now();
                let result = work(worker);
                (begin, Instant::now(), result)
            })
        };
        let threads: Vec<_> = workers.into_iter().enumerate().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("nobody panics")).collect()
    });
    let cpu = cpu_time() - cpu;
    let first = done.iter().map(|(begin, ..)| *begin).min();
    let last = done.iter().map(|(_, end, _)| *end).max();
    let wall = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    (Sample { wall, cpu }, done.into_iter().map(|(.., result)| result).collect())
}

/// Ties the calling thread to one processor: threads with successive numbers to successive ones.
#[cfg(target_os = "linux")]
fn tie_to_processor(number: usize) {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: a set of processors is plain bits, and the call only reads it. Refused, it changes nothing.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(number % processors, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

#[cfg(not(target_os = "linux"))]
fn tie_to_processor(_: usize) {}

/// Appenders to a new log, each with the handle it appends to.
fn appenders(threads: usize, streams: usize) -> Vec<(Stream, Appender)> {
    let (log, names) = (timeless(), ids(streams));
    let stream = |n: usize| log.stream(&names[n % streams]).expect("the name is valid");
    (0..threads).map(|n| (stream(n), log.appender())).collect()
}

fn ours(threads: usize, streams: usize) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let each = ops.div_ceil(threads as u64);
        let (sample, kept) = together(appenders(threads, streams), |(stream, mut appender)| {
            for _ in 0..each {
                black_box(appender.append(&stream, load::shared())).expect("nothing is in the way");
            }
            (stream, appender)
        });
        drop(kept);
        sample
    }
}

fn rival<S: Sync>(threads: usize, make: fn() -> S, push: impl Fn(&S, usize) + Sync) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let each = ops.div_ceil(threads as u64);
        let store = make();
        let (sample, _) = together((0..threads).collect(), |thread| {
            for _ in 0..each {
                push(&store, thread);
            }
        });
        sample
    }
}

fn pushes<S: Store>(threads: usize) -> impl FnMut(u64) -> Sample {
    rival(threads, S::default, |store, thread| store.push(Record::shared(thread as u32)))
}

fn group(title: &'static str, threads: usize, streams: usize) -> Group {
    let names = ids(streams);
    let ordered = rival(threads, Ordered::default, move |store, thread| {
        store.append_any(&names[thread % streams], Record::shared(1));
    });
    Group::new(title, OPS)
        .by_wall()
        .ours("annals", ours(threads, streams))
        .rival("Mutex<Vec>", pushes::<Mutex<Vec<Record>>>(threads))
        .rival("parking_lot::Mutex<Vec>", pushes::<parking_lot::Mutex<Vec<Record>>>(threads))
        .rival("boxcar::Vec", pushes::<boxcar::Vec<Record>>(threads))
        .rival("SegQueue", pushes::<SegQueue<Record>>(threads))
        .rival("RwLock<Vec + HashMap>", ordered)
}

pub fn own_2() -> Group {
    group("2 threads, a stream each", 2, 2)
}

pub fn own_4() -> Group {
    group("4 threads, a stream each", 4, 4)
}

pub fn own_8() -> Group {
    group("8 threads, a stream each", 8, 8)
}

pub fn one_2() -> Group {
    group("2 threads, one stream", 2, 1)
}

pub fn one_4() -> Group {
    group("4 threads, one stream", 4, 1)
}

pub fn one_8() -> Group {
    group("8 threads, one stream", 8, 1)
}

/// Appends `count` records, each on condition of the last revision known; a conflict tells the next one to try.
fn retry(stream: &Stream, appender: &mut Appender, count: u64) {
    let mut known = stream.revision();
    for _ in 0..count {
        loop {
            let expected = known.map_or(Expected::NoStream, Expected::Exactly);
            match appender.append_with(stream, load::shared(), expected) {
                Ok(appended) => {
                    known = Some(appended.revision);
                    break;
                }
                Err(rejected) => known = rejected.conflict().expect("nothing else is in the way").actual(),
            }
        }
    }
}

fn retry_rival<S: Streams>() -> impl FnMut(u64) -> Sample {
    |ops| {
        let store = S::default();
        let (sample, _) = together(vec![ops.div_ceil(2); 2], |count| {
            let mut known = 0;
            for _ in 0..count {
                loop {
                    match store.append("account-000000", known, Record::shared(1)) {
                        Ok(length) => {
                            known = length;
                            break;
                        }
                        Err(length) => known = length,
                    }
                }
            }
        });
        sample
    }
}

pub fn retry_2() -> Group {
    let ours = |ops: u64| {
        let (sample, kept) = together(appenders(2, 1), |(stream, mut appender)| {
            retry(&stream, &mut appender, ops.div_ceil(2));
            (stream, appender)
        });
        drop(kept);
        sample
    };
    Group::new("2 threads, one stream, exact expectation with retry", OPS)
        .by_wall()
        .ours("annals", ours)
        .rival("RwLock<HashMap<String, Vec>>", retry_rival::<Locked>())
        .rival("RwLock<Vec + HashMap>, one order", retry_rival::<Ordered>())
}

/// How long single appends take, in nanoseconds; reading the clock included.
pub struct Latency {
    pub name: &'static str,
    pub times: Histogram<u64>,
}

fn empty() -> Histogram<u64> {
    Histogram::new(3).expect("3 digits are allowed")
}

/// Times each call of `work`, `count` times.
fn each(count: u64, mut work: impl FnMut()) -> Histogram<u64> {
    let mut times = empty();
    for _ in 0..count {
        let begin = Instant::now();
        work();
        let nanos = begin.elapsed().as_nanos() as u64;
        times.record(nanos).expect("the histogram grows");
    }
    times
}

fn merged(name: &'static str, all: Vec<Histogram<u64>>) -> Latency {
    let mut times = empty();
    for part in all {
        times.add(part).expect("the histogram grows");
    }
    Latency { name, times }
}

/// What timing nothing looks like.
pub fn timer() -> Latency {
    merged("the timer itself", vec![each(OPS, || {})])
}

/// Single appends with so many threads at work, ours and the rivals'.
pub fn latencies(threads: usize) -> Vec<Latency> {
    crate::memory::Memory::Warm.prepare();
    vec![
        ours_latency(threads, timeless),
        rival_latency::<Mutex<Vec<Record>>>("Mutex<Vec>", threads),
        rival_latency::<parking_lot::Mutex<Vec<Record>>>("parking_lot::Mutex<Vec>", threads),
        rival_latency::<boxcar::Vec<Record>>("boxcar::Vec", threads),
        rival_latency::<SegQueue<Record>>("SegQueue", threads),
    ]
}

fn ours_latency(threads: usize, make: fn() -> Log) -> Latency {
    let log = make();
    let stream = |n: usize| log.stream(&format!("account-{n}")).expect("the name is valid");
    let workers = (0..threads).map(|n| (stream(n), log.appender())).collect();
    let (_, all) = together(workers, |(stream, mut appender)| {
        each(OPS / threads as u64, || {
            black_box(appender.append(&stream, load::shared())).expect("nothing is in the way");
        })
    });
    merged("annals", all)
}

fn rival_latency<S: Store>(name: &'static str, threads: usize) -> Latency {
    let store = Arc::new(S::default());
    let (_, all) = together((0..threads as u32).collect(), |thread| {
        each(OPS / threads as u64, || store.push(Record::shared(thread)))
    });
    merged(name, all)
}
