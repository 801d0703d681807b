//! Several threads append at once.

use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Appender, Expected, Stream};
use crossbeam_queue::SegQueue;
use hdrhistogram::Histogram;

use crate::load::{self, Record, ids, timeless};
use crate::measure::{Group, MakeGroup, Sample, cpu_time};
use crate::rivals::{Locked, Ordered, Sharded, Store, Streams};

/// Appends of one run, all threads together: enough for each thread to be at work for many time slices.
const OPS: u64 = 1_000_000;

pub const ALL: [MakeGroup; 10] =
    [own_2, own_4, own_8, one_2, one_4, one_8, expecting_own_2, expecting_own_8, retry_2, retry_8];

/// Runs `work` on so many threads that begin together. From the first that begins to the last that ends.
///
/// Threads are tied to processors in turn. Left to itself, the scheduler lets short-lived threads that were woken by one
/// another run on one processor, one after the other, and nothing contends.
pub(super) fn together<W, A>(workers: Vec<W>, work: impl Fn(W) -> A + Sync) -> (Sample, Vec<A>)
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
                black_box(appender.append(&stream, load::shared()).expect("nothing is in the way").position);
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

fn retry_rival<S: Streams>(threads: usize, streams: usize) -> impl FnMut(u64) -> Sample {
    let names = ids(streams);
    move |ops| {
        let store = S::default();
        let (sample, _) = together((0..threads).collect(), |thread: usize| {
            let (name, mut known) = (&names[thread % streams], 0);
            for _ in 0..ops.div_ceil(threads as u64) {
                loop {
                    match store.append(name, known, Record::shared(1)) {
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

/// Exact expectations. With a stream each nobody is ever refused; with one stream, whoever is tries again.
fn expecting(title: &'static str, threads: usize, streams: usize) -> Group {
    let ours = move |ops: u64| {
        let (sample, kept) = together(appenders(threads, streams), |(stream, mut appender)| {
            retry(&stream, &mut appender, ops.div_ceil(threads as u64));
            (stream, appender)
        });
        drop(kept);
        sample
    };
    Group::new(title, OPS)
        .by_wall()
        .ours("annals", ours)
        .rival("RwLock<HashMap<String, Vec>>", retry_rival::<Locked>(threads, streams))
        .rival("DashMap<String, Vec>", retry_rival::<Sharded>(threads, streams))
        .rival("RwLock<Vec + HashMap>, one order", retry_rival::<Ordered>(threads, streams))
}

pub fn expecting_own_2() -> Group {
    expecting("2 threads, a stream each, exact expectation", 2, 2)
}

pub fn expecting_own_8() -> Group {
    expecting("8 threads, a stream each, exact expectation", 8, 8)
}

pub fn retry_2() -> Group {
    expecting("2 threads, one stream, exact expectation with retry", 2, 1)
}

pub fn retry_8() -> Group {
    expecting("8 threads, one stream, exact expectation with retry", 8, 1)
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

/// Single appends with so many threads at work, a stream each, ours and the rivals'.
pub fn latencies(threads: usize) -> Vec<Latency> {
    crate::memory::Memory::Warm.prepare();
    let names = ids(threads);
    vec![
        ours_latency(threads),
        pushes_latency::<Mutex<Vec<Record>>>("Mutex<Vec>", threads),
        pushes_latency::<parking_lot::Mutex<Vec<Record>>>("parking_lot::Mutex<Vec>", threads),
        pushes_latency::<boxcar::Vec<Record>>("boxcar::Vec", threads),
        pushes_latency::<SegQueue<Record>>("SegQueue", threads),
        rival_latency("RwLock<Vec + HashMap>", threads, Ordered::default(), |store, thread| {
            store.append_any(&names[thread], Record::shared(1));
        }),
    ]
}

fn ours_latency(threads: usize) -> Latency {
    let (_, all) = together(appenders(threads, threads), |(stream, mut appender)| {
        each(OPS / threads as u64, || {
            black_box(appender.append(&stream, load::shared()).expect("nothing is in the way").position);
        })
    });
    merged("annals", all)
}

fn pushes_latency<S: Store>(name: &'static str, threads: usize) -> Latency {
    rival_latency(name, threads, S::default(), |store, thread| store.push(Record::shared(thread as u32)))
}

fn rival_latency<S: Sync>(name: &'static str, threads: usize, store: S, push: impl Fn(&S, usize) + Sync) -> Latency {
    let (_, all) = together((0..threads).collect(), |thread| each(OPS / threads as u64, || push(&store, thread)));
    merged(name, all)
}
