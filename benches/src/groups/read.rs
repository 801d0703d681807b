//! One thread reads what is there.

use std::hint::black_box;
use std::rc::Rc;

use annals::{Cursor, Item, Log, Message, Query};

use crate::load::{self, Record, ids, scattered, timeless};
use crate::measure::{Group, MakeGroup, Sample, time};

/// Records in the log, and operations of one run.
const RECORDS: u64 = 100_000;
const MANY: usize = 1_000;
/// One record in so many has the name and the tag looked for.
const RARE: u64 = 10;
const TAG: &str = "account:42";

pub const ALL: [MakeGroup; 8] = [shared, copied, backwards, one_stream, one_of_many, by_name, by_tag, random];

/// Runs that read all of it, again and again until there were enough operations.
fn reads(mut pass: impl FnMut() -> u64) -> impl FnMut(u64) -> Sample {
    move |ops| {
        time(|| {
            for _ in 0..ops.div_ceil(RECORDS) {
                black_box(pass());
            }
        })
    }
}

/// The first bytes of all payloads: each payload is looked at.
fn sum(mut cursor: Cursor) -> u64 {
    let mut sum = 0;
    while let Some(envelope) = cursor.next() {
        sum += first(envelope.payload());
    }
    sum
}

fn sum_of<'r>(records: impl Iterator<Item = &'r Record>) -> u64 {
    records.map(|record| first(&record.payload)).sum()
}

#[inline]
fn first(payload: &[u8]) -> u64 {
    u64::from(payload[0])
}

fn log_of(message: impl Fn(u64) -> Message<'static>) -> Log {
    let log = timeless();
    let (stream, mut appender) = (log.stream("account-000000").expect("the name is valid"), log.appender());
    for n in 0..RECORDS {
        appender.append(&stream, message(n)).expect("nothing is in the way");
    }
    log
}

fn vec_of(record: impl Fn(u64) -> Record) -> Vec<Record> {
    (0..RECORDS).map(record).collect()
}

fn whole(title: &'static str, message: fn() -> Message<'static>, record: fn() -> Record) -> Group {
    let log = log_of(|_| message());
    let (by_cursor, by_iter) = (log.clone(), log);
    let vec = vec_of(|_| record());
    let boxcar: boxcar::Vec<Record> = vec.iter().map(|_| record()).collect();
    Group::new(title, RECORDS)
        .ours("annals, cursor()", reads(move || sum(by_cursor.read().cursor())))
        .ours("annals, iter()", reads(move || by_iter.read().iter().map(|e| first(e.payload())).sum()))
        .rival("Vec", reads(move || sum_of(black_box(&vec).iter())))
        .rival("boxcar::Vec", reads(move || sum_of(black_box(&boxcar).iter().map(|(_, record)| record))))
}

pub fn shared() -> Group {
    whole("iterate the log, payload shared", load::shared, || Record::shared(1))
}

pub fn copied() -> Group {
    whole("iterate the log, 64 bytes copied", load::copied, || Record::copied(1))
}

pub fn backwards() -> Group {
    let log = log_of(|_| load::copied());
    let vec = vec_of(|_| Record::copied(1));
    Group::new("iterate the log backwards, 64 bytes copied", RECORDS)
        .ours("annals, cursor()", reads(move || sum(log.read().backwards().cursor())))
        .rival("Vec", reads(move || sum_of(black_box(&vec).iter().rev())))
}

pub fn one_stream() -> Group {
    let log = log_of(|_| load::copied());
    let (by_cursor, by_iter) = (log.clone(), log);
    let vec = vec_of(|_| Record::copied(1));
    let read = |log: &Log| log.read_stream("account-000000");
    Group::new("iterate the only stream, 64 bytes copied", RECORDS)
        .ours("annals, cursor()", reads(move || sum(read(&by_cursor).cursor())))
        .ours("annals, iter()", reads(move || read(&by_iter).iter().map(|e| first(e.payload())).sum()))
        .rival("Vec", reads(move || sum_of(black_box(&vec).iter())))
}

/// All streams, one after the other; their records lie interleaved. A rival's as well, when it keeps one order.
pub fn one_of_many() -> Group {
    let names = ids(MANY);
    let log = timeless();
    let streams: Vec<_> = names.iter().map(|name| log.stream(name).expect("the name is valid")).collect();
    let mut appender = log.appender();
    let mut apart: Vec<Vec<Record>> = vec![Vec::new(); MANY];
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); MANY];
    let mut ordered = Vec::new();
    for n in 0..RECORDS {
        let which = scattered(n, MANY);
        appender.append(&streams[which], load::copied()).expect("nothing is in the way");
        apart[which].push(Record::copied(which as u32));
        places[which].push(ordered.len());
        ordered.push(Record::copied(which as u32));
    }
    Group::new("iterate each of 1,000 interleaved streams", RECORDS)
        .ours("annals, cursor()", reads(move || streams.iter().map(|stream| sum(stream.read().cursor())).sum()))
        .rival("Vec for each", reads(move || apart.iter().map(|stream| sum_of(stream.iter())).sum()))
        .rival(
            "Vec and places",
            reads(move || places.iter().map(|stream| sum_of(stream.iter().map(|at| &ordered[*at]))).sum()),
        )
}

pub fn by_name() -> Group {
    let name = |n: u64| if n.is_multiple_of(RARE) { load::WITHDRAWN } else { load::DEPOSITED };
    let log = log_of(|n| Message::event(name(n), &load::CONTENT).expect("the name is valid"));
    let vec = vec_of(|n| Record {
        name: if n.is_multiple_of(RARE) { "Withdrawn" } else { "Deposited" },
        ..Record::copied(1)
    });
    let query = Query::name("Withdrawn").expect("the name is valid");
    Group::new("query by name, 1 in 10 matches, a record looked at", RECORDS)
        .ours("annals, cursor()", reads(move || sum(log.read().matching(query.clone()).cursor())))
        .rival(
            "Vec, filter",
            reads(move || {
                let wanted = black_box("Withdrawn");
                sum_of(vec.iter().filter(|record| record.name == wanted))
            }),
        )
}

pub fn by_tag() -> Group {
    let tag = |n: u64| if n.is_multiple_of(RARE) { TAG } else { "account:43" };
    let log = log_of(|n| {
        let message = Message::builder(load::DEPOSITED).payload(&load::CONTENT).tag(tag(n));
        message.build().expect("the names are valid")
    });
    let vec: Rc<[(Record, Vec<String>)]> = (0..RECORDS).map(|n| (Record::copied(1), vec![tag(n).to_owned()])).collect();
    let query = Query::all().or(Item::new().tag(TAG).expect("the name is valid"));
    Group::new("query by tag, 1 in 10 matches, a record looked at", RECORDS)
        .ours("annals, cursor()", reads(move || sum(log.read().matching(query.clone()).cursor())))
        .rival(
            "Vec, filter",
            reads(move || {
                let wanted = black_box(TAG);
                sum_of(vec.iter().filter(|(_, tags)| tags.iter().any(|tag| tag == wanted)).map(|(record, _)| record))
            }),
        )
}

pub fn random() -> Group {
    let log = log_of(|_| load::copied());
    let view = log.view();
    let vec = vec_of(|_| Record::copied(1));
    let boxcar: boxcar::Vec<Record> = vec.iter().map(|_| Record::copied(1)).collect();
    let anywhere = |n: u64| scattered(n, RECORDS as usize);
    let all = move |get: &dyn Fn(usize) -> u64| (0..RECORDS).map(|n| get(anywhere(n))).sum::<u64>();
    Group::new("get at random", RECORDS)
        .ours(
            "annals, View::get",
            reads(move || all(&|at| first(view.get(at as u64 + 1).expect("it is there").payload()))),
        )
        .ours(
            "annals, Log::get",
            reads(move || all(&|at| first(log.get(at as u64 + 1).expect("it is there").payload()))),
        )
        .rival("Vec", reads(move || all(&|at| first(&black_box(&vec)[at].payload))))
        .rival("boxcar::Vec", reads(move || all(&|at| first(&black_box(&boxcar)[at].payload))))
}
