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
            black_box(appender.append(stream, message())).expect("nothing is in the way");
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

fn against_all(group: Group, message: fn() -> Message<'static>, record: fn() -> Record) -> Group {
    // Called by `Fn` closures, so that each contender has a copy of its own, inlined.
    group
        .ours("annals, handle", through_handle(timeless, move || message()))
        .rival("Vec", grows(move || record()))
        .rival("Vec, pre-sized", presized(move || record()))
        .rival("Mutex<Vec>", into::<Mutex<Vec<Record>>>(move || record()))
        .rival("parking_lot::Mutex<Vec>", into::<parking_lot::Mutex<Vec<Record>>>(move || record()))
        .rival("boxcar::Vec", into::<boxcar::Vec<Record>>(move || record()))
        .rival("SegQueue", into::<SegQueue<Record>>(move || record()))
}

pub fn shared() -> Group {
    let group = Group::new("append, payload shared", OPS);
    all_shared(group)
}

pub fn cold_shared() -> Group {
    all_shared(Group::new("append, payload shared, memory cold", COLD_OPS).cold())
}

fn all_shared(group: Group) -> Group {
    group
        .ours("annals, handle", through_handle(timeless, || load::shared()))
        .rival("Vec", grows(|| Record::shared(1u32)))
        .rival("Vec, pre-sized", presized(|| Record::shared(1u32)))
        .rival("Mutex<Vec>", into::<Mutex<Vec<Record>>>(|| Record::shared(1)))
        .rival("parking_lot::Mutex<Vec>", into::<parking_lot::Mutex<Vec<Record>>>(|| Record::shared(1)))
        .rival("boxcar::Vec", into::<boxcar::Vec<Record>>(|| Record::shared(1)))
        .rival("SegQueue", into::<SegQueue<Record>>(|| Record::shared(1)))
}

pub fn copied() -> Group {
    all_copied(Group::new("append, 64 bytes copied", OPS))
}

pub fn cold_copied() -> Group {
    all_copied(Group::new("append, 64 bytes copied, memory cold", COLD_OPS).cold())
}
