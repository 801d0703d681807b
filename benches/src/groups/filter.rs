//! Filtered reads: by scan, and by index. Those of a store by hand hold its lock while they read.

use std::hint::black_box;
use std::rc::Rc;

use annals::{AppendOptions, Cursor, Indexes, Kind, Log, Query, Timestamp};

use crate::by_hand::{ByHand, Kept};
use crate::load::{Said, Texts};
use crate::measure::{Group, Sample, time};

/// The name of one record in 100, the tag of one in 1,000, the kind of one in 10.
const NAME: &str = "Liquidated";
const TAG: &str = "account:000rar";
const RARE_NAME: u64 = 100;
const RARE_TAG: u64 = 1_000;
const RARE_KIND: u64 = 10;

/// The same records in a log without index, in one with indexes of names and tags, and in a store by hand.
struct Filled {
    records: u64,
    plain: Log,
    indexed: Log,
    by_hand: Rc<ByHand>,
}

/// What the n-th record says: its length is that of the others, its name and its tag as well.
fn said(texts: &Texts, n: u64) -> Said<'_> {
    let usual = texts.said(n);
    Said {
        name: if n.is_multiple_of(RARE_NAME) { NAME } else { usual.name },
        tag: if n % RARE_TAG == 1 { TAG } else { usual.tag },
        kind: if n % RARE_KIND == 2 { Kind::Command } else { Kind::Event },
        ..usual
    }
}

/// Records lie a microsecond apart.
fn time_of(n: u64) -> u64 {
    n * 1_000
}

fn stamp(n: u64) -> Timestamp {
    Timestamp::from_nanos(time_of(n).cast_signed())
}

fn log_of(records: u64, texts: &Texts, indexes: Indexes) -> Log {
    let log = Log::builder().time_per_append().indexes(indexes).build().expect("the settings are in range");
    let streams: Vec<_> = texts.streams().iter().map(|id| log.stream(id).expect("the name is valid")).collect();
    let mut appender = log.appender();
    for n in 0..records {
        let (stream, message) = (&streams[Texts::stream_of(n)], said(texts, n).message());
        appender.append_with(stream, message, AppendOptions::new().at(stamp(n))).expect("nothing is in the way");
    }
    log
}

impl Filled {
    fn new(records: u64) -> Self {
        let texts = Texts::new(0);
        let by_hand = ByHand::indexed();
        for n in 0..records {
            by_hand.append(&said(&texts, n), time_of(n));
        }
        Self {
            records,
            plain: log_of(records, &texts, Indexes::new()),
            indexed: log_of(records, &texts, Indexes::new().names().tags()),
            by_hand: Rc::new(by_hand),
        }
    }

    /// A title with the number of records; made once for each group.
    fn title(&self, what: &str) -> &'static str {
        let records = if self.records >= 1_000_000 {
            format!("{} million", self.records / 1_000_000)
        } else {
            format!("{},000", self.records / 1_000)
        };
        Box::leak(format!("{what}, {records}").into_boxed_str())
    }

    /// Reads of a store by hand, in passes of so many operations.
    fn of_hand(&self, ops: u64, read: impl Fn(&ByHand) -> u64 + 'static) -> impl FnMut(u64) -> Sample + 'static {
        let store = self.by_hand.clone();
        reads(ops, move || read(&store))
    }
}

/// Passes of so many operations each, until there were enough.
fn reads(of_pass: u64, mut pass: impl FnMut() -> u64) -> impl FnMut(u64) -> Sample {
    move |ops| {
        time(|| {
            for _ in 0..ops.div_ceil(of_pass) {
                black_box(pass());
            }
        })
    }
}

/// The first bytes of all payloads: each envelope that is found is looked at.
fn sum(mut cursor: Cursor) -> u64 {
    let mut sum = 0;
    while let Some(envelope) = cursor.next() {
        sum += u64::from(envelope.payload()[0]);
    }
    sum
}

fn sum_of<'r>(records: impl Iterator<Item = &'r Kept>) -> u64 {
    records.map(|record| u64::from(record.payload[0])).sum()
}

fn matching(log: &Log, query: &Query) -> impl FnMut() -> u64 + use<> {
    let (log, query) = (log.clone(), query.clone());
    move || sum(log.read().matching(query.clone()).cursor())
}

/// Makes the stores once and gives each group to `with`.
pub fn for_each(records: u64, mut with: impl FnMut(Group)) {
    let filled = Filled::new(records);
    for group in [by_name, by_tag, by_kind, by_time, last, by_name_index, by_tag_index, last_index] {
        with(group(&filled));
    }
}

fn name() -> Query {
    Query::name(NAME).expect("the name is valid")
}

fn has(record: &Kept, tag: &str) -> bool {
    record.tags.iter().any(|it| **it == *tag)
}

fn by_name(filled: &Filled) -> Group {
    let title = filled.title("by name, 1 in 100 matches, a record looked at");
    Group::new(title, filled.records)
        .ours("annals, no index", reads(filled.records, matching(&filled.plain, &name())))
        .rival(
            "by hand, scan",
            filled.of_hand(filled.records, |store| {
                let wanted = black_box(NAME);
                sum_of(store.0.read().records.iter().filter(|record| record.name == wanted))
            }),
        )
}

/// Against the published stores that can be asked for everything. A group of its own: what they copy would take the cache
/// from the others. The larger ones would not fit beside all others.
#[cfg(feature = "published")]
pub fn published() -> Group {
    use crate::published::filtered::{Eventcore, Soaprs};
    const RECORDS: u64 = 100_000;
    let texts = Texts::new(0);
    let log = log_of(RECORDS, &texts, Indexes::new());
    let (soaprs, eventcore) = (Soaprs::new(RECORDS, RARE_NAME), Eventcore::new(RECORDS, RARE_NAME));
    Group::new("published stores, by name, 1 in 100 matches, a record looked at, 100,000", RECORDS)
        .ours("annals, no index", reads(RECORDS, matching(&log, &name())))
        .rival("soaprs-memory, everything copied", reads(RECORDS, move || soaprs.withdrawn()))
        .rival("eventcore-memory, JSON", reads(RECORDS, move || eventcore.withdrawn()))
}

fn by_tag(filled: &Filled) -> Group {
    let query = Query::tag(TAG).expect("the name is valid");
    Group::new(filled.title("by tag, 1 in 1,000 matches, a record looked at"), filled.records)
        .ours("annals, no index", reads(filled.records, matching(&filled.plain, &query)))
        .rival(
            "by hand, scan",
            filled.of_hand(filled.records, |store| {
                let wanted = black_box(TAG);
                sum_of(store.0.read().records.iter().filter(|record| has(record, wanted)))
            }),
        )
}

fn by_kind(filled: &Filled) -> Group {
    let query = Query::kind(Kind::Command);
    Group::new(filled.title("by kind, 1 in 10 matches, a record looked at"), filled.records)
        .ours("annals, no index", reads(filled.records, matching(&filled.plain, &query)))
        .rival(
            "by hand, scan",
            filled.of_hand(filled.records, |store| {
                let wanted = black_box(Kind::Command);
                sum_of(store.0.read().records.iter().filter(|record| record.kind == wanted))
            }),
        )
}

/// One record in 100, in the middle; found by binary search on both sides.
fn by_time(filled: &Filled) -> Group {
    let (from, matches) = (filled.records / 2, filled.records / 100);
    let (since, until) = (stamp(from), stamp(from + matches - 1));
    let log = filled.plain.clone();
    Group::new(filled.title("by time, 1 in 100 matches, a match"), matches)
        .ours("annals, no index", reads(matches, move || sum(log.read().since(since).until(until).cursor())))
        .rival(
            "by hand, binary search",
            filled.of_hand(matches, move |store| {
                let rows = store.0.read();
                let place = |time| rows.records.partition_point(|record| record.time < time);
                sum_of(rows.records[place(time_of(from))..place(time_of(from + matches))].iter())
            }),
        )
}

/// Reads in one run of those that look at little.
const READS: u64 = 100;

fn last(filled: &Filled) -> Group {
    let log = filled.plain.clone();
    Group::new(filled.title("the last 10 of a name, a read"), READS)
        .ours("annals, no index", reads(1, move || sum(log.read().matching(name()).last(10).cursor())))
        .rival(
            "by hand, scan from the end",
            filled.of_hand(1, |store| {
                let wanted = black_box(NAME);
                sum_of(store.0.read().records.iter().rev().filter(|record| record.name == wanted).take(10))
            }),
        )
}

fn by_name_index(filled: &Filled) -> Group {
    let matches = filled.records / RARE_NAME;
    Group::new(filled.title("by name with an index, 1 in 100 matches, a match"), matches)
        .ours("annals, index", reads(matches, matching(&filled.indexed, &name())))
        .rival("by hand, map of places", filled.of_hand(matches, |store| sum_of(store.0.read().named(black_box(NAME)))))
}

fn by_tag_index(filled: &Filled) -> Group {
    let matches = filled.records / RARE_TAG;
    let query = Query::tag(TAG).expect("the name is valid");
    Group::new(filled.title("by tag with an index, 1 in 1,000 matches, a match"), matches.max(10_000))
        .ours("annals, index", reads(matches, matching(&filled.indexed, &query)))
        .rival("by hand, map of places", filled.of_hand(matches, |store| sum_of(store.0.read().tagged(black_box(TAG)))))
}

fn last_index(filled: &Filled) -> Group {
    let log = filled.indexed.clone();
    Group::new(filled.title("the last 10 of a name with an index, a read"), READS)
        .ours("annals, index", reads(1, move || sum(log.read().matching(name()).last(10).cursor())))
        .rival(
            "by hand, map of places",
            filled.of_hand(1, |store| sum_of(store.0.read().named(black_box(NAME)).rev().take(10))),
        )
}
