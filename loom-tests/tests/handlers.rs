//! Handlers that do things, and those who wait for handlers (L10–L14).
#![cfg(loom)]

use std::sync::Mutex;

use annals::{Envelope, OnFailure, Subscription};
use annals_loom::{Got, Witness, appending, check_no_failure, event, explore, observe, subscribe, watched_log};
use loom::thread;

/// What a handler did for each of two envelopes. Who touches the same comes after it.
#[derive(Clone, Default)]
struct Touched([Witness; 2]);

impl Touched {
    fn touch(&self, position: u64) {
        self.0[position as usize - 1].touch();
    }
}

/// L10, L11: two appenders, one subscriber: each append returns after its own was delivered, whoever did it, and after all
/// that its handler did; who waits for the other is woken.
#[test]
fn two_appenders_and_a_subscriber() {
    for of_stream in [false, true] {
        explore("two_appenders_and_a_subscriber", 2, [1, 2], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (got, touched) = (Got::default(), Touched::default());
            let feed = if of_stream { stream.feed() } else { log.feed() };
            let (inside, each, witness) = (got.clone(), touched.clone(), Witness::default());
            let handler = move |envelope: &Envelope| {
                witness.touch();
                each.touch(envelope.position().get());
                inside.add(envelope);
            };
            let _subscription = feed.subscribe(handler).unwrap();
            let appenders: Vec<_> = (0..2)
                .map(|_| {
                    let (stream, got, touched) = (stream.clone(), got.clone(), touched.clone());
                    thread::spawn(move || {
                        let position = stream.log().appender().append(&stream, event("e")).unwrap().position.get();
                        assert!(got.list().contains(&position));
                        touched.touch(position);
                        position
                    })
                })
                .collect();
            let positions: Vec<_> = appenders.into_iter().map(|appender| appender.join().unwrap()).collect();
            check_no_failure(&log);
            assert_eq!(got.list(), [1, 2]);
            notes.note(positions[0]);
        });
    }
}

/// Where a handler finds its subscription.
type Own = std::sync::Arc<Mutex<Option<Subscription>>>;

/// L12, L14: a handler closes its own subscription, beside another delivery: nobody waits for himself, a sequential one gets
/// nothing more. An observer may have been called by the other already.
#[test]
fn close_inside_the_handler() {
    for sequential in [false, true] {
        let outcomes: &[&[u64]] = if sequential { &[&[1]] } else { &[&[1], &[2], &[1, 2]] };
        let outcomes = outcomes.iter().map(|outcome| outcome.to_vec());
        explore("close_inside_the_handler", 3, outcomes, move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (got, own) = (Got::default(), Own::default());
            let (inside, slot) = (got.clone(), own.clone());
            let handler = move |envelope: &Envelope| {
                inside.add(envelope);
                let own = slot.lock().unwrap().take();
                if let Some(own) = own {
                    own.close();
                }
            };
            let feed = log.feed();
            let subscription =
                if sequential { feed.subscribe(handler).unwrap() } else { feed.observe(handler).unwrap() };
            *own.lock().unwrap() = Some(subscription);
            let appenders = [appending(&stream, 1), appending(&stream, 1)];
            appenders.into_iter().for_each(|appender| appender.join().unwrap());
            check_no_failure(&log);
            assert_eq!(log.subscriber_count(), 0);
            notes.note(got.sorted());
        });
    }
}

/// L9, L12: a handler subscribes another one, beside a second appender: the new one gets what is appended after that, and
/// nothing before: with the second appender's thread subscribing, that may be nothing.
#[test]
fn subscribe_inside_a_handler() {
    for sequential in [false, true] {
        explore("subscribe_inside_a_handler", 2, [vec![], vec![3], vec![2, 3]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (got, made) = (Got::default(), Own::default());
            let (inside, slot, feed_log) = (got.clone(), made.clone(), Mutex::new(Some(log.clone())));
            let outer = log
                .observe(move |_: &Envelope| {
                    let log = feed_log.lock().unwrap().take();
                    let Some(log) = log else { return };
                    let subscribe = if sequential { subscribe } else { observe };
                    *slot.lock().unwrap() = Some(subscribe(log.feed(), inside.clone()));
                })
                .unwrap();
            let appenders = [appending(&stream, 2), appending(&stream, 1)];
            appenders.into_iter().for_each(|appender| appender.join().unwrap());
            check_no_failure(&log);
            drop((outer, made.lock().unwrap().take()));
            notes.note(got.sorted());
        });
    }
}

/// L14: a handler subscribes one to the past, which it gets when its turn comes; another thread closes that one: quiet after.
#[test]
fn close_what_a_handler_subscribed() {
    explore("close_what_a_handler_subscribed", 2, [None, Some(vec![]), Some(vec![1])], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let got = Got::default();
        // Loom's: who takes it comes after who put it there.
        let made = loom::sync::Arc::new(loom::sync::Mutex::new(None));
        let (inside, slot, feed_log) = (got.clone(), made.clone(), Mutex::new(Some(log.clone())));
        let outer = log
            .observe(move |_: &Envelope| {
                let Some(log) = feed_log.lock().unwrap().take() else { return };
                let subscription = subscribe(log.feed().from_beginning(), inside.clone());
                *slot.lock().unwrap() = Some(subscription);
            })
            .unwrap();
        let appender = appending(&stream, 1);
        let closer = {
            let (got, made) = (got.clone(), made.clone());
            thread::spawn(move || {
                let subscription: Option<Subscription> = made.lock().unwrap().take();
                let subscription = subscription?;
                subscription.close();
                Some(got.list())
            })
        };
        appender.join().unwrap();
        let quiet = closer.join().unwrap();
        check_no_failure(&log);
        if let Some(quiet) = &quiet {
            assert_eq!(&got.list(), quiet);
        }
        drop(outer);
        drop(made.lock().unwrap().take());
        notes.note(quiet);
    });
}

/// L12: a handler appends, beside a second appender: that is delivered after the envelope at hand, before the outermost
/// append returns, in order to a sequential one.
#[test]
fn append_inside_a_handler() {
    for sequential in [false, true] {
        explore("append_inside_a_handler", 2, ["e-other-inner", "e-inner-other", "other-e-inner"], move |notes| {
            let log = watched_log();
            let (stream, inner) = (log.stream("s").unwrap(), log.stream("inner").unwrap());
            let (got, order) = (Got::default(), std::sync::Arc::new(Mutex::new(Vec::new())));
            let first = {
                let (inner, order) = (inner.clone(), order.clone());
                move |envelope: &Envelope| {
                    if envelope.name() == "e" {
                        inner.append(event("inner")).unwrap();
                        order.lock().unwrap().push("appended");
                    } else if envelope.name() == "inner" {
                        order.lock().unwrap().push("delivered");
                    }
                }
            };
            let feed = log.feed();
            let first = if sequential { feed.subscribe(first).unwrap() } else { feed.observe(first).unwrap() };
            let second = subscribe(log.feed(), got.clone());
            let outer = {
                let (stream, got) = (stream.clone(), got.clone());
                thread::spawn(move || {
                    stream.append(event("e")).unwrap();
                    // A sequential handler may have been called by the other thread: then that one sees to it.
                    if !sequential {
                        let inner = stream.log().read_stream("inner").iter().next().unwrap();
                        assert!(got.list().contains(&inner.position().get()));
                    }
                })
            };
            let other = {
                let stream = stream.clone();
                thread::spawn(move || drop(stream.log().appender().append(&stream, event("other")).unwrap()))
            };
            outer.join().unwrap();
            other.join().unwrap();
            check_no_failure(&log);
            assert_eq!(got.list(), [1, 2, 3]);
            assert_eq!(*order.lock().unwrap(), ["appended", "delivered"]);
            drop((first, second));
            let names: Vec<_> = log.read().iter().map(|envelope| envelope.name().to_owned()).collect();
            notes.note(match names.join("-").as_str() {
                "e-other-inner" => "e-other-inner",
                "e-inner-other" => "e-inner-other",
                "other-e-inner" => "other-e-inner",
                _ => "something else",
            });
        });
    }
}

/// Without the hook of the process, which would write a line for each.
fn panics(_: &Envelope) {
    std::panic::resume_unwind(Box::new("on purpose"));
}

/// L13: a handler that panics: the others are called, failures are counted and told to the appender, the claim is given back.
#[test]
fn a_handler_panics() {
    for sequential in [false, true] {
        explore("a_handler_panics", 2, [1, 2], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let got = Got::default();
            let feed = log.feed();
            let _first = if sequential { feed.subscribe(panics).unwrap() } else { feed.observe(panics).unwrap() };
            let _second = observe(log.feed(), got.clone());
            let appenders: Vec<_> = (0..2)
                .map(|_| {
                    let stream = stream.clone();
                    thread::spawn(move || {
                        let appended = stream.log().appender().append(&stream, event("e")).unwrap();
                        assert_eq!(appended.failures.len(), 1);
                        assert_eq!(appended.failures[0].position(), appended.position);
                        appended.position.get()
                    })
                })
                .collect();
            let positions: Vec<_> = appenders.into_iter().map(|appender| appender.join().unwrap()).collect();
            assert_eq!(log.metrics().failed, 2);
            assert_eq!(got.sorted(), [1, 2]);
            notes.note(positions[0]);
        });
    }
}

/// L11, L13: the first or the second of two envelopes parks the subscription, and whoever sees that skips it: an append
/// returns after what the handler did for its envelope, and is told of the failure, whoever called the handler.
#[test]
fn a_parked_subscription_beside_two_appenders() {
    for failing in [1, 2] {
        explore("a_parked_subscription_beside_two_appenders", 2, [1, 2], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (got, touched) = (Got::default(), Touched::default());
            let (inside, each) = (got.clone(), touched.clone());
            let handler = move |envelope: &Envelope| {
                each.touch(envelope.position().get());
                inside.add(envelope);
                if envelope.position() == failing { Err("on purpose") } else { Ok(()) }
            };
            let subscription = log.feed().on_failure(OnFailure::Park).subscribe(handler).unwrap();
            let subscription = std::sync::Arc::new(subscription);
            let appenders: Vec<_> = (0..2)
                .map(|_| {
                    let (stream, subscription, touched) = (stream.clone(), subscription.clone(), touched.clone());
                    thread::spawn(move || {
                        let appended = stream.log().appender().append(&stream, event("e")).unwrap();
                        let position = appended.position.get();
                        assert_eq!(appended.failures.len(), usize::from(position == failing));
                        // What comes after the failed one may be for later.
                        if position <= failing {
                            touched.touch(position);
                        }
                        if subscription.is_parked() {
                            subscription.skip();
                        }
                        position
                    })
                })
                .collect();
            let positions: Vec<_> = appenders.into_iter().map(|appender| appender.join().unwrap()).collect();
            assert_eq!(log.metrics().failed, 1);
            assert_eq!(got.list(), [1, 2]);
            notes.note(positions[0]);
        });
    }
}
