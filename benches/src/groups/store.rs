//! What indexes cost appends, and what they are good for in conditions and in appends that happen once.

use std::hint::black_box;
use std::sync::LazyLock;

use annals::{AppendOptions, Appender, Builder, Condition, Indexes, Log, Message, Query, Stream};

use crate::by_hand::ByHand;
use crate::load::{Said, Texts};
use crate::measure::{Group, MakeGroup, Sample, time};

/// Appends of one run.
const OPS: u64 = 100_000;
/// Records that are there before conditions are asked.
const BEFORE: u64 = 100_000;
/// How far back a repeat is looked for, without an index: what a log does unless it is told otherwise.
const WITHIN: usize = 1 << 16;
/// Appends of one run that may look through all of these.
const LOOKS: u64 = 100;

/// The cost of each index: ratios are to the first row.
pub const COSTS: [MakeGroup; 1] = [indexes];
pub const ALL: [MakeGroup; 2] = [condition, once];

/// Enough for the records before, and those of all runs.
static TEXTS: LazyLock<Texts> = LazyLock::new(|| Texts::new(2 * BEFORE as usize));

fn handles(log: &Log) -> Vec<Stream> {
    TEXTS.streams().iter().map(|id| log.stream(id).expect("the name is valid")).collect()
}

/// Appends messages that are made beforehand, each with a category, a name, a tag and three ids, to 1,000 streams.
fn appends(builder: Builder) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let log = builder.clone().build().expect("the settings are in range");
        let (streams, mut appender) = (handles(&log), log.appender());
        let mut messages: Vec<Message<'_>> = (0..ops).map(|n| TEXTS.said(n).message()).collect();
        let sample = time(|| {
            for (n, message) in messages.drain(..).enumerate() {
                let stream = &streams[Texts::stream_of(n as u64)];
                black_box(appender.append(stream, message).expect("nothing is in the way").position);
            }
        });
        drop(log);
        sample
    }
}

/// The same by hand, from the texts.
fn appends_by_hand(make: fn() -> ByHand) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let store = make();
        let said: Vec<Said<'_>> = (0..ops).map(|n| TEXTS.said(n)).collect();
        let sample = time(|| said.iter().for_each(|said| store.append(said, 0)));
        drop(store);
        sample
    }
}

fn timeless() -> Builder {
    Log::builder().no_clock()
}

fn with(indexes: Indexes) -> impl FnMut(u64) -> Sample {
    appends(timeless().indexes(indexes))
}

pub fn indexes() -> Group {
    Group::new("append, 1,000 streams, all texts", OPS)
        .ours("annals, no index", with(Indexes::new()))
        .ours("annals, counted", appends(timeless().counted()))
        .ours("annals, index of categories", with(Indexes::new().categories()))
        .ours("annals, index of names", with(Indexes::new().names()))
        .ours("annals, index of tags", with(Indexes::new().tags()))
        .ours("annals, index of correlation ids", with(Indexes::new().correlations()))
        .ours("annals, index of session ids", with(Indexes::new().sessions()))
        .ours("annals, index of message ids", with(Indexes::new().message_ids()))
        .ours("annals, all six", with(Indexes::all()))
        .rival("by hand, no index", appends_by_hand(ByHand::default))
        .rival("by hand, all six as maps", appends_by_hand(ByHand::indexed))
}

/// A log with the records before, which stays over all runs: a few are added by each.
fn filled(indexes: Indexes) -> (Vec<Stream>, Appender) {
    let log = timeless().indexes(indexes).build().expect("the settings are in range");
    let (streams, mut appender) = (handles(&log), log.appender());
    for n in 0..BEFORE {
        let stream = &streams[Texts::stream_of(n)];
        appender.append(stream, TEXTS.said(n).message()).expect("nothing is in the way");
    }
    (streams, appender)
}

fn filled_by_hand(make: fn() -> ByHand) -> ByHand {
    let store = make();
    (0..BEFORE).for_each(|n| store.append(&TEXTS.said(n), 0));
    store
}

/// Appends of one more message each, counted on from those before.
fn more(mut append: impl FnMut(u64)) -> impl FnMut(u64) -> Sample {
    let mut next = BEFORE;
    move |ops| {
        let from = next;
        next += ops;
        time(|| (from..next).for_each(&mut append))
    }
}

/// No record has it: so all are looked at, or none.
const NOWHERE: &str = "account:000000x";

fn conditional(indexes: Indexes) -> impl FnMut(u64) -> Sample {
    let (streams, mut appender) = filled(indexes);
    let condition = Condition::none(Query::tag(NOWHERE).expect("the name is valid"));
    more(move |n| {
        let options = AppendOptions::new().condition(&condition);
        let appended = appender.append_with(&streams[0], TEXTS.said(n).message(), options);
        black_box(appended.expect("no record has the tag").position);
    })
}

fn conditional_by_hand(make: fn() -> ByHand) -> impl FnMut(u64) -> Sample {
    let store = filled_by_hand(make);
    more(move |n| assert!(store.append_unless_tagged(black_box(NOWHERE), &TEXTS.said(n))))
}

pub fn condition() -> Group {
    Group::new("append unless a tag is among 100,000 records", LOOKS)
        .ours("annals, index of tags", conditional(Indexes::new().tags()))
        .rival("annals, no index", conditional(Indexes::new()))
        .rival("by hand, maps", conditional_by_hand(ByHand::indexed))
        .rival("by hand, scan", conditional_by_hand(ByHand::default))
}

fn append_once(indexes: Indexes) -> impl FnMut(u64) -> Sample {
    let (streams, _) = filled(indexes);
    more(move |n| {
        let once = streams[0]
            .append_with(TEXTS.said(n).message(), AppendOptions::new().once())
            .expect("nothing is in the way");
        assert!(!once.repeated);
    })
}

fn append_once_by_hand(make: fn() -> ByHand) -> impl FnMut(u64) -> Sample {
    let store = filled_by_hand(make);
    more(move |n| assert!(store.append_once(WITHIN, &TEXTS.said(n))))
}

pub fn once() -> Group {
    Group::new("append once, 65,536 of 100,000 records looked through", LOOKS)
        .ours("annals, index of message ids", append_once(Indexes::new().message_ids()))
        .rival("annals, no index", append_once(Indexes::new()))
        .rival("by hand, maps", append_once_by_hand(ByHand::indexed))
        .rival("by hand, scan", append_once_by_hand(ByHand::default))
}
