//! Watching replicas, and waiting for them.

use std::future::Future;
use std::panic::panic_any;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use annals::Bus;
use annals::replica::{Replica, Snapshot, Status, Update, Watch};
use annals::store::{block_on, iterate};
use futures_core::Stream;

use crate::shell::{Answers, Woken};

fn replica(bus: &Bus<Update<i64>>) -> Replica<i64> {
    block_on(Replica::builder(|value: &i64| if *value < 0 { Err("negative") } else { Ok(*value) }).start(bus, "key"))
        .unwrap()
}

fn poll(watch: &mut Watch<i64>, waker: &Waker) -> Poll<Option<Snapshot<i64>>> {
    Pin::new(watch).poll_next(&mut Context::from_waker(waker))
}

/// Sequence and status of what is there to see at once; what is pending is none.
fn look(watch: &mut Watch<i64>) -> Option<(Option<u64>, Status)> {
    match poll(watch, Waker::noop()) {
        Poll::Ready(seen) => seen.map(|seen| (seen.sequence, seen.status)),
        Poll::Pending => None,
    }
}

#[test]
fn a_watch_begins_with_what_is_there_and_tells_each_change_once() {
    let bus = Bus::new();
    let replica = replica(&bus);
    let (mut all, mut values) = (replica.watch(), replica.watch_value());
    assert_eq!((look(&mut all), look(&mut values)), (Some((None, Status::Stale)), Some((None, Status::Stale))));
    assert_eq!((look(&mut all), look(&mut values)), (None, None));
    bus.publish("key", Update::new(1, 1));
    assert_eq!((look(&mut all), look(&mut values)), (Some((Some(1), Status::Live)), Some((Some(1), Status::Live))));
    // A change of metadata.
    bus.publish("key", Update::new(2, -1));
    assert_eq!((look(&mut all), look(&mut values)), (Some((Some(1), Status::Skew)), None));
    // Another reason for the same status.
    bus.publish("key", Update::new(2, -2));
    assert_eq!((look(&mut all), look(&mut values)), (Some((Some(1), Status::Skew)), None));
    // Statistics alone.
    bus.publish("key", Update::new(0, 1));
    assert_eq!((look(&mut all), look(&mut values)), (None, None));
    // Two changes, seen as one.
    bus.publish("key", Update::new(2, 2));
    bus.publish("key", Update::new(3, 3));
    assert_eq!((look(&mut all), look(&mut values)), (Some((Some(3), Status::Live)), Some((Some(3), Status::Live))));
    assert_eq!((look(&mut all), look(&mut values)), (None, None));
}

#[test]
fn a_watch_ends_when_the_replica_was_disposed_of() {
    let bus = Bus::new();
    let replica = replica(&bus);
    let (mut all, mut values) = (replica.watch(), replica.watch_value());
    assert!(look(&mut all).is_some() && look(&mut values).is_some());
    replica.dispose();
    let last = block_on(all.next()).expect("the snapshot that says so");
    assert!(last.is_disposed);
    assert!(block_on(all.next()).is_none() && block_on(values.next()).is_none());
    assert!(block_on(replica.watch().next()).is_some_and(|only| only.is_disposed));
}

#[test]
fn who_watches_is_woken_by_who_publishes() {
    let bus = Bus::new();
    let replica = replica(&bus);
    let mut watch = replica.watch();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(poll(&mut watch, &waker).is_ready());
    assert!(poll(&mut watch, &waker).is_pending());
    bus.publish("key", Update::new(5, 5));
    assert_eq!(woken.count(), 1);
    assert!(poll(&mut watch, &waker).is_ready());
    assert!(poll(&mut watch, &waker).is_pending());
    bus.publish("key", Update::new(4, 4));
    assert_eq!(woken.count(), 1, "not for statistics");
    drop(watch);
    bus.publish("key", Update::new(6, 6));
    assert_eq!(woken.count(), 1, "not when it is gone");
}

struct Explodes;

impl Wake for Explodes {
    fn wake(self: Arc<Self>) {
        panic_any("a waker");
    }
}

#[test]
fn a_waker_that_panics_breaks_no_publisher() {
    let bus = Bus::new();
    let replica = replica(&bus);
    let mut watch = replica.watch();
    let waker = Waker::from(Arc::new(Explodes));
    assert!(poll(&mut watch, &waker).is_ready() && poll(&mut watch, &waker).is_pending());
    let published = bus.publish("key", Update::new(5, 5));
    assert_eq!((published.failures().len(), replica.get().as_deref()), (0, Some(&5)));
}

/// A thread that watches sees the last value, whatever it missed.
#[test]
fn watchers_on_threads_see_the_last_value() {
    const LAST: u64 = 5_000;
    let bus = Bus::new();
    let replica = replica(&bus);
    let watchers = [0, 1].map(|which| {
        let watch = if which == 0 { replica.watch() } else { replica.watch_value() };
        thread::spawn(move || {
            let mut last = None;
            for seen in iterate(watch) {
                assert!(seen.sequence >= last);
                last = seen.sequence;
                if last == Some(LAST) {
                    return;
                }
            }
            panic!("the watch ended before the last value");
        })
    });
    for sequence in 0..=LAST {
        bus.publish("key", Update::new(sequence, sequence as i64));
    }
    watchers.into_iter().for_each(|watcher| watcher.join().unwrap());
}

/// A value that comes while a watcher is about to wait wakes it: each is published as soon as the one before was seen.
#[test]
fn no_wake_up_is_lost() {
    const LAST: u64 = 30_000;
    let bus = Bus::new();
    let replica = replica(&bus);
    let seen = Arc::new(AtomicU64::new(0));
    let (watch, sees) = (replica.watch_value(), seen.clone());
    let watcher = thread::spawn(move || {
        iterate(watch)
            .filter_map(|seen| seen.sequence)
            .take(LAST as usize)
            .for_each(|it| sees.store(it, Ordering::SeqCst));
    });
    for sequence in 1..=LAST {
        bus.publish("key", Update::new(sequence, sequence as i64));
        let since = Instant::now();
        while seen.load(Ordering::SeqCst) < sequence {
            assert!(since.elapsed() < Duration::from_secs(20), "nobody woke the watcher for {sequence}");
            thread::yield_now();
        }
    }
    watcher.join().unwrap();
}

#[test]
fn when_idle_is_ready_when_no_refetch_is_in_flight() {
    let bus = Bus::new();
    let answers = Answers::default();
    let from = answers.clone();
    let started =
        Replica::builder(|value: &i64| Ok::<_, String>(*value)).start_refetching(&bus, "key", move || from.begin());
    let (replica, refetcher) = block_on(started).unwrap();
    block_on(replica.when_idle());
    replica.refetch();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut idle = pin!(replica.when_idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let refetching = thread::spawn(move || block_on(refetcher));
    while answers.begun() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(idle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    answers.give(Ok(Some(Update::new(3, 30))));
    block_on(idle.as_mut());
    assert_eq!(replica.get().as_deref(), Some(&30));
    replica.dispose();
    refetching.join().unwrap();
}
