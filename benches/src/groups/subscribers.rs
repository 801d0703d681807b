//! What an append costs that is delivered before it returns, by the kind of its one subscriber.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Appender, Envelope, Log, Stream, Subscription};

use crate::load::{shared, timeless};
use crate::measure::{Group, MakeGroup, Sample, time};

/// Appends of one run.
const OPS: u64 = 100_000;

pub const ALL: [MakeGroup; 1] = [one_appender];

/// What a handler does: it stores the position.
fn handler() -> impl Fn(&Envelope) + Send + Sync + 'static {
    let cell = Arc::new(AtomicU64::new(0));
    move |envelope| cell.store(envelope.position().get(), Ordering::Relaxed)
}

/// Appends to a log of its own, with whoever `subscribe` makes.
fn appends(subscribe: impl Fn(&Log) -> Option<Subscription> + 'static) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let log = timeless();
        let subscription = subscribe(&log);
        let (stream, mut appender): (Stream, Appender) =
            (log.stream("account-000000").expect("the name is valid"), log.appender());
        let sample = time(|| {
            for _ in 0..ops {
                black_box(appender.append(&stream, shared()).expect("nothing is in the way").position);
            }
        });
        drop(subscription);
        sample
    }
}

fn one_appender() -> Group {
    let open = "the log is open";
    Group::new("append with one subscriber, payload shared", OPS)
        .ours("annals, sequential subscriber", appends(move |log| Some(log.subscribe(handler()).expect(open))))
        .rival("annals, observer", appends(move |log| Some(log.observe(handler()).expect(open))))
        .rival("annals, nobody", appends(|_| None))
}
