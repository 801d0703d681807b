//! The message store against the log that it stands on, a store by hand, and published ones.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::SystemTime;

use annals::store::{MessageStore, block_on, iterate};
use annals::{Batch, Log};

use crate::load::{self, Record, ids, scattered};
use crate::measure::{Group, MakeGroup, Sample, time};
use crate::rivals::Ordered;

/// Saves of one run, and messages of the stream that is read.
const OPS: u64 = 100_000;
const MANY: usize = 1_000;
const BATCH: u64 = 100;

pub const ALL: [MakeGroup; 6] = [save_1, save_1_000, batches, read, statistics, stream_info];

static IDS: LazyLock<Vec<String>> = LazyLock::new(|| ids(MANY));

/// The log that a message store makes.
fn counted() -> Log {
    Log::builder().counted().build().expect("the settings are in range")
}

/// Runs that make a store, time `ops` operations on it, and drop it afterwards.
fn fresh<S>(make: impl Fn() -> S, work: impl Fn(&S, u64)) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let store = make();
        let sample = time(|| (0..ops).for_each(|n| work(&store, n)));
        drop(store);
        sample
    }
}

fn stream(n: u64, streams: usize) -> &'static str {
    &IDS[scattered(n, streams)]
}

/// A record with the time, as ours have.
fn stamped() -> Record {
    black_box(SystemTime::now());
    Record::copied(1)
}

fn save(title: &'static str, streams: usize) -> Group {
    let group = Group::new(title, OPS)
        .ours(
            "annals, message store",
            fresh(MessageStore::new, move |store, n| {
                let saved = block_on(store.save(stream(n, streams), load::copied()));
                black_box(saved.expect("nothing is in the way").position);
            }),
        )
        .rival(
            "annals, bare append by name",
            fresh(counted, move |log, n| {
                let appended = log.append(stream(n, streams), load::copied());
                black_box(appended.expect("nothing is in the way").position);
            }),
        )
        .rival("by hand", fresh(Ordered::default, move |store, n| store.append_any(stream(n, streams), stamped())));
    with_published(group, streams)
}

#[cfg(feature = "published")]
fn with_published(group: Group, streams: usize) -> Group {
    use crate::groups::published::appends;
    use crate::published::{Eventcore, Soaprs};
    group
        .rival("soaprs-memory, no time, with expectation", appends::<Soaprs>(streams))
        .rival("eventcore-memory, JSON, with expectation", appends::<Eventcore>(streams))
}

#[cfg(not(feature = "published"))]
fn with_published(group: Group, _: usize) -> Group {
    group
}

pub fn save_1() -> Group {
    save("save, 1 stream", 1)
}

pub fn save_1_000() -> Group {
    save("save, 1,000 streams", MANY)
}

fn batch() -> Batch<'static> {
    (0..BATCH).fold(Batch::new(), |batch, _| batch.add(stream(0, 1), load::copied()))
}

/// Each of so many operations does nothing but the first, which does all.
fn first(n: u64) -> bool {
    n.is_multiple_of(BATCH)
}

pub fn batches() -> Group {
    Group::new("save batches of 100 to a stream, a message", OPS)
        .ours(
            "annals, message store",
            fresh(MessageStore::new, |store, n| {
                if first(n) {
                    black_box(block_on(store.save_batch(batch())).expect("nothing is in the way").last);
                }
            }),
        )
        .rival(
            "annals, bare append_batch",
            fresh(counted, |log, n| {
                if first(n) {
                    black_box(log.append_batch(batch()).expect("nothing is in the way").last);
                }
            }),
        )
        .rival(
            "by hand, one lock for all",
            fresh(Ordered::default, |store, n| {
                if first(n) {
                    store.append_all(stream(0, 1), (0..BATCH as usize).map(|_| stamped()));
                }
            }),
        )
}

/// Passes over all messages of the stream.
fn passes(mut pass: impl FnMut() -> u64) -> impl FnMut(u64) -> Sample {
    move |ops| {
        time(|| {
            for _ in 0..ops.div_ceil(OPS) {
                black_box(pass());
            }
        })
    }
}

fn first_byte(payload: &[u8]) -> u64 {
    u64::from(payload[0])
}

fn filled(streams: usize) -> MessageStore {
    let store = MessageStore::new();
    for n in 0..OPS {
        block_on(store.save(stream(n, streams), load::copied())).expect("nothing is in the way");
    }
    store
}

fn filled_by_hand(streams: usize) -> Ordered {
    let store = Ordered::default();
    (0..OPS).for_each(|n| store.append_any(stream(n, streams), stamped()));
    store
}

pub fn read() -> Group {
    let (store, by_hand) = (filled(1), filled_by_hand(1));
    let log = store.log().expect("it is open");
    let group = Group::new("read 100,000 of a stream, a message", OPS)
        .ours(
            "annals, message store",
            passes(move || {
                let envelopes = iterate(store.read_stream(stream(0, 1), 0, 0));
                envelopes.map(|envelope| first_byte(envelope.expect("it is open").payload())).sum()
            }),
        )
        .rival(
            "annals, cursor of the log",
            passes(move || {
                let (mut cursor, mut sum) = (log.read_stream(stream(0, 1)).cursor(), 0);
                while let Some(envelope) = cursor.next() {
                    sum += first_byte(envelope.payload());
                }
                sum
            }),
        )
        .rival(
            "by hand, under its lock",
            passes(move || by_hand.fold(stream(0, 1), |sum, record| sum + first_byte(&record.payload))),
        );
    read_published(group)
}

#[cfg(feature = "published")]
fn read_published(group: Group) -> Group {
    use crate::published::filtered::{Eventcore, Soaprs};
    let (soaprs, eventcore) = (Soaprs::new(OPS, OPS), Eventcore::new(OPS, 1));
    group
        .rival("soaprs-memory, copied", passes(move || soaprs.whole_stream()))
        .rival("eventcore-memory, copied", passes(move || eventcore.whole_stream()))
}

#[cfg(not(feature = "published"))]
fn read_published(group: Group) -> Group {
    group
}

pub fn statistics() -> Group {
    let (store, by_hand) = (filled(MANY), filled_by_hand(MANY));
    Group::new("statistics of 100,000 messages in 1,000 streams", 100)
        .ours("annals, message store", move |ops| {
            time(|| {
                for _ in 0..ops {
                    black_box(block_on(store.statistics()).expect("it is open").events);
                }
            })
        })
        .rival("by hand, a pass that counts", move |ops| {
            time(|| {
                for _ in 0..ops {
                    black_box(by_hand.count(|record| record.name == "Deposited"));
                }
            })
        })
}

/// Asks again and again what is known of a stream.
fn known(store: MessageStore, stream: &'static str) -> impl FnMut(u64) -> Sample {
    move |ops| {
        time(|| {
            for _ in 0..ops {
                black_box(block_on(store.stream_info(black_box(stream))).expect("it is open"));
            }
        })
    }
}

/// The time of the last message of a stream is looked for where that message is; the first one that is left, too.
pub fn stream_info() -> Group {
    const LATER: u64 = 1_000_000;
    let filled = || {
        let store = MessageStore::new();
        let log = store.log().expect("it is open");
        log.append("early", load::copied()).expect("nothing is in the way");
        let (late, mut appender) = (log.stream("late").expect("the name is valid"), log.appender());
        for _ in 0..LATER {
            appender.append(&late, load::copied()).expect("nothing is in the way");
        }
        store
    };
    let (store, halved) = (filled(), filled());
    halved.log().expect("it is open").truncate_before(LATER / 2);
    Group::new("what is known of a stream, 1,000,000 messages", 1_000)
        .ours("annals, written last", known(store.clone(), "late"))
        .rival("annals, written first and never again", known(store, "early"))
        .rival("annals, half of it removed", known(halved, "late"))
}
