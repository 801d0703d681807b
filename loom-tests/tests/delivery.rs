//! Observers and sequential subscriptions beside appends (L9–L16).
//!
//! A panic in a handler is caught by delivery, loom's own complaints with it: so every model looks at the number of failed
//! deliveries.
#![cfg(loom)]

use std::sync::Mutex;

use annals::{Envelope, Feed, Log, Subscription};
use annals_loom::{Got, Witness, appending, check_no_failure, event, explore, fill, observe, subscribe, watched_log};
use loom::thread;

/// A thread that subscribes. What it got by then, the end of the log after that, and the subscription.
fn subscribing(
    log: &Log,
    feed: Feed,
    got: &Got,
    subscribe: fn(Feed, Got) -> Subscription,
) -> thread::JoinHandle<(usize, u64, Subscription)> {
    let (log, got) = (log.clone(), got.clone());
    thread::spawn(move || {
        let subscription = subscribe(feed, got.clone());
        let (count, position, end) = (got.list().len(), subscription.position(), log.end());
        assert!(position.is_none_or(|position| position <= end), "it has passed what is not there");
        (count, end.get(), subscription)
    })
}

/// L9: who observes beside two appends gets those after some instant, and all of them.
#[test]
fn observe_beside_appends() {
    for of_stream in [false, true] {
        explore("observe_beside_appends", 3, [vec![], vec![2], vec![1, 2]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let got = Got::default();
            let appender = appending(&stream, 2);
            let feed = if of_stream { stream.feed() } else { log.feed() };
            let subscriber = subscribing(&log, feed, &got, observe);
            appender.join().unwrap();
            let (_, end, subscription) = subscriber.join().unwrap();
            drop(subscription);
            check_no_failure(&log);
            assert!((end + 1..=2).all(|position| got.list().contains(&position)), "what came after it returned");
            notes.note(got.list());
        });
    }
}

/// L9, L10: the same of a sequential subscription.
#[test]
fn subscribe_beside_appends() {
    for of_stream in [false, true] {
        explore("subscribe_beside_appends", 2, [vec![], vec![2], vec![1, 2]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let got = Got::default();
            let appender = appending(&stream, 2);
            let feed = if of_stream { stream.feed() } else { log.feed() };
            let subscriber = subscribing(&log, feed, &got, subscribe);
            appender.join().unwrap();
            let (_, end, subscription) = subscriber.join().unwrap();
            drop(subscription);
            check_no_failure(&log);
            assert!((end + 1..=2).all(|position| got.list().contains(&position)), "what came after it returned");
            notes.note(got.list());
        });
    }
}

/// L15: the past, then the present, each once, in order; so many of them when `subscribe` returns.
#[test]
fn subscribe_from_the_beginning() {
    for of_stream in [false, true] {
        explore("subscribe_from_the_beginning", 2, [1, 2, 3], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            fill(&stream, 1);
            let got = Got::default();
            let appender = appending(&stream, 2);
            let feed = if of_stream { stream.feed() } else { log.feed() };
            let subscriber = subscribing(&log, feed.from_beginning(), &got, subscribe);
            appender.join().unwrap();
            let (at_return, _, _subscription) = subscriber.join().unwrap();
            check_no_failure(&log);
            assert_eq!(got.list(), [1, 2, 3]);
            notes.note(at_return);
        });
    }
}

/// L15: the same of an observer, in no order.
#[test]
fn observe_from_the_beginning() {
    explore("observe_from_the_beginning", 2, [1, 2, 3], move |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 1);
        let got = Got::default();
        let appender = appending(&stream, 2);
        let subscriber = subscribing(&log, log.feed().from_beginning(), &got, observe);
        appender.join().unwrap();
        let (at_return, _, _subscription) = subscriber.join().unwrap();
        check_no_failure(&log);
        assert_eq!(got.sorted(), [1, 2, 3]);
        notes.note(at_return);
    });
}

/// L9: while one comes, the only other one goes, and with it the word that says that anybody is there: no gap.
#[test]
fn one_comes_while_another_goes() {
    explore("one_comes_while_another_goes", 1, [vec![], vec![3], vec![2, 3], vec![1, 2, 3]], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let other = log.observe(|_: &Envelope| ()).unwrap();
        let got = Got::default();
        let subscriber = subscribing(&log, log.feed(), &got, observe);
        let appender = {
            let stream = stream.clone();
            thread::spawn(move || {
                let mut appender = stream.log().appender();
                appender.append(&stream, event("e")).unwrap();
                appender.append(&stream, event("e")).unwrap();
                drop(other);
                appender.append(&stream, event("e")).unwrap();
            })
        };
        appender.join().unwrap();
        drop(subscriber.join().unwrap());
        check_no_failure(&log);
        notes.note(got.list());
    });
}

/// L9: one leaves the log, then another the stream, or the other way round: whoever left first does not get what the other
/// one missed.
#[test]
fn the_sets_of_log_and_stream_are_looked_at_at_once() {
    for log_first in [false, true] {
        explore("the_sets_of_log_and_stream_are_looked_at_at_once", 3, [(0, 0), (0, 1), (1, 1)], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (first_got, then_got) = (Got::default(), Got::default());
            let (first, then) = if log_first { (log.feed(), stream.feed()) } else { (stream.feed(), log.feed()) };
            let (first, then) = (observe(first, first_got.clone()), observe(then, then_got.clone()));
            let leaving = thread::spawn(move || {
                drop(first);
                drop(then);
            });
            let appender = appending(&stream, 1);
            leaving.join().unwrap();
            appender.join().unwrap();
            check_no_failure(&log);
            notes.note((first_got.list().len(), then_got.list().len()));
        });
    }
}

/// Tells its drop.
struct Canary(Witness, std::sync::Arc<Mutex<bool>>);

impl Drop for Canary {
    fn drop(&mut self) {
        self.0.touch();
        *self.1.lock().unwrap() = true;
    }
}

/// L14: after `close` has returned the handler is not called again, is not running, and has been dropped.
#[test]
fn close_beside_appends() {
    for (sequential, of_stream) in [(false, false), (false, true), (true, false), (true, true)] {
        explore("close_beside_appends", 3, [vec![], vec![1], vec![1, 2]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (got, witness, dropped) = (Got::default(), Witness::default(), std::sync::Arc::new(Mutex::new(false)));
            let canary = Canary(witness.clone(), dropped.clone());
            let inside = got.clone();
            let handler = move |envelope: &Envelope| {
                canary.0.touch();
                inside.add(envelope);
            };
            let feed = if of_stream { stream.feed() } else { log.feed() };
            let subscription =
                if sequential { feed.subscribe(handler).unwrap() } else { feed.observe(handler).unwrap() };
            let closer = {
                let got = got.clone();
                thread::spawn(move || {
                    subscription.close();
                    witness.touch();
                    assert!(*dropped.lock().unwrap());
                    let quiet = got.list();
                    subscription.close();
                    quiet
                })
            };
            let appender = appending(&stream, 2);
            appender.join().unwrap();
            let quiet = closer.join().unwrap();
            check_no_failure(&log);
            assert_eq!(log.subscriber_count(), 0);
            assert_eq!(got.list(), quiet);
            notes.note(quiet);
        });
    }
}

/// L9: who was dropped before an append does not get it; one appended before is delivered to it or not, as it was looked at
/// before or after.
#[test]
fn drop_beside_an_append() {
    for sequential in [false, true] {
        explore("drop_beside_an_append", 3, [vec![], vec![1]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let got = Got::default();
            let subscription =
                if sequential { subscribe(log.feed(), got.clone()) } else { observe(log.feed(), got.clone()) };
            let dropping = {
                let stream = stream.clone();
                thread::spawn(move || {
                    drop(subscription);
                    stream.log().appender().append(&stream, event("late")).unwrap().position.get()
                })
            };
            let appender = appending(&stream, 1);
            appender.join().unwrap();
            let late = dropping.join().unwrap();
            check_no_failure(&log);
            assert!(!got.list().contains(&late));
            notes.note(got.list());
        });
    }
}

/// L9, of the set itself: two change it at once, and with it the key of the stream; each gets its own.
#[test]
fn two_come_and_go() {
    explore("two_come_and_go", 1, [(1, 1), (1, 2), (2, 1)], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let stream = stream.clone();
                thread::spawn(move || {
                    let got = Got::default();
                    let subscription = observe(stream.feed(), got.clone());
                    let own = stream.log().appender().append(&stream, event("e")).unwrap().position.get();
                    drop(subscription);
                    assert!(got.list().contains(&own));
                    got.list().len()
                })
            })
            .collect();
        let counts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        check_no_failure(&log);
        assert_eq!(log.subscriber_count(), 0);
        notes.note((counts[0], counts[1]));
    });
}
