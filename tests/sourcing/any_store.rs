//! Everything here over stores that are not the log: one that promises everything, and one that promises as little as it may,
//! whose positions go by tens.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use annals::sourcing::{
    Aggregate, Aggregates, Consistency, Event, NewEvent, Projection, Service, StoreCheckpoints, projection,
};
use annals::store::{EventStore, block_on};
use annals::{AppendOptions, Envelope, Message, Position, Query};

use super::bank::Moved;
use super::service::{Error, Seen};

#[allow(dead_code, clippy::pedantic, reason = "the suite of stores uses the rest, and is read, not called")]
#[path = "../store/shelf.rs"]
mod shelf;
use shelf::Shelf;

#[derive(Clone, Default)]
struct Till(u64);

impl Aggregate for Till {
    type Event = Moved;
    const CATEGORY: &'static str = "till";
    fn apply(&mut self, event: &Moved) {
        if let Moved::Deposited(cents) = event {
            self.0 += cents;
        }
    }
}

impl Projection for Till {
    type Event = Moved;
    fn query() -> Query {
        Query::category("till").unwrap()
    }
    fn apply(&mut self, event: &Moved, _: &Envelope) {
        Aggregate::apply(self, event);
    }
}

fn each(test: impl Fn(Arc<Shelf>)) {
    test(Arc::new(Shelf::new()));
    test(Arc::new(Shelf::lean()));
}

/// Four threads decide on one aggregate, a hundred times each: nothing is lost, and the past is as it was.
#[test]
fn decisions_stand() {
    each(|store| {
        let tills = Aggregates::<Till, _>::shared(store).snapshots(10, 4).attempts(u32::MAX);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        block_on(tills.decide("1", |till| Ok::<_, ()>([Moved::Deposited(till.0 % 7 + 1)]))).unwrap();
                    }
                });
            }
        });
        let till = block_on(tills.load("1")).unwrap();
        let (mut cents, mut past) = (0, Vec::new());
        for _ in 0..400 {
            cents += cents % 7 + 1;
            past.push(cents);
        }
        assert_eq!((till.state.0, till.revision.unwrap().get()), (cents, 399));
        assert_eq!(block_on(tills.load_at("1", annals::Revision::new(42))).unwrap().state.0, past[42]);
    });
}

/// A projection follows while the store grows, and can be waited for.
#[test]
fn a_projection_follows() {
    each(|store| {
        let (sums, mut projector) = projection::<Till>();
        thread::scope(|scope| {
            let following = scope.spawn(|| block_on(projector.follow(&*store)));
            let mut end = Position::NONE;
            for n in 0..50 {
                let stream = if n % 2 == 0 { "till-1" } else { "other-1" };
                let event = Moved::Deposited(n);
                end = block_on(store.append(stream, event.message().unwrap(), AppendOptions::default()))
                    .unwrap()
                    .position;
            }
            assert!(sums.wait_for(end, Duration::from_secs(30)));
            assert_eq!((sums.state().0, sums.position()), ((0..50).step_by(2).sum(), end));
            block_on(store.close());
            following.join().unwrap().unwrap();
        });
    });
}

/// A service handles what is dispatched, parks what fails, replays it, and goes on after a restart.
#[test]
fn a_service_goes_on() {
    each(|store| {
        let make = |seen: &Seen, fails: bool| {
            let noted = seen.clone();
            let builder = Service::shared(store.clone()).handler("h", ["A", "B"], move |envelope: Envelope| {
                let fails = fails && envelope.name() == "B";
                if !fails {
                    noted.note(&envelope);
                }
                async move { if fails { Err(Error::from("no")) } else { Ok(()) } }
            });
            builder.checkpoints(StoreCheckpoints::new(store.clone(), "checkpoint"), 1).build().unwrap()
        };
        let event = |name: &'static str| NewEvent::new("s", Message::event(name, "").unwrap());
        let (before, after) = (Seen::default(), Seen::default());
        let first = make(&before, true);
        let a = block_on(first.dispatch(event("A"), Consistency::Strong)).unwrap().position.get();
        block_on(first.dispatch(event("B"), Consistency::Strong)).unwrap_err();
        let b = first.parked("h").unwrap()[0].position().get();
        block_on(first.close());
        let late = block_on(store.append("s", event("A").message, AppendOptions::default())).unwrap().position;

        let second = make(&after, false);
        assert!(block_on(second.handled(late)).unwrap().is_empty());
        assert!(block_on(second.replay("h")).unwrap().is_empty());
        assert_eq!((before.all(), after.all()), (vec![a], vec![late.get(), b]));
    });
}
