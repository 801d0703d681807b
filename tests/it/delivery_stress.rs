//! Many threads append while subscriptions come and go: nothing is lost, nothing comes twice, nothing out of order
//! (L9 to L11, L13 to L15). Runs for about a second; `ANNALS_STRESS_SECONDS` makes it longer, in rounds of two seconds with a
//! log each: a log keeps all that is appended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use annals::{AppendOptions, Envelope, Followed, Log, Message};

use super::stress::until;

const STREAMS: [&str; 3] = ["a", "b", "c"];
const APPENDERS: u64 = 8;
/// Appenders stop here, each one envelope too late at most.
const MOST: usize = 1 << 22;
const ROUND: Duration = Duration::from_secs(2);

/// Rounds until the time is over; each is told when it has to end.
fn rounds(mut round: impl FnMut(Instant)) {
    let until = until();
    while Instant::now() < until {
        round(until.min(Instant::now() + ROUND));
    }
}

/// For each index, whether an append that waits for its delivery has returned.
struct Returned(Vec<AtomicBool>);

impl Returned {
    fn new() -> Self {
        Self((0..MOST).map(|_| AtomicBool::new(false)).collect())
    }

    fn set(&self, position: u64) {
        if let Some(place) = self.0.get(usize::try_from(position).unwrap()) {
            place.store(true, Ordering::Release);
        }
    }

    /// All positions of a range whose appends have returned by now.
    fn of(&self, range: std::ops::Range<u64>) -> Vec<u64> {
        range
            .filter(|p| self.0.get(usize::try_from(*p).unwrap()).is_some_and(|it| it.load(Ordering::Acquire)))
            .collect()
    }
}

/// Positions in the order in which a handler got them. Without a lock: ThreadSanitizer does not see those of the standard
/// library, and would not see past them either.
struct Got {
    positions: Box<[AtomicU64]>,
    len: AtomicUsize,
}

impl Got {
    fn new(most: usize) -> Arc<Self> {
        let positions = (0..most).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { positions, len: AtomicUsize::new(0) })
    }

    fn push(&self, position: u64) {
        let place = self.len.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.positions.get(place) {
            place.store(position, Ordering::Relaxed);
        }
    }

    /// None when there were more than there is room for.
    fn take(&self) -> Option<Vec<u64>> {
        let got = self.positions.get(..self.len.load(Ordering::Relaxed))?;
        Some(got.iter().map(|position| position.load(Ordering::Relaxed)).collect())
    }
}

/// A random number below `below`, from a generator that is good enough to mix things up.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn append_for_a_while(log: &Log, returned: &Returned, seed: u64, until: Instant) {
    let mut dice = Dice(seed);
    while Instant::now() < until && log.end().get() < MOST as u64 {
        let stream = STREAMS[usize::try_from(dice.below(3)).unwrap()];
        let message = Message::event("E", "").unwrap();
        if dice.below(16) == 0 {
            log.append_with(stream, message, AppendOptions::new().stored()).unwrap();
        } else {
            returned.set(log.append(stream, message).unwrap().position.get());
        }
    }
}

/// One subscription's life. Panics, and so fails the test, when it got anything wrong.
fn subscribe_for_a_while(log: &Log, returned: &Returned, dice: &mut Dice) -> Arc<AtomicBool> {
    let got = Got::new(1 << 17);
    let closed = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicU64::new(0));
    let (sequential, panics) = (dice.below(2) == 0, dice.below(8) == 0);
    let stream = STREAMS.get(usize::try_from(dice.below(6)).unwrap()).map(|id| log.stream(id).unwrap());
    let bad = Arc::new(AtomicBool::new(false));
    let (inside, over, at_once, wrong) = (got.clone(), closed.clone(), running.clone(), bad.clone());
    let handler = move |envelope: &Envelope| {
        // A panic in here would stay here: what is wrong is told to the test.
        let alone = at_once.fetch_add(1, Ordering::AcqRel) == 0 || !sequential;
        if !alone || over.load(Ordering::Acquire) {
            wrong.store(true, Ordering::Release);
        }
        inside.push(envelope.position().get());
        at_once.fetch_sub(1, Ordering::AcqRel);
        if panics && envelope.position().get().is_multiple_of(100) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    };
    let feed = stream.as_ref().map_or_else(|| log.feed(), |stream| stream.feed());
    let before = log.end().get();
    let past = dice.below(4) == 0;
    let feed = if past { feed.after(before.saturating_sub(50)) } else { feed };
    let subscription = if sequential { feed.subscribe(handler) } else { feed.observe(handler) }.unwrap();
    let after = log.end().get();
    std::thread::sleep(Duration::from_micros(dice.below(5000)));
    let must = returned.of(after + 1..log.end().get() + 1);
    subscription.close();
    closed.store(true, Ordering::Release);

    assert!(!bad.load(Ordering::Acquire), "two at a time");
    // One that lived on because its thread had to wait for a processor may have got more: it was looked at as it came.
    let Some(mut got) = got.take() else { return bad };
    assert!(!sequential || got.is_sorted_by(|a, b| a < b), "in order, each once");
    got.sort_unstable();
    assert!(got.is_sorted_by(|a, b| a < b), "each once");
    let first = got.first().copied().unwrap_or(u64::MAX);
    assert!(first > if past { before.saturating_sub(50) } else { before }, "nothing from before");
    let is_its =
        |position: u64| stream.as_ref().is_none_or(|stream| log.get(position).unwrap().stream() == stream.id());
    for position in must.into_iter().filter(|position| is_its(*position)) {
        assert!(got.binary_search(&position).is_ok(), "{position} was appended and is missing");
    }
    if (sequential || past) && !got.is_empty() {
        // No hole: for a sequential one anywhere, for an observer in the past.
        let until = if sequential { got[got.len() - 1] } else { before };
        let from = if past { before.saturating_sub(50) + 1 } else { first };
        for position in (from..=until).filter(|position| is_its(*position)) {
            assert!(got.binary_search(&position).is_ok(), "{position} is missing between {from} and {until}");
        }
    }
    // Set later on, if the handler is called after the close.
    bad
}

#[test]
fn subscriptions_come_and_go_while_eight_threads_append() {
    let (mut envelopes, mut subscriptions) = (0, 0);
    rounds(|until| {
        let (came, subscribed) = come_and_go(until);
        envelopes += came;
        subscriptions += subscribed;
    });
    println!("{envelopes} envelopes, {subscriptions} subscriptions");
}

/// One round; how many envelopes and subscriptions it had.
fn come_and_go(until: Instant) -> (u64, usize) {
    let log = Log::builder().no_clock().segment_slots(64).build().unwrap();
    let returned = Returned::new();
    let all = Got::new(MOST + APPENDERS as usize);
    let inside = all.clone();
    // Not atomic: the subscription alone puts its accesses in order.
    let mut last = 0;
    let out_of_order = Arc::new(AtomicBool::new(false));
    let wrong = out_of_order.clone();
    let faithful = log
        .feed()
        .named("faithful")
        .subscribe(move |envelope: &Envelope| {
            if envelope.position() != last + 1 {
                wrong.store(true, Ordering::Relaxed);
            }
            last = envelope.position().get();
            inside.push(last);
        })
        .unwrap();
    let mut follower = log.feed().from_beginning().follow();
    let late = std::thread::scope(|scope| {
        let (log, returned) = (&log, &returned);
        let appenders: Vec<_> =
            (0..APPENDERS).map(|seed| scope.spawn(move || append_for_a_while(log, returned, seed, until))).collect();
        let subscribers: Vec<_> = (100..104)
            .map(|seed| {
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    let mut late = Vec::new();
                    while Instant::now() < until {
                        late.push(subscribe_for_a_while(log, returned, &mut dice));
                    }
                    late
                })
            })
            .collect();
        let follows = scope.spawn(|| {
            let mut next = 1;
            for item in follower.items() {
                if let Followed::Envelope(envelope) = item {
                    assert_eq!(envelope.position(), next, "a follower meets everything in order");
                    next += 1;
                }
            }
        });
        appenders.into_iter().for_each(|thread| thread.join().unwrap());
        let late: Vec<_> = subscribers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        log.wait_for("faithful", log.end(), Duration::from_secs(60)).unwrap();
        // Ends the follower.
        log.close();
        follows.join().unwrap();
        late
    });
    assert!(!late.iter().any(|called| called.load(Ordering::Acquire)), "called after it was closed");
    let end = log.end().get();
    assert!(!out_of_order.load(Ordering::Relaxed));
    assert_eq!(all.take().expect("room for all"), (1..=end).collect::<Vec<_>>());
    assert_eq!(faithful.position().unwrap().get(), end);
    drop(faithful);
    assert_eq!(log.subscriber_count(), 0);
    (end, late.len())
}

thread_local! {
    static CALLS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// No unlucky appender delivers for everybody else for ever: in one append it calls a handler for what was not delivered when
/// it began, up to its own envelope, and for nothing after.
#[test]
fn an_append_delivers_up_to_its_own_envelope_and_no_further() {
    let mut most = 0;
    rounds(|until| most = most.max(most_of_one_append(until)));
    println!("most in one append: {most}");
}

/// One round; how many calls one append made at most.
fn most_of_one_append(until: Instant) -> u64 {
    let log = Log::builder().no_clock().build().unwrap();
    let subscription = log.subscribe(|_: &Envelope| CALLS.set(CALLS.get() + 1)).unwrap();
    let threads: Vec<_> = std::thread::scope(|scope| {
        let (log, subscription) = (&log, &subscription);
        let work = move || {
            let mut most = 0;
            while Instant::now() < until {
                let (passed, before) = (subscription.position().unwrap().get(), CALLS.get());
                let own = log.append("s", Message::event("E", "").unwrap()).unwrap().position.get();
                let calls = CALLS.get() - before;
                assert!(calls <= own - passed, "{calls} calls, from {passed} to {own}");
                most = most.max(calls);
            }
            (most, CALLS.get())
        };
        let threads: Vec<_> = (0..APPENDERS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(threads.iter().map(|(_, calls)| calls).sum::<u64>(), log.end().get(), "each delivered once");
    threads.iter().map(|(most, _)| *most).max().unwrap()
}
