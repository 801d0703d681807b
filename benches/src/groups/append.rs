//! One thread appends.

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use annals::{AppendOptions, Appender, Batch, Condition, Expected, Log, Message, Query, Stream};
use crossbeam_queue::SegQueue;

use crate::load::{self, Record, ids, scattered, timeless};
use crate::measure::{Group, MakeGroup, Sample, time};
use crate::rivals::{Locked, Ordered, Sharded, Store, Streams, Tagged};

/// Appends of one run.
const OPS: u64 = 100_000;
/// When memory is cold: enough for the first, small pieces not to count.
const COLD_OPS: u64 = 500_000;
const BATCH: u64 = 64;

/// Cold first: once an allocator has kept memory, it is hard to have it forget.
pub const ALL: [MakeGroup; 19] = [
    cold_shared,
    cold_copied,
    shared,
    shared_named,
    copied,
    stamped_coarse,
    stamped,
    stream_append,
    by_name,
    expected_handle_1,
    expected_handle_1_000,
    expected_handle_100_000,
    expected_name_1,
    expected_name_1_000,
    expected_name_100_000,
    condition_1_000,
    condition_100_000,
    batch,
    batch_copied,
];

/// Runs that make a store, time `ops` operations on it, and drop it afterwards.
fn fresh<S>(mut make: impl FnMut(u64) -> S, mut work: impl FnMut(&mut S, u64)) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let mut store = make(ops);
        let sample = time(|| {
            for n in 0..ops {
                work(&mut store, n);
            }
        });
        drop(store);
        sample
    }
}

fn appender(log: Log) -> (Stream, Appender) {
    let stream = log.stream("account-000000").expect("the name is valid");
    let appender = log.appender();
    (stream, appender)
}

fn through_handle(make: fn() -> Log, message: impl Fn() -> Message<'static>) -> impl FnMut(u64) -> Sample {
    fresh(
        move |_| appender(make()),
        move |(stream, appender), _| {
            black_box(appender.append(stream, message()).expect("nothing is in the way").position);
        },
    )
}

fn grows<R>(record: impl Fn() -> R) -> impl FnMut(u64) -> Sample {
    fresh(|_| Vec::new(), move |store, _| store.push(record()))
}

fn presized<R>(record: impl Fn() -> R) -> impl FnMut(u64) -> Sample {
    fresh(|ops| Vec::with_capacity(ops as usize), move |store, _| store.push(record()))
}

fn into<S: Store>(record: impl Fn() -> Record) -> impl FnMut(u64) -> Sample {
    fresh(|_| S::default(), move |store, _| store.push(record()))
}

/// Generic over the closures and not over function pointers, so that each contender is inlined.
fn all<M, R>(group: Group, message: M, record: R) -> Group
where
    M: Fn() -> Message<'static> + Copy + 'static,
    R: Fn() -> Record + Copy + 'static,
{
    group
        .ours("annals, handle", through_handle(timeless, message))
        .rival("Vec", grows(record))
        .rival("Vec, pre-sized", presized(record))
        .rival("Mutex<Vec>", into::<Mutex<Vec<Record>>>(record))
        .rival("parking_lot::Mutex<Vec>", into::<parking_lot::Mutex<Vec<Record>>>(record))
        .rival("boxcar::Vec", into::<boxcar::Vec<Record>>(record))
        .rival("SegQueue", into::<SegQueue<Record>>(record))
}

pub fn shared() -> Group {
    all(Group::new("append, payload shared", OPS), load::shared, || Record::shared(1))
}

pub fn cold_shared() -> Group {
    all(Group::new("append, payload shared, memory cold", COLD_OPS).cold(), load::shared, || Record::shared(1))
}

pub fn copied() -> Group {
    all(Group::new("append, 64 bytes copied", OPS), load::copied, || Record::copied(1))
}

pub fn cold_copied() -> Group {
    all(Group::new("append, 64 bytes copied, memory cold", COLD_OPS).cold(), load::copied, || Record::copied(1))
}

/// Rivals that know their stream's name, as an envelope does: one reference count more.
pub fn shared_named() -> Group {
    let stream: Arc<str> = "account-000000".into();
    let record = move || Record::shared(stream.clone());
    Group::new("append, payload shared, stream named", OPS)
        .ours("annals, handle", through_handle(timeless, load::shared))
        .rival("Vec, Arc<str>", grows(record.clone()))
        .rival("Vec, pre-sized, Arc<str>", presized(record))
}

fn coarse() -> Log {
    Log::builder().coarse_clock().build().expect("the settings are in range")
}

pub fn stamped_coarse() -> Group {
    with_rivals_stamped(Group::new("append with time, ours coarse", OPS), coarse)
}

pub fn stamped() -> Group {
    with_rivals_stamped(Group::new("append with time, system clock", OPS), Log::new)
}

fn with_rivals_stamped(group: Group, make: fn() -> Log) -> Group {
    let record = || (Record::shared(1u32), SystemTime::now());
    group
        .ours("annals, handle", through_handle(make, load::shared))
        .rival("Vec", grows(record))
        .rival("Vec, pre-sized", presized(record))
        .rival(
            "parking_lot::Mutex<Vec>",
            fresh(|_| parking_lot::Mutex::new(Vec::new()), move |store, _| store.lock().push(record())),
        )
}

pub fn stream_append() -> Group {
    Group::new("append by Stream::append", OPS)
        .ours(
            "annals, stream",
            fresh(
                |_| timeless().stream("account-000000").expect("the name is valid"),
                |stream, _| {
                    black_box(stream.append(load::shared()).expect("nothing is in the way").position);
                },
            ),
        )
        .rival("Vec", grows(|| Record::shared(1u32)))
        .rival("Mutex<Vec>", into::<Mutex<Vec<Record>>>(|| Record::shared(1)))
        .rival("parking_lot::Mutex<Vec>", into::<parking_lot::Mutex<Vec<Record>>>(|| Record::shared(1)))
}

const NAMED: usize = 1_000;

pub fn by_name() -> Group {
    let names = Arc::new(ids(NAMED));
    let of_rival = names.clone();
    Group::new("append by name, 1,000 streams", OPS)
        .ours(
            "annals, name",
            fresh(
                |_| timeless(),
                move |log, n| {
                    let name = &names[scattered(n, NAMED)];
                    black_box(log.append(name, load::shared()).expect("nothing is in the way").position);
                },
            ),
        )
        .rival(
            "RwLock<Vec + HashMap>",
            fresh(
                |_| Ordered::default(),
                move |store, n| store.append_any(&of_rival[scattered(n, NAMED)], Record::shared(1)),
            ),
        )
}

/// Streams with one record each, and how long each is.
struct Prepared<S> {
    store: S,
    names: Arc<Vec<String>>,
    lengths: Vec<u64>,
}

impl<S> Prepared<S> {
    fn new(store: S, names: &Arc<Vec<String>>) -> Self {
        Self { store, names: names.clone(), lengths: vec![1; names.len()] }
    }

    /// The stream of the n-th append, and how long it is.
    #[inline]
    fn turn(&mut self, n: u64) -> (usize, u64) {
        let which = scattered(n, self.names.len());
        let length = self.lengths[which];
        self.lengths[which] += 1;
        (which, length)
    }
}

fn prepared_log(names: &Arc<Vec<String>>) -> Log {
    let log = timeless();
    for name in names.iter() {
        log.append(name, load::shared()).expect("nothing is in the way");
    }
    log
}

fn prepared_handles(names: &Arc<Vec<String>>) -> (Vec<Stream>, Appender) {
    let log = prepared_log(names);
    let handles = names.iter().map(|name| log.stream(name).expect("the name is valid")).collect();
    (handles, log.appender())
}

fn expected_rival<S: Streams>(names: &Arc<Vec<String>>) -> impl FnMut(u64) -> Sample + use<S> {
    let names = names.clone();
    fresh(
        move |_| {
            let store = S::default();
            for name in names.iter() {
                store.append(name, 0, Record::shared(1)).expect("it is empty");
            }
            Prepared::new(store, &names)
        },
        |prepared, n| {
            let (which, length) = prepared.turn(n);
            black_box(prepared.store.append(&prepared.names[which], length, Record::shared(1))).expect("it is right");
        },
    )
}

fn with_rivals_expected(group: Group, names: &Arc<Vec<String>>) -> Group {
    group
        .rival("RwLock<HashMap<String, Vec>>", expected_rival::<Locked>(names))
        .rival("DashMap<String, Vec>", expected_rival::<Sharded>(names))
        .rival("RwLock<Vec + HashMap>, one order", expected_rival::<Ordered>(names))
}

fn expected_handle(title: &'static str, streams: usize) -> Group {
    let names = Arc::new(ids(streams));
    let of_ours = names.clone();
    let ours = fresh(
        move |_| Prepared::new(prepared_handles(&of_ours), &of_ours),
        |prepared, n| {
            let (which, length) = prepared.turn(n);
            let (handles, appender) = &mut prepared.store;
            let expected = Expected::exactly(length - 1);
            black_box(appender.append_with(&handles[which], load::shared(), expected).expect("it is right").position);
        },
    );
    with_rivals_expected(Group::new(title, OPS).ours("annals, handle", ours), &names)
}

fn expected_name(title: &'static str, streams: usize) -> Group {
    let names = Arc::new(ids(streams));
    let of_ours = names.clone();
    let ours = fresh(
        move |_| Prepared::new(prepared_log(&of_ours), &of_ours),
        |prepared, n| {
            let (which, length) = prepared.turn(n);
            let expected = Expected::exactly(length - 1);
            let name = &prepared.names[which];
            black_box(prepared.store.append_with(name, load::shared(), expected)).expect("it is right");
        },
    );
    with_rivals_expected(Group::new(title, OPS).ours("annals, name", ours), &names)
}

pub fn expected_handle_1() -> Group {
    expected_handle("exact expectation by handle, 1 stream", 1)
}

pub fn expected_handle_1_000() -> Group {
    expected_handle("exact expectation by handle, 1,000 streams", 1_000)
}

pub fn expected_handle_100_000() -> Group {
    expected_handle("exact expectation by handle, 100,000 streams", 100_000)
}

pub fn expected_name_1() -> Group {
    expected_name("exact expectation by name, 1 stream", 1)
}

pub fn expected_name_1_000() -> Group {
    expected_name("exact expectation by name, 1,000 streams", 1_000)
}

pub fn expected_name_100_000() -> Group {
    expected_name("exact expectation by name, 100,000 streams", 100_000)
}

const TAG: &str = "account:42";

fn tagged() -> Message<'static> {
    Message::builder("Deposited").payload(load::SHARED.clone()).tag(TAG).build().expect("the names are valid")
}

/// Appends on condition that nothing with a tag came after the end of the log, as known.
fn condition(title: &'static str, records: usize) -> Group {
    let ours = fresh(
        move |_| {
            let (stream, mut appender) = appender(timeless());
            for _ in 0..records {
                appender.append(&stream, tagged()).expect("nothing is in the way");
            }
            let end = appender.log().end();
            (stream, appender, Some(Condition::none(Query::tag(TAG).expect("the name is valid")).after(end)))
        },
        |(stream, appender, condition), _| {
            let known = condition.take().expect("it is put back");
            let options = AppendOptions::new().condition(&known);
            let appended = appender.append_with(stream, load::shared(), options).expect("nothing came after");
            *condition = Some(known.after(appended.position));
        },
    );
    let rival = fresh(
        move |_| {
            let store = Tagged::default();
            for _ in 0..records {
                store.append(Record::shared(1), vec![TAG]);
            }
            (store, records)
        },
        |(store, known), _| *known = store.append_unless(TAG, *known, Record::shared(1)).expect("nothing came after"),
    );
    Group::new(title, OPS).ours("annals, handle", ours).rival("RwLock<Vec>, tags", rival)
}

pub fn condition_1_000() -> Group {
    condition("append condition at the end, log of 1,000", 1_000)
}

pub fn condition_100_000() -> Group {
    condition("append condition at the end, log of 100,000", 100_000)
}

fn batched(message: impl Fn() -> Message<'static>) -> impl FnMut(u64) -> Sample {
    fresh(
        |_| appender(timeless()),
        move |(stream, appender), n| {
            if n.is_multiple_of(BATCH) {
                let batch = (0..BATCH).fold(Batch::new(), |batch, _| batch.add(&*stream, message()));
                black_box(appender.append_batch(batch).expect("nothing is in the way").last);
            }
        },
    )
}

fn batched_rival(record: impl Fn() -> Record) -> impl FnMut(u64) -> Sample {
    fresh(
        |_| parking_lot::Mutex::new(Vec::new()),
        move |store, n| {
            if n.is_multiple_of(BATCH) {
                store.lock().extend((0..BATCH).map(|_| record()));
            }
        },
    )
}

pub fn batch() -> Group {
    Group::new("batch of 64, payload shared, an envelope", OPS)
        .ours("annals, batch", batched(load::shared))
        .rival("annals, 64 singles", through_handle(timeless, load::shared))
        .rival("parking_lot::Mutex<Vec>, extend", batched_rival(|| Record::shared(1)))
}

pub fn batch_copied() -> Group {
    Group::new("batch of 64, 64 bytes copied, an envelope", OPS)
        .ours("annals, batch", batched(load::copied))
        .rival("annals, 64 singles", through_handle(timeless, load::copied))
        .rival("parking_lot::Mutex<Vec>, extend", batched_rival(|| Record::copied(1)))
}
