//! Events are stored, then handled: order, failures, retries, parking.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use annals::sourcing::{Consistency, DispatchError, InvalidService, NewEvent, Retry, Service, ServiceBuilder};
use annals::store::{AppendFailure, EventStore, Select, block_on, iterate};
use annals::{Envelope, Expected, HandlerError, Log, Message};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

pub fn event(stream: &str, name: &str) -> NewEvent<'static> {
    NewEvent::new(stream.to_owned(), Message::event(name.to_owned(), "").unwrap())
}

pub fn dispatch(service: &Service<Log>, stream: &str, name: &str) -> Result<u64, DispatchError> {
    block_on(service.dispatch(event(stream, name), Consistency::Strong)).map(|appended| appended.position.get())
}

/// What was handled: positions, in order.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<u64>>>);

impl Seen {
    pub fn note(&self, envelope: &Envelope) {
        self.0.lock().unwrap().push(envelope.position().get());
    }

    pub fn all(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

/// A handler that notes what it gets.
pub fn noting(builder: ServiceBuilder<Log>, name: &str, events: &[&str], seen: &Seen) -> ServiceBuilder<Log> {
    let seen = seen.clone();
    builder.handler(name, events.iter().copied(), move |envelope: Envelope| {
        seen.note(&envelope);
        async { Ok::<_, Error>(()) }
    })
}

/// Each handler gets the events of its names, several handlers the same, and an event that nobody is for is stored all the same.
#[test]
fn handlers_match_by_name() {
    let (first, second) = (Seen::default(), Seen::default());
    let builder = noting(Service::builder(Log::new()), "first", &["A", "B"], &first);
    let service = noting(builder, "second", &["B"], &second).build().unwrap();
    for (name, position) in [("A", 1), ("B", 2), ("C", 3), ("B", 4)] {
        assert_eq!(dispatch(&service, "s", name).unwrap(), position);
    }
    assert_eq!((first.all(), second.all()), (vec![1, 2, 4], vec![2, 4]));
    assert_eq!(service.store().end().get(), 4);
}

/// A handler that reads the store finds the event that it handles.
#[test]
fn an_event_is_stored_before_it_is_handled() {
    let log = Log::new();
    let store = log.clone();
    let service = Service::builder(log)
        .handler("reader", ["A"], move |envelope: Envelope| {
            let found = iterate(EventStore::read(&store, Select::all().from(envelope.position()))).count();
            async move { if found == 1 { Ok(()) } else { Err(format!("{found} found")) } }
        })
        .build()
        .unwrap();
    assert_eq!(dispatch(&service, "s", "A").unwrap(), 1);
}

/// A store that refuses: the caller gets its error, in both modes, and no handler is called.
#[test]
fn what_is_not_stored_is_not_handled() {
    let seen = Seen::default();
    let service = noting(Service::builder(Log::new()), "h", &["A"], &seen).build().unwrap();
    dispatch(&service, "account-7", "A").unwrap();
    for consistency in [Consistency::Eventual, Consistency::Strong] {
        let second = event("account-7", "A").expected(Expected::NoStream);
        let refused = block_on(service.dispatch(second, consistency)).unwrap_err();
        let DispatchError::Store(AppendFailure::Conflict(conflict)) = &refused else { panic!("{refused}") };
        assert_eq!(&*conflict.stream, "account-7", "the error names the aggregate");
    }
    let all = dispatch(&service, "account-7", "A").unwrap();
    assert_eq!((all, seen.all()), (2, vec![1, 2]));
}

/// An eventual dispatch is ready while the handler has not begun to handle; a strong one is not.
#[test]
fn eventual_callers_do_not_wait() {
    let (open, gate) = mpsc::channel::<()>();
    let (gate, seen) = (Mutex::new(gate), Seen::default());
    let noted = seen.clone();
    let service = Service::builder(Log::new())
        .handler("slow", ["A"], move |envelope: Envelope| {
            gate.lock().unwrap().recv().unwrap();
            noted.note(&envelope);
            async { Ok::<_, Error>(()) }
        })
        .build()
        .unwrap();
    let appended = block_on(service.dispatch(event("s", "A"), Consistency::Eventual)).unwrap();
    assert_eq!(seen.all(), [0; 0]);
    open.send(()).unwrap();
    assert!(block_on(service.handled(appended.position)).unwrap().is_empty());
    assert_eq!(seen.all(), [1]);
}

/// Two handlers of one event wait for each other: so they run at the same time.
#[test]
fn handlers_do_not_wait_for_each_other() {
    let both = Arc::new(std::sync::Barrier::new(2));
    let meets = |builder: ServiceBuilder<Log>, name: &str| {
        let both = both.clone();
        builder.handler(name, ["A"], move |_| {
            both.wait();
            async { Ok::<_, Error>(()) }
        })
    };
    let service = meets(meets(Service::builder(Log::new()), "one"), "other").build().unwrap();
    assert_eq!(dispatch(&service, "s", "A").unwrap(), 1);
}

/// Four threads dispatch at once: a handler gets every event once, in the order of the store, one at a time.
#[test]
fn events_come_in_order_one_at_a_time() {
    let (seen, inside) = (Seen::default(), Arc::new(AtomicU32::new(0)));
    let (noted, at) = (seen.clone(), inside.clone());
    let service = Service::builder(Log::new())
        .handler("h", ["A"], move |envelope: Envelope| {
            let (noted, at) = (noted.clone(), at.clone());
            async move {
                let others = at.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                noted.note(&envelope);
                at.fetch_sub(1, Ordering::SeqCst);
                if others == 0 { Ok(()) } else { Err("called while it runs") }
            }
        })
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let service = &service;
            scope.spawn(move || (0..50).for_each(|_| _ = dispatch(service, &format!("s-{thread}"), "A").unwrap()));
        }
    });
    assert_eq!(seen.all(), (1..=200).collect::<Vec<_>>());
}

/// Of five handlers three fail, each in its way: the caller gets the failure of each, the others ran, the event is stored, and
/// the failures are parked.
#[test]
fn strong_callers_get_every_failure() {
    let seen = Seen::default();
    let builder = noting(Service::builder(Log::new()), "good", &["A"], &seen)
        .handler("bad", ["A"], |_| async { Err::<(), _>("as planned") })
        .handler("panics", ["A"], |_| async { if true { panic!("at once") } else { Ok::<_, Error>(()) } })
        .handler("panics early", ["A"], |_| -> std::future::Ready<Result<(), Error>> { panic!("before") });
    let service = noting(builder, "last", &["A"], &seen).build().unwrap();
    let failed = dispatch(&service, "s", "A").unwrap_err();
    let DispatchError::Unhandled { appended, failures, .. } = &failed else { panic!("{failed}") };
    assert_eq!((appended.position.get(), service.store().end().get(), seen.all()), (1, 1, vec![1, 1]));
    let by: Vec<_> = failures.iter().map(|failure| failure.subscription().unwrap()).collect();
    assert_eq!(by, ["bad", "panics", "panics early"]);
    assert!(matches!(failures[0].error(), HandlerError::Failed(error) if error.to_string() == "as planned"));
    assert!(matches!(failures[1].error(), HandlerError::Panicked(said) if &**said == "at once"));
    assert!(matches!(failures[2].error(), HandlerError::Panicked(said) if &**said == "before"));
    assert!(failed.to_string().starts_with("the event at position 1 was not handled: "), "{failed}");
    let parked: Vec<_> = service.status().iter().map(|handler| handler.parked).collect();
    assert_eq!(parked, [0, 1, 1, 1, 0]);
}

/// A handler that fails twice is called three times, after a pause each, before the caller is told that all is well.
#[test]
fn what_fails_is_tried_again() {
    let (calls, pauses) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, paused) = (calls.clone(), pauses.clone());
    let retry = Retry::times(3).pausing(move |before| {
        paused.lock().unwrap().push(before);
        async {}
    });
    let service = Service::builder(Log::new())
        .retry(retry)
        .handler("h", ["A"], move |_| {
            let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move { if call.is_multiple_of(3) { Ok(()) } else { Err(format!("call {call}")) } }
        })
        .build()
        .unwrap();
    assert_eq!(dispatch(&service, "s", "A").unwrap(), 1);
    let status = &service.status()[0];
    assert_eq!((calls.load(Ordering::Relaxed), pauses.lock().unwrap().clone()), (3, vec![1, 2]));
    assert_eq!((status.handled, status.retried, status.parked, status.position.get()), (1, 2, 0, 1));
}

/// A service whose handler fails on "Bad" until it is told otherwise.
fn moody(retry: Retry, builder: ServiceBuilder<Log>) -> (Service<Log>, Seen, Arc<AtomicU32>) {
    let (seen, fails) = (Seen::default(), Arc::new(AtomicU32::new(1)));
    let (noted, failing) = (seen.clone(), fails.clone());
    let service = builder.retry(retry).handler("h", ["Good", "Bad"], move |envelope: Envelope| {
        let fails = envelope.name() == "Bad" && failing.load(Ordering::SeqCst) == 1;
        if !fails {
            noted.note(&envelope);
        }
        async move { if fails { Err("not today") } else { Ok(()) } }
    });
    (service.build().unwrap(), seen, fails)
}

/// What is parked holds up nothing, is kept with its error, and is handled again when somebody asks.
#[test]
fn parked_events_can_be_replayed() {
    let (service, seen, fails) = moody(Retry::times(2), Service::builder(Log::new()));
    for name in ["Good", "Bad", "Good", "Bad"] {
        assert_eq!(dispatch(&service, "s", name).is_ok(), name == "Good");
    }
    assert_eq!(seen.all(), [1, 3]);
    let parked = |service: &Service<Log>| -> Vec<(u64, u32, String)> {
        let all = service.parked("h").unwrap();
        all.iter().map(|it| (it.position().get(), it.calls, it.failure.error().to_string())).collect()
    };
    let error = || "the handler failed: not today".to_owned();
    assert_eq!(parked(&service), [(2, 2, error()), (4, 2, error())]);

    let still = block_on(service.replay("h")).unwrap();
    assert_eq!(still.len(), 2, "it fails again");
    assert_eq!(parked(&service), [(2, 4, error()), (4, 4, error())]);

    fails.store(0, Ordering::SeqCst);
    assert!(block_on(service.replay("h")).unwrap().is_empty());
    assert_eq!(seen.all(), [1, 3, 2, 4]);
    let status = &service.status()[0];
    assert_eq!((status.handled, status.parked), (4, 0));
    assert!(block_on(service.replay("nobody")).is_err());
}

/// A parked event can be given up, once.
#[test]
fn parked_events_can_be_discarded() {
    let (service, ..) = moody(Retry::default(), Service::builder(Log::new()));
    dispatch(&service, "s", "Bad").unwrap_err();
    assert!(!service.discard("h", 2).unwrap());
    assert!(service.discard("h", 1).unwrap());
    assert!(!service.discard("h", 1).unwrap());
    assert!(service.parked("h").unwrap().is_empty());
    assert_eq!(service.discard("nobody", 1).unwrap_err().to_string(), r#"no handler named "nobody" is at work"#);
}

/// When as much is parked as may be, the handler goes no further: whoever waits is told, and others can still store.
#[test]
fn a_handler_stops_when_too_much_is_parked() {
    let (service, seen, fails) = moody(Retry::default(), Service::builder(Log::new()).parked_at_most(1));
    dispatch(&service, "s", "Bad").unwrap_err();
    let failed = dispatch(&service, "s", "Bad").unwrap_err().to_string();
    assert!(failed.contains("it does not go on: 1 events are parked"), "{failed}");
    fails.store(0, Ordering::SeqCst);
    dispatch(&service, "s", "Good").unwrap_err();
    assert_eq!((seen.all(), service.store().end().get()), (vec![], 3));
    let status = &service.status()[0];
    assert_eq!((status.position.get(), status.parked), (1, 1), "the event that did not fit is not passed");
    assert!(status.ended.is_some());
}

/// A parked event that was removed from the store cannot be handled any more, and says so; so do those that were never met.
#[test]
fn what_was_removed_is_told() {
    let (service, seen, fails) =
        moody(Retry::default(), Service::builder(Log::builder().segment_slots(2).build().unwrap()));
    dispatch(&service, "s", "Bad").unwrap_err();
    (0..6).for_each(|_| _ = dispatch(&service, "s", "Good").unwrap());
    fails.store(0, Ordering::SeqCst);
    service.store().truncate_before(5);
    let still = block_on(service.replay("h")).unwrap();
    assert!(matches!(still[0].failure.error(), HandlerError::Removed(1)), "{still:?}");

    let late = noting(Service::builder(service.store().clone()), "late", &["Good"], &seen).from_beginning();
    let before = seen.all().len();
    let late = late.build().unwrap();
    assert_eq!(dispatch(&late, "s", "Good").unwrap(), 8);
    let first = service.store().first().get();
    assert_eq!(seen.all()[before..].iter().filter(|position| **position < first).count(), 0);
}

/// A handler may dispatch, and what it dispatches comes after; it may not wait for handlers, and nothing is stored then.
#[test]
fn a_handler_may_dispatch() {
    let mine: Arc<Mutex<Option<Service<Log>>>> = Arc::default();
    let (own, seen) = (mine.clone(), Seen::default());
    let noted = seen.clone();
    let service = Service::builder(Log::new())
        .handler("h", ["A", "B"], move |envelope: Envelope| {
            let (service, noted) = (own.lock().unwrap().clone().unwrap(), noted.clone());
            async move {
                noted.note(&envelope);
                if envelope.name() == "A" {
                    let refused = service.dispatch(event("s", "B"), Consistency::Strong).await;
                    assert!(matches!(refused, Err(DispatchError::InsideHandler)));
                    assert!(matches!(service.handled(1).await, Err(DispatchError::InsideHandler)));
                    assert!(matches!(service.replay("h").await, Err(DispatchError::InsideHandler)));
                    service.dispatch(event("s", "B"), Consistency::Eventual).await?;
                }
                Ok::<_, DispatchError>(())
            }
        })
        .build()
        .unwrap();
    *mine.lock().unwrap() = Some(service.clone());
    assert_eq!(dispatch(&service, "s", "A").unwrap(), 1);
    assert!(block_on(service.handled(2)).unwrap().is_empty());
    assert_eq!(seen.all(), [1, 2]);
    mine.lock().unwrap().take();
}

/// Two handlers of one name, and names that no event can have, are told when the service is built.
#[test]
fn what_cannot_be_is_told_at_once() {
    let handler = |_| async { Ok::<_, Error>(()) };
    let twice = Service::builder(Log::new()).handler("h", ["A"], handler).handler("h", ["B"], handler);
    assert_eq!(twice.build().unwrap_err(), {
        let again = Service::builder(Log::new()).handler("h", ["C"], handler).handler("h", ["D"], handler);
        again.build().unwrap_err()
    });
    let nameless = Service::builder(Log::new()).handler("h", ["A", ""], handler).build().unwrap_err();
    assert!(
        matches!(&nameless, InvalidService::EventName { handler, event, .. } if &**handler == "h" && event.is_empty())
    );
}
