//! Those who wait for the next append, or for a delivery; closing a log; appends that do not wait.
#![cfg(loom)]

use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use annals::{
    AppendError, AppendOptions, Envelope, Followed, Follower, NothingYet, OnFailure, SubscribeError, WaitError,
};
use annals_loom::{
    Got, Witness, appending, check_no_failure, event, explore, fill, observe, subscribe, warm, watched_log,
};
use futures_core::Stream as _;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// A limit that no model comes to: they have no time.
const LONG: Duration = Duration::from_secs(1);

/// Positions that a follower waits for until the log is closed, or so many of them.
fn waited_for(follower: &mut Follower, most: usize) -> Vec<u64> {
    let envelopes = follower.items().filter_map(Followed::into_envelope);
    envelopes.map(|envelope| envelope.position().get()).take(most).collect()
}

/// Who blocks until there is something is woken by the append that there was nothing before.
#[test]
fn a_follower_waits_beside_an_append() {
    for (of_stream, bound, count) in [(false, 2, 2), (true, 1, 2), (true, 2, 1)] {
        let expected = (1..=count).collect::<Vec<_>>();
        explore("a_follower_waits_beside_an_append", bound, [expected], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let mut follower = if of_stream { stream.follow() } else { log.follow() };
            let appender = appending(&stream, count);
            let waiting = thread::spawn(move || waited_for(&mut follower, count as usize));
            appender.join().unwrap();
            notes.note(waiting.join().unwrap());
        });
    }
}

/// The same of a task: whose waker is registered while an append looks who waits.
#[test]
fn a_task_waits_beside_an_append() {
    for (of_stream, bound, count) in [(false, 1, 2), (false, 2, 1), (true, 1, 1)] {
        let expected = (1..=count).collect::<Vec<_>>();
        explore("a_task_waits_beside_an_append", bound, [expected], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let follower = if of_stream { stream.follow() } else { log.follow() };
            let appender = appending(&stream, count);
            let waiting = thread::spawn(move || {
                let mut follower = pin!(follower);
                let mut got = Vec::new();
                while (got.len() as u64) < count {
                    let next = std::future::poll_fn(|context| follower.as_mut().poll_next(context));
                    let next = loom::future::block_on(next).unwrap();
                    got.extend(next.into_envelope().map(|envelope| envelope.position().get()));
                }
                got
            });
            appender.join().unwrap();
            notes.note(waiting.join().unwrap());
        });
    }
}

/// One waits, woken by either of two: who has woken it for the first envelope does not keep it asleep for the second.
#[test]
fn a_follower_waits_beside_two_appenders() {
    explore("a_follower_waits_beside_two_appenders", 1, [vec![1, 2]], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let mut follower = log.follow();
        let appenders = [appending(&stream, 1), appending(&stream, 1)];
        let waiting = thread::spawn(move || waited_for(&mut follower, 2));
        appenders.into_iter().for_each(|thread| thread.join().unwrap());
        notes.note(waiting.join().unwrap());
    });
}

/// Two wait, one append wakes both.
#[test]
fn two_followers_wait_beside_an_append() {
    explore("two_followers_wait_beside_an_append", 1, [()], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let waiting: Vec<_> = [log.follow(), log.follow()]
            .into_iter()
            .map(|mut follower| thread::spawn(move || assert_eq!(waited_for(&mut follower, 1), [1])))
            .collect();
        let appender = appending(&stream, 1);
        appender.join().unwrap();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        notes.note(());
    });
}

/// A waker that says that it was called, and puts nothing in order.
#[derive(Default)]
struct Flag(AtomicU64);

impl std::task::Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        // Relaxed: on purpose.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// L16: an append returns after whoever waited has been woken, also when another one woke it: what an appender does then
/// comes after that.
#[test]
fn an_append_returns_after_the_waking() {
    for of_stream in [false, true] {
        explore("an_append_returns_after_the_waking", 3, [3, 4], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            // Their own from the start: an appender that comes out of the pool comes after whoever put it there.
            let appenders = [warm(&stream), warm(&stream)];
            let mut follower = pin!(if of_stream { stream.follow() } else { log.follow() });
            let flag = std::sync::Arc::new(Flag::default());
            let waker = flag.clone().into();
            let mut context = Context::from_waker(&waker);
            assert!(matches!(follower.as_mut().poll_next(&mut context), Poll::Ready(Some(Followed::CaughtUp(_)))));
            assert!(follower.as_mut().poll_next(&mut context).is_pending());
            let threads = appenders.map(|mut appender| {
                let (stream, flag) = (stream.clone(), flag.clone());
                thread::spawn(move || {
                    let appended = appender.append(&stream, event("e")).unwrap();
                    assert_ne!(flag.0.load(Ordering::Relaxed), 0);
                    appended.position.get()
                })
            });
            let positions = threads.map(|thread| thread.join().unwrap());
            notes.note(positions[0]);
        });
    }
}

/// Who looks, and finds the end of a log that was closed, comes after what was done before the close.
#[test]
fn a_look_that_finds_the_close() {
    explore("a_look_that_finds_the_close", 3, [false, true], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 1);
        let mut follower = log.feed().from_beginning().follow();
        assert!(matches!(follower.try_next(), Ok(Followed::Envelope(_))));
        assert!(matches!(follower.try_next(), Ok(Followed::CaughtUp(_))));
        let witness = Witness::default();
        let closer = {
            let (log, witness) = (log.clone(), witness.clone());
            thread::spawn(move || {
                witness.touch();
                log.close();
            })
        };
        let looking = thread::spawn(move || {
            let closed = matches!(follower.try_next(), Err(NothingYet::Closed));
            if closed {
                witness.touch();
            }
            closed
        });
        closer.join().unwrap();
        notes.note(looking.join().unwrap());
    });
}

/// L16: who has caught up, and waits while the log is appended to and closed, gets all of it, and then the end.
#[test]
fn a_follower_waits_beside_an_append_and_the_close() {
    for of_stream in [false, true] {
        explore("a_follower_waits_beside_an_append_and_the_close", 2, [vec![1]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let mut follower = if of_stream { stream.follow() } else { log.follow() };
            assert!(matches!(follower.try_next(), Ok(Followed::CaughtUp(_))));
            let closer = {
                let stream = stream.clone();
                thread::spawn(move || {
                    fill(&stream, 1);
                    stream.log().close();
                })
            };
            let waiting = thread::spawn(move || waited_for(&mut follower, usize::MAX));
            closer.join().unwrap();
            notes.note(waiting.join().unwrap());
        });
    }
}

/// I15: beside a close an append is refused, or took effect before and was delivered.
#[test]
fn close_the_log_beside_an_append() {
    for sequential in [false, true] {
        explore("close_the_log_beside_an_append", 3, [vec![], vec![1], vec![1, 2]], move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let got = Got::default();
            let subscribe = if sequential { subscribe } else { observe };
            let _subscription = subscribe(log.feed(), got.clone());
            let closer = {
                let log = log.clone();
                thread::spawn(move || log.close().get())
            };
            let appender = {
                let (stream, got) = (stream.clone(), got.clone());
                thread::spawn(move || {
                    let mut appender = stream.log().appender();
                    (0..2).all(|_| match appender.append(&stream, event("e")) {
                        Ok(appended) => {
                            assert!(got.list().contains(&appended.position.get()));
                            true
                        }
                        Err(refused) => {
                            assert!(matches!(refused.error, AppendError::Closed));
                            false
                        }
                    })
                })
            };
            let end = closer.join().unwrap();
            let all = appender.join().unwrap();
            check_no_failure(&log);
            assert_eq!(log.end(), end);
            assert_eq!(all, end == 2);
            assert_eq!(got.list(), (1..=end).collect::<Vec<_>>());
            notes.note(got.list());
        });
    }
}

/// Beside a close a subscription is refused, or was there before. Either way nobody waits for ever.
#[test]
fn close_the_log_beside_a_subscription() {
    explore("close_the_log_beside_a_subscription", 3, [false, true], |notes| {
        let log = watched_log();
        let closer = {
            let log = log.clone();
            thread::spawn(move || _ = log.close())
        };
        let subscriber = {
            let log = log.clone();
            thread::spawn(move || match log.subscribe(|_: &Envelope| ()) {
                Ok(subscription) => {
                    assert!(matches!(subscription.wait_for(1, LONG), Err(WaitError::Ended { .. })));
                    true
                }
                Err(error) => {
                    assert_eq!(error, SubscribeError::Closed);
                    false
                }
            })
        };
        closer.join().unwrap();
        notes.note(subscriber.join().unwrap());
    });
}

/// Who waits for a subscription is woken when it has passed the position, and sees what its handler did.
#[test]
fn wait_for_a_subscription_beside_an_append() {
    explore("wait_for_a_subscription_beside_an_append", 3, [()], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let witness = Witness::default();
        let inside = witness.clone();
        let subscription = log.subscribe(move |_: &Envelope| inside.touch()).unwrap();
        let appender = appending(&stream, 1);
        let waiting = thread::spawn(move || {
            subscription.wait_for(1, LONG).unwrap();
            witness.touch();
            subscription
        });
        appender.join().unwrap();
        let _subscription = waiting.join().unwrap();
        check_no_failure(&log);
        notes.note(());
    });
}

/// Who waits by name, while the subscription is being made and its place is not known yet, is told no sooner.
#[test]
fn wait_for_a_name_beside_its_subscription() {
    explore("wait_for_a_name_beside_its_subscription", 2, ["passed", "unknown"], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let got = Got::default();
        let subscriber = {
            let (log, got) = (log.clone(), got.clone());
            thread::spawn(move || {
                let subscription = subscribe(log.feed().named("n"), got);
                let appended = stream.log().appender().append(&stream, event("e")).unwrap();
                assert_eq!(appended.position, 1);
                subscription
            })
        };
        let waiting = {
            let (log, got) = (log.clone(), got.clone());
            thread::spawn(move || match log.wait_for("n", 1, LONG) {
                Ok(()) => {
                    assert_eq!(got.list(), [1]);
                    "passed"
                }
                Err(WaitError::Unknown { .. }) => "unknown",
                Err(_) => "ended",
            })
        };
        let _subscription = subscriber.join().unwrap();
        let waited = waiting.join().unwrap();
        check_no_failure(&log);
        notes.note(waited);
    });
}

/// Who waits by name for the position that the subscription begins after is woken when its place is known.
#[test]
fn wait_for_a_name_that_begins_there() {
    explore("wait_for_a_name_that_begins_there", 2, ["passed", "unknown"], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 1);
        let subscriber = {
            let log = log.clone();
            thread::spawn(move || subscribe(log.feed().named("n"), Got::default()))
        };
        let waiting = {
            let log = log.clone();
            thread::spawn(move || match log.wait_for("n", 1, LONG) {
                Ok(()) => "passed",
                Err(WaitError::Unknown { .. }) => "unknown",
                Err(_) => "ended",
            })
        };
        let _subscription = subscriber.join().unwrap();
        notes.note(waiting.join().unwrap());
    });
}

/// L10, L11: a parked subscription goes on beside an append: nothing is left when both have returned, and whoever calls the
/// handler comes after what was done before it was resumed.
#[test]
fn resume_beside_an_append() {
    for skip in [false, true] {
        let outcomes = if skip { vec![vec![1, 2]] } else { vec![vec![1, 1, 2]] };
        explore("resume_beside_an_append", 3, outcomes, move |notes| {
            let log = watched_log();
            let stream = log.stream("s").unwrap();
            let (got, witness) = (Got::default(), Witness::default());
            let (inside, touched) = (got.clone(), witness.clone());
            let handler = move |envelope: &Envelope| {
                touched.touch();
                inside.add(envelope);
                if inside.list().len() == 1 { Err("on purpose") } else { Ok(()) }
            };
            let subscription = log.feed().on_failure(OnFailure::Park).subscribe(handler).unwrap();
            fill(&stream, 1);
            assert!(subscription.is_parked());
            let resuming = thread::spawn(move || {
                witness.touch();
                if skip {
                    subscription.skip()
                } else {
                    subscription.resume()
                }
                subscription
            });
            let appender = appending(&stream, 1);
            appender.join().unwrap();
            let _subscription = resuming.join().unwrap();
            assert_eq!(log.metrics().failed, 1);
            notes.note(got.list());
        });
    }
}

/// L14: after `close` the handler is quiet, also when another thread has just resumed the subscription.
#[test]
fn close_beside_a_resume() {
    explore("close_beside_a_resume", 2, [vec![1], vec![1, 1]], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let (got, witness) = (Got::default(), Witness::default());
        let (inside, touched) = (got.clone(), witness.clone());
        let handler = move |envelope: &Envelope| {
            touched.touch();
            inside.add(envelope);
            touched.touch();
            if inside.list().len() == 1 { Err("on purpose") } else { Ok(()) }
        };
        let subscription = log.feed().on_failure(OnFailure::Park).subscribe(handler).unwrap();
        fill(&stream, 1);
        let subscription = std::sync::Arc::new(subscription);
        let resuming = {
            let subscription = subscription.clone();
            thread::spawn(move || subscription.resume())
        };
        let closer = {
            let (subscription, got) = (subscription.clone(), got.clone());
            thread::spawn(move || {
                subscription.close();
                witness.touch();
                got.list()
            })
        };
        resuming.join().unwrap();
        let quiet = closer.join().unwrap();
        assert_eq!(log.metrics().failed, 1);
        assert_eq!(got.list(), quiet);
        notes.note(quiet);
    });
}

/// A parked subscription is skipped by whoever sees that it is parked, and what its handler did, while the append that parked
/// it still runs.
#[test]
fn skip_beside_the_append_that_parks() {
    explore("skip_beside_the_append_that_parks", 3, [false, true], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let witness = Witness::default();
        let touched = witness.clone();
        let handler = move |_: &Envelope| {
            touched.touch();
            Err("on purpose")
        };
        let subscription = log.feed().on_failure(OnFailure::Park).subscribe(handler).unwrap();
        let appender = appending(&stream, 1);
        let skipping = thread::spawn(move || {
            let parked = subscription.is_parked();
            if parked {
                witness.touch();
                subscription.skip();
                assert!(!subscription.is_parked());
                assert_eq!(subscription.position().unwrap(), 1);
            }
            (parked, subscription)
        });
        appender.join().unwrap();
        let (parked, _subscription) = skipping.join().unwrap();
        assert_eq!(log.metrics().failed, 1);
        notes.note(parked);
    });
}

/// What a handler had got when it was dropped.
struct Final(Got, annals_loom::Notes<Vec<u64>>);

impl Drop for Final {
    fn drop(&mut self) {
        self.1.note(self.0.list());
    }
}

/// An append that does not wait is delivered once, in order, by a thread that ends with the log.
#[test]
fn stored_appends_are_delivered() {
    explore("stored_appends_are_delivered", 2, [vec![1, 2]], |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let last = Final(Got::default(), notes);
        log.observe(move |envelope: &Envelope| last.0.add(envelope)).unwrap().detach();
        let mut appender = log.appender();
        for _ in 0..2 {
            appender.append_with(&stream, event("e"), AppendOptions::new().stored()).unwrap();
        }
    });
}

/// L3, L9, L15: two appends, one who subscribes from the beginning, and a reader: what was delivered is in the log.
#[test]
fn appends_a_subscription_and_a_reader() {
    let outcomes = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
    explore("appends_a_subscription_and_a_reader", 1, outcomes, |notes| {
        let log = watched_log();
        let stream = log.stream("s").unwrap();
        let delivered = Arc::new(AtomicU64::new(0));
        let appender = appending(&stream, 2);
        let subscriber = {
            let (log, delivered) = (log.clone(), delivered.clone());
            thread::spawn(move || {
                let count = move |envelope: &Envelope| {
                    // Release: pairs with the load of the reader.
                    let before = delivered.fetch_add(1, Ordering::Release);
                    assert_eq!(envelope.position(), before + 1);
                };
                log.feed().from_beginning().subscribe(count).unwrap()
            })
        };
        let reader = {
            let log = log.clone();
            thread::spawn(move || (delivered.load(Ordering::Acquire), log.end().get()))
        };
        appender.join().unwrap();
        let subscription = subscriber.join().unwrap();
        check_no_failure(&log);
        assert_eq!(subscription.position().unwrap(), 2);
        notes.note(reader.join().unwrap());
    });
}
