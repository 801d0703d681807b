//! Services that begin, handle and end; projections that follow and are replaced; in random schedules.
#![cfg(annals_shuttle)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use annals::sourcing::{
    Checkpoint, Checkpoints, Consistency, DispatchError, Event, NewEvent, Projected, Projection, Projector, Recorded,
    Retry, Service, StartError, projection,
};
use annals::store::{BackendError, block_on};
use annals::{Envelope, Log, Message, Name, Payload};
use annals_shuttle::explore;
use shuttle::thread;

/// Counts loads. No scheduling points of its own.
#[derive(Clone, Default)]
struct Loads(Arc<AtomicU32>);

impl Checkpoints for Loads {
    async fn load(&self, _: &str) -> Result<Option<Checkpoint>, BackendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
        Ok(None)
    }

    async fn save(&self, _: &str, _: &Checkpoint) -> Result<(), BackendError> {
        Ok(())
    }
}

type Seen = Arc<Mutex<Vec<u64>>>;

/// A service whose handler fails on every event once; it notes what it handles. "Bad" it never handles.
fn service(loads: &Loads, seen: &Seen) -> Service<Log, Loads> {
    let (noted, calls) = (seen.clone(), AtomicU32::new(0));
    Service::builder(Log::builder().segment_slots(4).no_clock().build().unwrap())
        .retry(Retry::times(2))
        .handler("h", ["Good", "Bad"], move |envelope: Envelope| {
            let fails = envelope.name() == "Bad" || calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
            if !fails {
                noted.lock().unwrap().push(envelope.position().get());
            }
            async move {
                thread::yield_now();
                if fails { Err("not yet") } else { Ok(()) }
            }
        })
        .checkpoints(loads.clone(), 1)
        .build()
        .unwrap()
}

fn dispatch(service: &Service<Log, Loads>, name: &'static str) -> Result<u64, DispatchError> {
    let event = NewEvent::new("s", Message::event(name, "").unwrap());
    block_on(service.dispatch(event, Consistency::Strong)).map(|appended| appended.position.get())
}

/// Three threads use it first, two of them well and one badly, and one replays: it begins once, each event is handled once, in
/// order, before its caller goes on, and each failure reaches who caused it.
#[test]
fn a_service_handles_what_it_is_given() {
    explore("a_service_handles_what_it_is_given", 1_000, || {
        let (loads, seen) = (Loads::default(), Seen::default());
        let service = service(&loads, &seen);
        let good = [0, 1].map(|_| {
            let (service, seen) = (service.clone(), seen.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let position = dispatch(&service, "Good").unwrap();
                    assert!(seen.lock().unwrap().contains(&position), "handled before the caller goes on");
                }
            })
        });
        let bad = {
            let service = service.clone();
            thread::spawn(move || {
                let DispatchError::Unhandled { appended, failures, .. } = dispatch(&service, "Bad").unwrap_err() else {
                    panic!("stored, and not handled");
                };
                assert_eq!((failures.len(), failures[0].position()), (1, appended.position));
                let parked = block_on(service.replay("h")).unwrap();
                assert_eq!((parked.len(), parked[0].calls), (1, 4), "it fails again");
            })
        };
        good.into_iter().for_each(|thread| thread.join().unwrap());
        bad.join().unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!((loads.0.load(Ordering::Relaxed), seen.len()), (1, 4));
        assert!(seen.is_sorted(), "{seen:?}");
    });
}

/// Three threads dispatch, and one of them closes then: whoever is told that all is well was handled, after the close nothing is, nobody
/// waits for ever, and the handler's thread ends.
#[test]
fn a_service_is_closed() {
    explore("a_service_is_closed", 1_000, || {
        let (loads, seen) = (Loads::default(), Seen::default());
        let service = service(&loads, &seen);
        let threads = [0, 1].map(|_| {
            let (service, seen) = (service.clone(), seen.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    match dispatch(&service, "Good") {
                        Ok(position) => assert!(seen.lock().unwrap().contains(&position)),
                        Err(DispatchError::Start(StartError::Closed)) => {}
                        Err(DispatchError::Unhandled { failures, .. }) => {
                            assert!(failures[0].to_string().contains("the service was closed"), "{failures:?}");
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        });
        let _ = dispatch(&service, "Good");
        block_on(service.close());
        let handled = seen.lock().unwrap().len();
        thread::yield_now();
        assert_eq!(seen.lock().unwrap().len(), handled, "nothing after the close");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(seen.lock().unwrap().len(), handled, "nothing after the close");
    });
}

struct Happened;

impl Event for Happened {
    fn name(&self) -> Name<'static> {
        Name::from_static("Happened")
    }

    fn encode(&self) -> Result<Payload<'_>, BackendError> {
        Ok("".into())
    }

    fn decode(_: Recorded<'_>) -> Result<Option<Self>, BackendError> {
        Ok(Some(Self))
    }
}

/// How many events there were: as many as its position says.
#[derive(Clone, Default)]
struct Count(u64);

impl Projection for Count {
    type Event = Happened;

    fn apply(&mut self, _: &Happened, _: &Envelope) {
        self.0 += 1;
    }
}

fn following(log: &Log, mut projector: Projector<Count>) -> thread::JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || block_on(projector.follow(&log)).unwrap())
}

/// One who appends, a projection that follows, another that is built beside it and put in its place, one who reads and one who waits
/// for the end: state and position belong together, the reader never goes back, and whoever waits is woken, whichever serves.
#[test]
fn a_projection_is_replaced() {
    explore("a_projection_is_replaced", 1_000, || {
        let log = Log::builder().segment_slots(4).no_clock().build().unwrap();
        let (counts, old): (Projected<Count>, _) = projection();
        let (fresh, new) = projection();
        let mut threads = vec![following(&log, old), following(&log, new)];
        let (appends, reads, waits) = (log.clone(), counts.clone(), counts.clone());
        let appender = thread::spawn(move || {
            for _ in 0..4 {
                appends.append("s", Happened.message().unwrap()).unwrap();
            }
        });
        threads.push(thread::spawn(move || {
            let mut last = 0;
            for _ in 0..4 {
                let (state, position) = reads.at();
                assert_eq!(state.0, position.get(), "of one instant");
                assert!(position.get() >= last, "{position} after {last}");
                last = position.get();
            }
        }));
        threads.push(thread::spawn(move || {
            block_on(waits.passed(4));
            assert_eq!(waits.state().0, 4);
        }));
        // Until it is as far as the one that serves can be: so nobody goes back.
        block_on(fresh.passed(4));
        counts.replace(&fresh);
        appender.join().unwrap();
        block_on(counts.passed(4));
        log.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
