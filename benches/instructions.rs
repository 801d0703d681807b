//! Fixed pieces of work whose instructions `instructions.py` counts. `instructions --list` names them, `instructions NAME`
//! does one and prints how many operations that was.
//!
//! Everything inside [`measured`] counts and nothing else: the counter is switched on and off by the name of that
//! function. Each piece of work is a process of its own, on one thread, from an empty or a prepared log.

use std::hint::black_box;
use std::process::ExitCode;

use annals::{
    AppendOptions, Appender, Batch, Condition, Cursor, Expected, Indexes, Log, Message, Name, Query, Revision, Stream,
};
use annals_benches::load::{self, ids, scattered, timeless};

/// Enough for chunks, segments and index blocks to be a steady part of an operation, and for the keys of the hash, which
/// differ from process to process, to average out. A multiple of a batch.
const OPS: u64 = 51_200;
const STREAMS: usize = 1_000;
const BATCH: u64 = 64;

struct Workload {
    name: &'static str,
    run: fn(),
}

const ALL: [Workload; 21] = [
    Workload { name: "append, payload shared", run: append_shared },
    Workload { name: "append, 64 bytes copied", run: append_copied },
    Workload { name: "append with time, coarse clock", run: append_coarse },
    Workload { name: "append with time, system clock", run: append_stamped },
    Workload { name: "append by Stream::append", run: append_by_stream },
    Workload { name: "append by name, 1,000 streams", run: append_by_name },
    Workload { name: "exact expectation by handle, 1,000 streams", run: expected_by_handle },
    Workload { name: "exact expectation by name, 1,000 streams", run: expected_by_name },
    Workload { name: "append condition at the end", run: condition },
    Workload { name: "batch of 64, payload shared, an envelope", run: batch_shared },
    Workload { name: "batch of 64, 64 bytes copied, an envelope", run: batch_copied },
    Workload { name: "read the log, an envelope", run: read_log },
    Workload { name: "read the only stream, an envelope", run: read_only_stream },
    Workload { name: "read 1,000 interleaved streams, an envelope", run: read_streams },
    Workload { name: "get at random, View::get", run: get_from_view },
    Workload { name: "get at random, Log::get", run: get_from_log },
    Workload { name: "append with one tag, not indexed", run: append_tagged },
    Workload { name: "append with one tag, indexed", run: append_tagged_indexed },
    Workload { name: "filtered read by name, an envelope looked at", run: filter_by_name },
    Workload { name: "filtered read by tag, an envelope looked at", run: filter_by_tag },
    Workload { name: "read by tag, indexed, an envelope", run: read_by_tag },
];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if wanted == "--list" {
        for Workload { name, .. } in ALL {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    let Some(workload) = ALL.iter().find(|workload| workload.name == wanted) else {
        eprintln!("no such workload: {wanted:?}; `--list` names them");
        return ExitCode::FAILURE;
    };
    (workload.run)();
    println!("{OPS}");
    ExitCode::SUCCESS
}

/// What is counted. Its name is in `instructions.py`.
#[inline(never)]
fn measured(mut work: impl FnMut(u64)) {
    for n in 0..OPS {
        work(n);
    }
}

fn one_stream(log: &Log) -> (Stream, Appender) {
    (log.stream("account-000000").expect("the name is valid"), log.appender())
}

fn append(log: &Log, message: impl Fn() -> Message<'static>) {
    let (stream, mut appender) = one_stream(log);
    measured(|_| {
        black_box(appender.append(&stream, message()).expect("nothing is in the way").position);
    });
}

fn append_shared() {
    append(&timeless(), load::shared);
}

fn append_copied() {
    append(&timeless(), load::copied);
}

fn append_coarse() {
    append(&Log::builder().coarse_clock().build().expect("the settings are in range"), load::shared);
}

fn append_stamped() {
    append(&Log::new(), load::shared);
}

fn append_by_stream() {
    let (stream, _) = one_stream(&timeless());
    measured(|_| {
        black_box(stream.append(load::shared()).expect("nothing is in the way").position);
    });
}

/// A log of so many streams, with one envelope each.
fn log_of_streams(names: &[String]) -> Log {
    let log = timeless();
    for name in names {
        log.append(name, load::shared()).expect("nothing is in the way");
    }
    log
}

fn handles(log: &Log, names: &[String]) -> Vec<Stream> {
    names.iter().map(|name| log.stream(name).expect("the name is valid")).collect()
}

fn append_by_name() {
    let names = ids(STREAMS);
    let log = log_of_streams(&names);
    measured(|n| {
        black_box(log.append(&names[scattered(n, STREAMS)], load::shared()).expect("nothing is in the way").position);
    });
}

/// The revision that each stream has reached.
struct Reached(Vec<Revision>);

impl Reached {
    fn expected(&self, which: usize) -> Expected {
        Expected::Exactly(self.0[which])
    }
}

fn expected_by_handle() {
    let names = ids(STREAMS);
    let log = log_of_streams(&names);
    let (streams, mut appender) = (handles(&log, &names), log.appender());
    let mut reached = Reached(vec![Revision::from(0); STREAMS]);
    measured(|n| {
        let which = scattered(n, STREAMS);
        let appended = appender.append_with(&streams[which], load::shared(), reached.expected(which));
        reached.0[which] = appended.expect("it is right").revision;
    });
}

fn expected_by_name() {
    let names = ids(STREAMS);
    let log = log_of_streams(&names);
    let mut reached = Reached(vec![Revision::from(0); STREAMS]);
    measured(|n| {
        let which = scattered(n, STREAMS);
        let appended = log.append_with(&names[which], load::shared(), reached.expected(which));
        reached.0[which] = appended.expect("it is right").revision;
    });
}

fn condition() {
    let log = timeless();
    let (stream, mut appender) = one_stream(&log);
    let query = Query::tag("account:42").expect("the name is valid");
    let mut condition = Some(Condition::none(query).after(log.end()));
    measured(|_| {
        let known = condition.take().expect("it is put back");
        let options = AppendOptions::new().condition(&known);
        let appended = appender.append_with(&stream, load::shared(), options).expect("nothing came after");
        condition = Some(known.after(appended.position));
    });
}

/// Each 64th operation appends a batch of 64, whose building is part of it.
fn batch(message: impl Fn() -> Message<'static>) {
    let (stream, mut appender) = one_stream(&timeless());
    measured(|n| {
        if n.is_multiple_of(BATCH) {
            let batch = (0..BATCH).fold(Batch::new(), |batch, _| batch.add(&stream, message()));
            black_box(appender.append_batch(batch).expect("nothing is in the way").last);
        }
    });
}

fn batch_shared() {
    batch(load::shared);
}

fn batch_copied() {
    batch(load::copied);
}

/// A log of [`OPS`] envelopes in turn over the streams.
fn filled(names: &[String]) -> Log {
    let log = timeless();
    let (streams, mut appender) = (handles(&log, names), log.appender());
    for n in 0..OPS {
        appender.append(&streams[scattered(n, names.len())], load::copied()).expect("nothing is in the way");
    }
    log
}

/// Moves the cursor by one envelope and looks at its payload, or says that there is none.
fn looked_at(cursor: &mut Cursor) -> bool {
    let Some(envelope) = cursor.next() else { return false };
    black_box(envelope.payload()[0]);
    true
}

fn read_log() {
    let mut cursor = filled(&ids(1)).read().cursor();
    measured(|_| assert!(looked_at(&mut cursor)));
}

fn read_only_stream() {
    let names = ids(1);
    let mut cursor = filled(&names).read_stream(&*names[0]).cursor();
    measured(|_| assert!(looked_at(&mut cursor)));
}

/// One stream after the other, opening a cursor for each.
fn read_streams() {
    let names = ids(STREAMS);
    let log = filled(&names);
    let streams = handles(&log, &names);
    let mut cursors = streams.iter().map(|stream| stream.read().cursor());
    let mut cursor = cursors.next().expect("there are streams");
    measured(|_| {
        while !looked_at(&mut cursor) {
            cursor = cursors.next().expect("there are as many envelopes");
        }
    });
}

fn get_from_view() {
    let view = filled(&ids(1)).view();
    measured(|n| {
        let envelope = view.get(scattered(n, OPS as usize) as u64 + 1).expect("it is there");
        black_box(envelope.payload()[0]);
    });
}

fn get_from_log() {
    let log = filled(&ids(1));
    measured(|n| {
        let envelope = log.get(scattered(n, OPS as usize) as u64 + 1).expect("it is there");
        black_box(envelope.payload()[0]);
    });
}

/// One of [`STREAMS`] tags, the n-th.
fn tag(n: u64) -> Name<'static> {
    Name::new(format!("account:{:06}", scattered(n, STREAMS))).expect("the name is valid")
}

fn tagged(tag: Name<'static>) -> Message<'static> {
    Message::builder(load::DEPOSITED).payload(&load::CONTENT).tag(tag).build().expect("the names are valid")
}

/// The message and its tag are made beforehand.
fn append_tagged_to(log: &Log) {
    let (stream, mut appender) = one_stream(log);
    let mut messages: Vec<Message<'static>> = (0..OPS).rev().map(|n| tagged(tag(n))).collect();
    measured(|_| {
        let message = messages.pop().expect("there are as many");
        black_box(appender.append(&stream, message).expect("nothing is in the way").position);
    });
}

fn append_tagged() {
    append_tagged_to(&timeless());
}

fn with_tags() -> Log {
    Log::builder().no_clock().indexes(Indexes::new().tags()).build().expect("the settings are in range")
}

fn append_tagged_indexed() {
    append_tagged_to(&with_tags());
}

/// One record in so many is looked for.
const RARE: u64 = 100;
const RARE_TAG: Name<'static> = Name::from_static("account:rare");

/// A log of [`OPS`] envelopes with a name and a tag each, the rare ones now and then.
fn fill_rarely(log: &Log) {
    let (stream, mut appender) = one_stream(log);
    for n in 0..OPS {
        let rare = n.is_multiple_of(RARE);
        let name = if rare { load::WITHDRAWN } else { load::DEPOSITED };
        let tag = if rare { RARE_TAG } else { tag(n) };
        let message = Message::builder(name).payload(&load::CONTENT).tag(tag).build().expect("the names are valid");
        appender.append(&stream, message).expect("nothing is in the way");
    }
}

/// Each operation is an envelope that the read passes over or finds.
fn filter(query: Query) {
    let log = timeless();
    fill_rarely(&log);
    let mut cursor = log.read().matching(query).cursor();
    measured(|n| assert!(!n.is_multiple_of(RARE) || looked_at(&mut cursor)));
}

fn filter_by_name() {
    filter(Query::name(&load::WITHDRAWN).expect("the name is valid"));
}

fn filter_by_tag() {
    filter(Query::tag(&RARE_TAG).expect("the name is valid"));
}

/// The same read again and again, opening a cursor for each.
fn read_by_tag() {
    let log = with_tags();
    fill_rarely(&log);
    let query = Query::tag(&RARE_TAG).expect("the name is valid");
    let mut cursor = log.read().matching(query.clone()).cursor();
    measured(|_| {
        while !looked_at(&mut cursor) {
            cursor = log.read().matching(query.clone()).cursor();
        }
    });
}
