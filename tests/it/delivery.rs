//! Delivery, rule by rule.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    AppendError, AppendOptions, Envelope, Followed, HandlerError, Log, Message, NothingYet, OnFailure, Query,
    SubscribeError, WaitError,
};

fn event(name: &'static str) -> Message<'static> {
    Message::event(name, "").unwrap()
}

type Seen = Arc<Mutex<Vec<u64>>>;

fn seen() -> (Seen, impl Fn(&Envelope) + Send + Sync + Clone + 'static) {
    let seen = Seen::default();
    let inside = seen.clone();
    (seen, move |envelope: &Envelope| inside.lock().unwrap().push(envelope.position().get()))
}

fn take(seen: &Seen) -> Vec<u64> {
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn an_observer_gets_what_is_appended_from_now_on_until_it_is_dropped() {
    let log = Log::new();
    log.append("s", event("A")).unwrap();
    let (got, handler) = seen();
    let subscription = log.observe(handler).unwrap();
    log.append("s", event("B")).unwrap();
    log.append("t", event("C")).unwrap();
    assert_eq!(take(&got), [2, 3]);
    drop(subscription);
    log.append("s", event("D")).unwrap();
    assert!(take(&got).is_empty());
}

#[test]
fn a_subscriber_gets_the_past_and_then_the_present() {
    let log = Log::new();
    for _ in 0..1000 {
        log.append("s", event("A")).unwrap();
    }
    let (got, handler) = seen();
    let _all = log.feed().from_beginning().subscribe(handler).unwrap();
    let (later, handler) = seen();
    let _later = log.feed().after(990).observe(handler).unwrap();
    log.append("t", event("B")).unwrap();
    assert_eq!(take(&got), (1..=1001).collect::<Vec<_>>());
    assert_eq!(take(&later), (991..=1001).collect::<Vec<_>>());
}

#[test]
fn of_one_stream_of_a_query_of_a_filter() {
    let log = Log::new();
    let stream = log.stream("account-1").unwrap();
    let (of_stream, handler) = seen();
    let _a = stream.subscribe(handler).unwrap();
    let (of_category, handler) = seen();
    let _b = log.feed().matching(Query::category("account").unwrap()).observe(handler).unwrap();
    let (of_filter, handler) = seen();
    let _c = log.feed().filter(|envelope| envelope.position().get() % 2 == 0).subscribe(handler).unwrap();
    for (stream, name) in [("account-1", "A"), ("account-2", "A"), ("other", "A"), ("account-1", "B")] {
        log.append(stream, event(name)).unwrap();
    }
    assert_eq!(take(&of_stream), [1, 4]);
    assert_eq!(take(&of_category), [1, 2, 4]);
    assert_eq!(take(&of_filter), [2, 4]);
}

#[test]
fn a_handler_that_appends_is_answered_after_the_envelope_at_hand() {
    let log = Log::new();
    let order: Arc<Mutex<Vec<(char, u64)>>> = Arc::default();
    let (first, inner) = (order.clone(), log.clone());
    let _a = log
        .observe(move |envelope: &Envelope| {
            first.lock().unwrap().push(('a', envelope.position().get()));
            if envelope.position() == 1 {
                let appended = inner.append("s", event("Nested")).unwrap();
                assert_eq!(appended.position, 2);
            }
        })
        .unwrap();
    let second = order.clone();
    let _b = log
        .subscribe(move |envelope: &Envelope| second.lock().unwrap().push(('b', envelope.position().get())))
        .unwrap();
    log.append("s", event("First")).unwrap();
    assert_eq!(*order.lock().unwrap(), [('a', 1), ('b', 1), ('a', 2), ('b', 2)]);
}

#[test]
fn a_million_chained_appends_need_no_stack() {
    let run = || {
        let log = Log::builder().no_clock().build().unwrap();
        let inner = log.clone();
        let subscription = log
            .subscribe(move |envelope: &Envelope| {
                if envelope.position().get() < 1_000_000 {
                    inner.append("s", event("Next")).unwrap();
                }
            })
            .unwrap();
        log.append("s", event("First")).unwrap();
        assert_eq!(log.end(), 1_000_000);
        assert_eq!(subscription.position().unwrap(), 1_000_000);
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn failures_reach_the_caller_and_the_hook_and_nobody_else() {
    let log = Log::new();
    let told = Arc::new(AtomicUsize::new(0));
    let inside = told.clone();
    log.on_failure(move |failure| {
        assert_eq!(failure.position(), 1);
        inside.fetch_add(1, Ordering::Relaxed);
    });
    let _panics = log.feed().named("panics").observe(|_: &Envelope| -> () { panic!("on purpose") }).unwrap();
    let _fails = log.feed().named("fails").subscribe(|_: &Envelope| Err::<(), _>("no")).unwrap();
    let (got, handler) = seen();
    let _well = log.observe(handler).unwrap();
    let appended = log.append("s", event("A")).unwrap();
    assert_eq!(take(&got), [1]);
    assert_eq!(told.load(Ordering::Relaxed), 2);
    let [panicked, failed] = &appended.failures[..] else { panic!("{:?}", appended.failures) };
    assert_eq!(panicked.subscription(), Some("panics"));
    assert_eq!(panicked.error().to_string(), "the handler panicked: on purpose");
    assert!(matches!(failed.error(), HandlerError::Failed(_)));
}

#[test]
fn a_failing_subscription_goes_on_stops_or_is_parked() {
    let log = Log::new();
    let subscribe = |policy| {
        let (got, handler) = seen();
        let fail = Arc::new(AtomicU64::new(2));
        let inside = fail.clone();
        let handler = move |envelope: &Envelope| {
            handler(envelope);
            if envelope.position() == inside.load(Ordering::Relaxed) { Err("no") } else { Ok(()) }
        };
        (log.feed().on_failure(policy).subscribe(handler).unwrap(), got, fail)
    };
    let (_on, on, _) = subscribe(OnFailure::Continue);
    let (_stopped, stop, _) = subscribe(OnFailure::Stop);
    let (parked, park, fail) = subscribe(OnFailure::Park);
    for _ in 0..4 {
        log.append("s", event("A")).unwrap();
    }
    assert_eq!(take(&on), [1, 2, 3, 4]);
    assert_eq!(take(&stop), [1, 2]);
    assert_eq!(take(&park), [1, 2]);
    assert!(parked.is_parked());
    parked.resume();
    assert!(parked.is_parked());
    assert_eq!(take(&park), [2]);
    fail.store(0, Ordering::Relaxed);
    parked.resume();
    assert_eq!(take(&park), [2, 3, 4]);
    fail.store(5, Ordering::Relaxed);
    log.append("s", event("A")).unwrap();
    parked.skip();
    log.append("s", event("A")).unwrap();
    assert_eq!(take(&park), [5, 6]);
}

#[test]
fn a_closed_subscription_is_quiet_and_its_handler_gone() {
    let log = Log::new();
    for sequential in [false, true] {
        let (got, handler) = seen();
        let alive = Arc::new(());
        let inside = alive.clone();
        let handler = move |envelope: &Envelope| {
            let _keep = &inside;
            handler(envelope);
        };
        let subscription = if sequential { log.subscribe(handler) } else { log.observe(handler) }.unwrap();
        log.append("s", event("A")).unwrap();
        subscription.close();
        subscription.close();
        assert_eq!(Arc::strong_count(&alive), 1, "sequential: {sequential}");
        log.append("s", event("A")).unwrap();
        assert_eq!(take(&got).len(), 1);
    }
}

#[test]
fn a_handler_may_close_its_own_subscription() {
    let log = Log::new();
    let own: Arc<Mutex<Option<annals::Subscription>>> = Arc::default();
    let (got, handler) = seen();
    let inside = own.clone();
    let subscription = log
        .subscribe(move |envelope: &Envelope| {
            handler(envelope);
            inside.lock().unwrap().take().unwrap().close();
        })
        .unwrap();
    *own.lock().unwrap() = Some(subscription);
    log.append("s", event("A")).unwrap();
    log.append("s", event("B")).unwrap();
    assert_eq!(take(&got), [1]);
}

#[test]
fn a_stored_append_is_delivered_by_the_log() {
    let log = Log::new();
    let (got, handler) = seen();
    let here = std::thread::current().id();
    let _a = log
        .feed()
        .named("a")
        .subscribe(move |envelope: &Envelope| {
            assert_ne!(std::thread::current().id(), here);
            handler(envelope);
        })
        .unwrap();
    let (observed, handler) = seen();
    let _b = log.observe(handler).unwrap();
    for _ in 0..100 {
        log.append_with("s", event("A"), AppendOptions::new().stored()).unwrap();
    }
    log.wait_for("a", 100, Duration::from_secs(10)).unwrap();
    assert_eq!(take(&got), (1..=100).collect::<Vec<_>>());
    while observed.lock().unwrap().len() < 100 {
        std::thread::yield_now();
    }
    assert_eq!(take(&observed), (1..=100).collect::<Vec<_>>());
    let missing = log.wait_for("b", 1, Duration::ZERO).unwrap_err();
    assert!(matches!(missing, WaitError::Unknown { .. }));
    let late = log.wait_for("a", 101, Duration::from_millis(1)).unwrap_err();
    assert!(matches!(late, WaitError::TimedOut { at, .. } if at == 100));
}

#[test]
fn names_are_taken_once() {
    let log = Log::new();
    let first = log.feed().named("a").subscribe(|_: &Envelope| {}).unwrap();
    let second = log.feed().named("a").subscribe(|_: &Envelope| {}).unwrap_err();
    assert!(matches!(second, SubscribeError::NameTaken { .. }));
    drop(first);
    log.feed().named("a").subscribe(|_: &Envelope| {}).unwrap().close();
}

#[test]
fn a_follower_meets_everything_and_is_told_where_it_stands() {
    let log = Log::builder().segment_slots(4).build().unwrap();
    let stream = log.stream("s").unwrap();
    let mut of_log = log.feed().from_beginning().follow();
    let mut of_stream = stream.feed().from_beginning().follow();
    for followed in [&mut of_log, &mut of_stream] {
        assert!(matches!(followed.try_next(), Ok(Followed::CaughtUp(at)) if at == 0));
        assert_eq!(followed.try_next().unwrap_err(), NothingYet::Empty);
    }
    for _ in 0..10 {
        log.append("t", event("A")).unwrap();
        stream.append(event("B")).unwrap();
    }
    for (followed, expected) in [(&mut of_log, 20), (&mut of_stream, 10)] {
        let envelopes: Vec<_> = std::iter::from_fn(|| followed.try_next().ok()).collect();
        assert_eq!(envelopes.len(), expected);
        assert_eq!(followed.position(), 20);
    }
    for _ in 0..10 {
        log.append("t", event("A")).unwrap();
        stream.append(event("B")).unwrap();
    }
    log.truncate_before(35);
    assert!(matches!(of_log.try_next(), Ok(Followed::Truncated { missed: 14 })));
    assert!(matches!(of_stream.try_next(), Ok(Followed::Truncated { missed: 7 })), "{of_stream:?}");
    log.close();
    assert_eq!(of_log.items().filter_map(Followed::into_envelope).count(), 6);
    assert_eq!(of_stream.items().filter_map(Followed::into_envelope).count(), 3);
    assert_eq!(of_log.try_next().unwrap_err(), NothingYet::Closed);
    assert_eq!(of_stream.try_next().unwrap_err(), NothingYet::Closed);
    assert!(matches!(log.append("s", event("C")).unwrap_err().error, AppendError::Closed));
}

/// One that had caught up is told when it falls more than so many behind: of the log within the 16 that the hint lags, of a
/// stream when it has looked. Then it gets what it missed, and is told when it has caught up again.
#[test]
fn a_follower_is_told_that_it_fell_behind() {
    let log = Log::new();
    let stream = log.stream("s").unwrap();
    let mut of_log = log.feed().from_beginning().follow().fell_behind_at(20);
    let mut of_stream = stream.feed().from_beginning().follow().fell_behind_at(20);
    for followed in [&mut of_log, &mut of_stream] {
        let mut missed = log.end().get();
        for (appended, told) in [(0, 0..=0), (20, 0..=0), (41, 25..=41)] {
            (0..appended).for_each(|_| _ = stream.append(event("A")).unwrap());
            missed += appended;
            let items: Vec<_> = std::iter::from_fn(|| followed.try_next().ok()).collect();
            let by = items.iter().take(2).find_map(|item| match item {
                Followed::FellBehind { by } => Some(*by),
                _ => None,
            });
            assert!(told.contains(&by.unwrap_or(0)), "{by:?} of {appended}");
            let envelopes = items.iter().filter(|item| matches!(item, Followed::Envelope(_))).count() as u64;
            assert_eq!(envelopes, std::mem::take(&mut missed));
            let ends = matches!(items.last(), Some(Followed::CaughtUp(at)) if *at == log.end());
            assert_eq!(ends, by.is_some() || appended == 0, "it is told once");
        }
    }
}

#[test]
fn a_follower_that_waits_is_woken() {
    let log = Log::new();
    let stream = log.stream("s").unwrap();
    for of_stream in [false, true] {
        let mut follower = if of_stream { stream.follow() } else { log.follow() };
        let appender = stream.clone();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while count < 3 {
                if let Some(Followed::Envelope(_)) = follower.wait() {
                    count += 1;
                }
            }
            follower
        });
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            appender.append(event("A")).unwrap();
        }
        let mut follower = thread.join().unwrap();
        assert_eq!(follower.wait_within(Duration::from_millis(5)).unwrap_err(), NothingYet::Empty);
    }
    let mut waits = log.follow();
    let thread = std::thread::spawn(move || waits.items().count());
    std::thread::sleep(Duration::from_millis(20));
    log.close();
    assert_eq!(thread.join().unwrap(), 1, "caught up, then closed");
}

#[test]
fn by_correlation_id_or_its_prefix() {
    let log = Log::new();
    let (exact, handler) = seen();
    let _a = log.feed().matching(Query::correlation("order-7")).observe(handler).unwrap();
    let (prefixed, handler) = seen();
    let _b = log.feed().matching(Query::correlation_prefix("order-")).subscribe(handler).unwrap();
    for id in [Some("order-7"), Some("order-77"), Some("other"), None] {
        let message = Message::builder("E");
        let message = match id {
            Some(id) => message.correlation_id(id),
            None => message,
        };
        log.append("s", message.build().unwrap()).unwrap();
    }
    assert_eq!(take(&exact), [1]);
    assert_eq!(take(&prefixed), [1, 2]);
}

#[test]
fn metrics_and_counts_tell_what_was_done() {
    let log = Log::new();
    assert_eq!((log.metrics().appended, log.subscriber_count()), (0, 0));
    let stream = log.stream("s").unwrap();
    let (_, handler) = seen();
    let subscriptions = [
        log.observe(handler.clone()).unwrap(),
        stream.observe(handler.clone()).unwrap(),
        log.feed().named("billing").subscribe(handler).unwrap(),
    ];
    stream.append(event("A")).unwrap();
    log.append_with("s", event("A"), annals::Expected::NoStream).unwrap_err();
    let metrics = log.metrics();
    assert_eq!((metrics.appended, metrics.conflicts, metrics.delivered, metrics.failed), (1, 1, 3, 0));
    assert_eq!((metrics.subscribers, stream.subscriber_count()), (3, 1));
    let [billing] = &metrics.subscriptions[..] else { panic!("{metrics:?}") };
    assert_eq!((&*billing.name, billing.position.get(), billing.lag, billing.delivered), ("billing", 1, 0, 1));
    drop(subscriptions);
    assert_eq!((log.subscriber_count(), log.metrics().subscriptions.len()), (0, 0));
}

#[test]
fn one_that_is_removed_during_a_delivery_still_gets_it_and_one_that_is_added_does_not() {
    let log = Log::new();
    let second: Arc<Mutex<Option<annals::Subscription>>> = Arc::default();
    let added: Arc<Mutex<Vec<annals::Subscription>>> = Arc::default();
    let (late, late_handler) = seen();
    let (inner, remove, keep) = (log.clone(), second.clone(), added.clone());
    let _first = log
        .observe(move |envelope: &Envelope| {
            if envelope.position() == 1 {
                drop(remove.lock().unwrap().take());
                keep.lock().unwrap().push(inner.observe(late_handler.clone()).unwrap());
            }
        })
        .unwrap();
    for sequential in [false, true] {
        let (got, handler) = seen();
        let subscription = if sequential { log.subscribe(handler) } else { log.observe(handler) }.unwrap();
        *second.lock().unwrap() = Some(subscription);
        if sequential {
            break;
        }
        log.append("s", event("A")).unwrap();
        log.append("s", event("B")).unwrap();
        assert_eq!((take(&got), take(&late)), (vec![1], vec![2]));
    }
}

#[test]
fn two_logs_whose_handlers_append_to_each_other() {
    let (a, b) = (Log::new(), Log::new());
    let link = |from: &Log, to: &Log| {
        let to = to.clone();
        from.subscribe(move |envelope: &Envelope| {
            if envelope.position().get() < 1000 {
                to.append("s", event("Answer")).unwrap();
            }
        })
        .unwrap()
    };
    let _links = [link(&a, &b), link(&b, &a)];
    std::thread::scope(|scope| {
        for log in [&a, &b] {
            scope.spawn(|| log.append("s", event("First")).unwrap());
        }
    });
    assert!(a.end().get() >= 1000 && b.end().get() >= 1000);
}

#[test]
fn a_handler_may_not_wait_for_a_delivery() {
    let log = Log::new();
    let inner = log.clone();
    let _a = log
        .feed()
        .named("a")
        .subscribe(move |_: &Envelope| assert_eq!(inner.wait_for("a", 1, Duration::MAX), Err(WaitError::InsideHandler)))
        .unwrap();
    assert!(log.append("s", event("A")).unwrap().failures.is_empty());
}

#[test]
fn closing_the_log_ends_every_wait() {
    let log = Log::new();
    let _a = log.feed().named("a").subscribe(|_: &Envelope| {}).unwrap();
    let inner = log.clone();
    let waits = std::thread::spawn(move || inner.wait_for("a", 1, Duration::MAX));
    std::thread::sleep(Duration::from_millis(20));
    log.close();
    assert!(matches!(waits.join().unwrap(), Err(WaitError::Ended { at, .. }) if at == 0));
    assert_eq!(log.subscribe(|_: &Envelope| {}).unwrap_err(), SubscribeError::Closed);
    assert!(log.is_closed());
}

#[test]
fn skipping_goes_past_what_failed_whatever_lies_before_it() {
    let log = Log::builder().segment_slots(2).build().unwrap();
    for _ in 0..4 {
        log.append("other", event("A")).unwrap();
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = |calls: &Arc<AtomicUsize>| {
        let calls = calls.clone();
        move |_: &Envelope| if calls.fetch_add(1, Ordering::Relaxed) == 0 { Err("no") } else { Ok(()) }
    };
    // Envelopes of other streams before it.
    let stream = log.stream("s").unwrap();
    let parked = stream.feed().from_beginning().on_failure(OnFailure::Park).subscribe(handler(&calls)).unwrap();
    stream.append(event("B")).unwrap();
    assert!(parked.is_parked());
    parked.skip();
    assert!(!parked.is_parked());
    assert_eq!((calls.load(Ordering::Relaxed), parked.position().unwrap().get()), (1, 5));
    // A gap before it.
    log.truncate_before(5);
    calls.store(0, Ordering::Relaxed);
    let parked = log.feed().after(0).on_failure(OnFailure::Park).subscribe(handler(&calls)).unwrap();
    parked.skip();
    assert!(!parked.is_parked());
    assert_eq!((calls.load(Ordering::Relaxed), parked.position().unwrap().get()), (1, 5));
    assert_eq!(log.metrics().failed, 3, "two envelopes, one gap");
}

/// L6, L10: a thread that stands still between its append and the delivery of it holds up nobody, and its envelope gets to
/// sequential subscribers all the same.
#[test]
fn an_appender_that_stands_still_before_its_delivery_is_delivered_for() {
    let log = Log::new();
    let (stuck, go_on) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let (tell, wait) = (Mutex::new(stuck.0), Mutex::new(go_on.1));
    // Called before the subscriber, so that the first appender gets no further than here.
    let _observer = log
        .observe(move |envelope: &Envelope| {
            if envelope.position() == 1 {
                tell.lock().unwrap().send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
            }
        })
        .unwrap();
    let (got, handler) = seen();
    let _subscriber = log.subscribe(handler).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| log.append("s", event("A")).unwrap());
        stuck.1.recv().unwrap();
        log.append("s", event("B")).unwrap();
        assert_eq!(take(&got), [1, 2]);
        go_on.0.send(()).unwrap();
    });
    assert!(take(&got).is_empty());
}

/// A handler that waits on a follower of its own log waits for others, and they can append: it is their delivery that waits.
#[test]
fn a_handler_that_waits_on_a_follower_is_harmless() {
    let log = Log::new();
    let mut follower = log.feed().from_beginning().follow();
    let (got, handler) = seen();
    let _waits = log
        .subscribe(move |envelope: &Envelope| {
            handler(envelope);
            while envelope.position() == 1 && follower.position() != 2 {
                follower.wait();
            }
        })
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| log.append("s", event("A")).unwrap());
        while log.end() != 1 {
            std::thread::yield_now();
        }
        scope.spawn(|| log.append("s", event("B")).unwrap());
    });
    assert_eq!(take(&got), [1, 2]);
}
