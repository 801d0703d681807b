//! Projections: folded before an append returns, or following; replaced; waited for.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use annals::sourcing::{Event, Passed, ProjectError, Projected, Projection, projection, projection_from};
use annals::store::block_on;
use annals::{Envelope, Item, Log, Message, Position, Query};

use crate::bank::Moved;

const LONG: Duration = Duration::from_secs(30);

/// What is in each account, and how many envelopes there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Balances {
    cents: BTreeMap<String, u64>,
    folded: u64,
}

impl Projection for Balances {
    type Event = Moved;

    fn query() -> Query {
        Query::all().or(Item::new().category("account").unwrap())
    }

    fn apply(&mut self, event: &Moved, envelope: &Envelope) {
        self.folded += 1;
        let cents = self.cents.entry(envelope.stream().to_owned()).or_default();
        match event {
            Moved::Deposited(more) => *cents += more,
            Moved::Withdrawn { cents: less, .. } => *cents -= less,
            Moved::Closed => {}
        }
    }
}

fn deposit(log: &Log, stream: &str, cents: u64) -> Position {
    log.append(stream, Moved::Deposited(cents).message().unwrap()).unwrap().position
}

fn of(balances: &Projected<Balances>, stream: &str) -> u64 {
    balances.state().cents.get(stream).copied().unwrap_or(0)
}

/// What is appended is in the state when the append returns, the past as well; what is not selected passes, too.
#[test]
fn an_inline_projection_is_as_far_as_the_log() {
    let log = Log::new();
    deposit(&log, "account-a", 5);
    let (balances, projector) = projection::<Balances>();
    assert_eq!((balances.position(), of(&balances, "account-a")), (Position::NONE, 0));
    let subscription = projector.inline(&log).unwrap();
    assert_eq!((balances.position(), of(&balances, "account-a")), (Position::new(1), 5));
    let kept = balances.state();
    for n in 1..=10u64 {
        deposit(&log, "account-a", 1);
        let other = deposit(&log, "other", 1);
        assert_eq!((balances.position(), of(&balances, "account-a")), (other, 5 + n));
    }
    log.append("account-a", Message::event("Painted", "").unwrap()).unwrap();
    assert_eq!((balances.position(), balances.state().folded), (log.end(), 11));
    assert_eq!(kept.cents["account-a"], 5, "what somebody has stays");
    drop(subscription);
    deposit(&log, "account-a", 1);
    assert_eq!(of(&balances, "account-a"), 15, "nobody folds any more");
}

/// An event that cannot be decoded parks it there, before the event; it can be skipped.
#[test]
fn an_inline_projection_parks_at_what_it_cannot_read() {
    let log = Log::new();
    let (balances, projector) = projection::<Balances>();
    let subscription = projector.inline(&log).unwrap();
    deposit(&log, "account-a", 1);
    let broken = log.append("account-a", Message::event("Deposited", "short").unwrap()).unwrap();
    assert_eq!(broken.failures.len(), 1);
    assert!(subscription.is_parked());
    deposit(&log, "account-a", 1);
    assert_eq!((of(&balances, "account-a"), balances.position()), (1, Position::new(1)));
    subscription.skip();
    assert_eq!((of(&balances, "account-a"), balances.position()), (2, Position::new(3)));
}

/// The same definition, following on a thread of its own: it comes to the same, and whoever waits for a position reads what was
/// written up to it.
#[test]
fn a_following_projection_gets_there() {
    let log = Log::new();
    for n in 0..1_000 {
        deposit(&log, ["account-a", "account-b", "other"][n % 3], 1);
    }
    let (inline, projector) = projection::<Balances>();
    let _subscription = projector.inline(&log).unwrap();
    let (balances, mut projector) = projection::<Balances>();
    let follows = {
        let log = log.clone();
        thread::spawn(move || block_on(projector.follow(&log)).unwrap())
    };
    for n in 0..500u64 {
        let position = deposit(&log, "account-a", 1);
        if n % 100 == 0 {
            assert!(balances.wait_for(position, LONG));
            assert!(of(&balances, "account-a") > 334 + n);
            block_on(balances.passed(position));
        }
    }
    log.close();
    follows.join().unwrap();
    assert_eq!(balances.at(), inline.at());
    assert_eq!(balances.position(), log.end());
}

/// State and position are of one publication.
#[test]
fn state_and_position_belong_together() {
    let log = Log::new();
    let (balances, projector) = projection::<Balances>();
    let _subscription = projector.inline(&log).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (state, position) = balances.at();
                assert_eq!(state.folded, position.get());
            }
        });
        for _ in 0..5_000 {
            deposit(&log, "account-a", 1);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_follower_stops_at_what_it_cannot_read_and_begins_there_again() {
    let log = Log::new();
    deposit(&log, "account-a", 1);
    log.append("account-a", Message::event("Deposited", "short").unwrap()).unwrap();
    let (balances, mut projector) = projection::<Balances>();
    for _ in 0..2 {
        let error = block_on(projector.follow(&log)).unwrap_err();
        assert!(matches!(&error, ProjectError::Decode(failure) if failure.position == 2), "{error}");
        assert_eq!((of(&balances, "account-a"), balances.position()), (1, Position::new(1)));
    }
}

#[test]
fn a_follower_misses_what_was_removed() {
    let log = Log::builder().segment_slots(2).build().unwrap();
    for _ in 0..4 {
        deposit(&log, "account-a", 1);
    }
    log.truncate_before(4);
    let error = block_on(projection::<Balances>().1.follow(&log)).unwrap_err();
    assert!(matches!(&error, ProjectError::Removed { missed: 3, .. }), "{error}");
    assert_eq!(error.to_string(), "3 envelopes after position 0 were removed before they were folded");
    let before = Balances { cents: BTreeMap::from([("account-a".to_owned(), 3)]), folded: 3 };
    let (balances, projector) = projection_from(before, 3);
    let _subscription = projector.inline(&log).unwrap();
    assert_eq!((of(&balances, "account-a"), balances.position()), (4, Position::new(4)));
}

fn poll(future: &mut Passed<Balances>, waker: &Waker) -> bool {
    matches!(pin!(future).poll(&mut Context::from_waker(waker)), Poll::Ready(()))
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A fresh one is built while the old one serves; then every handle reads the fresh one, and who waits for a position waits
/// for it there.
#[test]
fn one_is_built_anew_while_the_old_one_serves() {
    let log = Log::new();
    let (balances, projector) = projection::<Balances>();
    let (handle, old) = (balances.clone(), projector.inline(&log).unwrap());
    deposit(&log, "account-a", 1);
    let (fresh, projector) = projection::<Balances>();
    let _new = projector.inline(&log).unwrap();
    old.close();
    let position = deposit(&log, "account-a", 1);
    let mut waits = balances.passed(position);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(!poll(&mut waits, &waker), "the old one has ended");
    assert!(!woken.0.load(Ordering::Relaxed));
    let blocked = {
        let balances = balances.clone();
        thread::spawn(move || balances.wait_for(position, LONG))
    };
    balances.replace(&fresh);
    assert!(woken.0.load(Ordering::Relaxed));
    assert!(poll(&mut waits, &waker));
    assert!(blocked.join().unwrap());
    assert_eq!((of(&handle, "account-a"), handle.position()), (2, position));
}

/// Whoever waits is woken by the publication that he waits for; or by a replacement, and waits on there.
#[test]
fn who_waits_is_woken() {
    let log = Log::new();
    let (balances, projector) = projection::<Balances>();
    let _subscription = projector.inline(&log).unwrap();
    let waits = {
        let balances = balances.clone();
        thread::spawn(move || block_on(balances.passed(3)))
    };
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(5));
        deposit(&log, "account-a", 1);
    }
    waits.join().unwrap();
    assert!(!balances.wait_for(4, Duration::from_millis(5)), "that is not there yet");
}
