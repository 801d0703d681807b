//! Appenders, subscribers that stay, subscribers that come and go, and a follower, in random schedules.
#![cfg(annals_shuttle)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use annals::{Envelope, Feed, Followed, Log, Message, Subscription};
use annals_shuttle::explore;
use shuttle::thread::{self, JoinHandle};

const STREAMS: [&str; 2] = ["even", "odd"];

/// Positions in the order in which they came. What is not part of a scenario has no scheduling points: one thread runs at a
/// time, and nothing here is held where the schedule may change.
#[derive(Clone, Default)]
struct Positions(Arc<Mutex<Vec<u64>>>);

impl Positions {
    fn add(&self, position: u64) {
        self.0.lock().unwrap().push(position);
    }

    fn list(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

/// What a handler got, and whether it was called when it must not be. A panic in a handler would stay in the delivery: so
/// what is wrong is noted, and looked at afterwards.
#[derive(Clone, Default)]
struct Got {
    positions: Positions,
    running: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    wrong: Arc<AtomicBool>,
}

impl Got {
    /// Gives others their turn while it runs, so that a second call at once would show.
    fn handler(&self, alone: bool) -> impl Fn(&Envelope) + Send + Sync + 'static {
        let got = self.clone();
        move |envelope| {
            if got.closed.load(Ordering::Relaxed) || got.running.swap(alone, Ordering::Relaxed) {
                got.wrong.store(true, Ordering::Relaxed);
            }
            got.positions.add(envelope.position().get());
            thread::yield_now();
            if got.closed.load(Ordering::Relaxed) {
                got.wrong.store(true, Ordering::Relaxed);
            }
            got.running.store(false, Ordering::Relaxed);
        }
    }

    fn observe(&self, feed: Feed) -> Subscription {
        feed.observe(self.handler(false)).unwrap()
    }

    fn subscribe(&self, feed: Feed) -> Subscription {
        feed.subscribe(self.handler(true)).unwrap()
    }

    fn check(&self, what: &str) -> Vec<u64> {
        assert!(!self.wrong.load(Ordering::Relaxed), "{what}: two at a time, or after its close");
        self.positions.list()
    }
}

/// A thread that appends; what it has appended is `returned` when the append, and so all deliveries of it, returned.
fn appender(log: &Log, returned: &Positions, appends: usize) -> JoinHandle<()> {
    let (log, returned) = (log.clone(), returned.clone());
    thread::spawn(move || {
        for number in 0..appends {
            let message = Message::event("E", "").unwrap();
            returned.add(log.append(STREAMS[number % 2], message).unwrap().position.get());
        }
    })
}

/// One who comes, stays a while, and closes.
#[derive(Clone, Copy)]
struct Visit {
    sequential: bool,
    past: bool,
    of_stream: bool,
}

impl Visit {
    fn feed(self, log: &Log) -> Feed {
        let feed = if self.of_stream { log.stream(STREAMS[1]).unwrap().feed() } else { log.feed() };
        if self.past { feed.from_beginning() } else { feed }
    }

    fn pay(self, log: &Log, returned: &Positions) {
        let is_its = |position: &u64| !self.of_stream || log.get(*position).is_some_and(|it| it.stream() == STREAMS[1]);
        let (got, feed, before) = (Got::default(), self.feed(log), log.end().get());
        let subscription = if self.sequential { got.subscribe(feed) } else { got.observe(feed) };
        let after = if self.past { 0 } else { log.end().get() };
        thread::yield_now();
        let must: Vec<u64> = returned.list().into_iter().filter(|it| *it > after).filter(is_its).collect();
        subscription.close();
        got.closed.store(true, Ordering::Relaxed);

        let came = got.check("who came and went");
        assert!(!self.sequential || came.is_sorted_by(|a, b| a < b), "L10: in order, each once: {came:?}");
        let mut sorted = came;
        sorted.sort_unstable();
        assert!(sorted.is_sorted_by(|a, b| a < b), "L9: each once: {sorted:?}");
        assert!(sorted.iter().all(|position| is_its(position) && (self.past || *position > before)), "L9: {sorted:?}");
        assert!(must.iter().all(|position| sorted.contains(position)), "L11: {must:?} returned, {sorted:?} came");
        let first = if self.past { Some(1) } else { sorted.first().copied() };
        if let (true, Some(first), Some(last)) = (self.sequential, first, sorted.last()) {
            assert!((first..=*last).filter(is_its).eq(sorted.iter().copied()), "L10, L15: no hole in {sorted:?}");
        }
    }

    fn begin(self, log: &Log, returned: &Positions) -> JoinHandle<()> {
        let (log, returned) = (log.clone(), returned.clone());
        thread::spawn(move || (0..2).for_each(|_| self.pay(&log, &returned)))
    }
}

/// Follows from the beginning until the log is closed: all of it, in order.
fn follower(log: &Log) -> JoinHandle<Vec<u64>> {
    let mut follower = log.feed().from_beginning().follow();
    thread::spawn(move || {
        let envelopes = follower.items().filter_map(Followed::into_envelope);
        envelopes.map(|envelope| envelope.position().get()).collect()
    })
}

/// L9 to L11, L14 to L16: three appenders, a sequential subscriber and an observer that stay, two subscribers that come and go
/// twice each, a follower.
fn come_and_go(visits: [Visit; 2]) {
    let log = Log::builder().segment_slots(4).no_clock().build().unwrap();
    let (faithful, observer, returned) = (Got::default(), Got::default(), Positions::default());
    let subscriptions = [faithful.subscribe(log.feed()), observer.observe(log.feed())];
    let follower = follower(&log);
    let mut threads: Vec<_> = (0..3).map(|_| appender(&log, &returned, 2)).collect();
    threads.extend(visits.map(|visit| visit.begin(&log, &returned)));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    log.close();
    let all: Vec<u64> = (1..=6).collect();
    assert_eq!(follower.join().unwrap(), all, "L15, L16: a follower meets everything in order");
    assert_eq!(faithful.check("who stayed"), all, "L10: each once, in order");
    let mut observed = observer.check("who observed");
    observed.sort_unstable();
    assert_eq!(observed, all, "L9: each once");
    assert_eq!(log.metrics().failed, 0, "no handler failed");
    drop(subscriptions);
    assert_eq!(log.subscriber_count(), 0);
}

#[test]
fn subscribers_come_and_go() {
    let observer = Visit { sequential: false, past: false, of_stream: false };
    let subscriber = Visit { sequential: true, past: true, of_stream: false };
    explore("subscribers_come_and_go", 2_000, move || come_and_go([observer, subscriber]));
}

#[test]
fn subscribers_of_a_stream_come_and_go() {
    let observer = Visit { sequential: false, past: true, of_stream: true };
    let subscriber = Visit { sequential: true, past: false, of_stream: true };
    explore("subscribers_of_a_stream_come_and_go", 2_000, move || come_and_go([observer, subscriber]));
}
