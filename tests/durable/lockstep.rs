//! A log on disk, opened again and again and with hardly anything in memory, answers as one in memory.

use annals::durable::Options;
use annals::{
    AppendError, AppendOptions, Batch, Condition, Envelope, Expected, Item, Kind, Log, Message, OneStream, Query, Read,
    Timestamp, WholeLog,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::basics::directory;

const STREAMS: [&str; 4] = ["order-1", "order-2", "account-1", "lonely"];
const NAMES: [&str; 3] = ["Placed", "Paid", "Sent"];
const TAGS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u32>, u32),
    /// So many of 256 parts of the log.
    Truncate(u8),
    Maintain,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        16 => (vec(any::<u32>(), 1..5), any::<u32>()).prop_map(|(messages, terms)| Step::Append(messages, terms)),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..120)
}

fn stream(bits: u32) -> &'static str {
    STREAMS[(bits >> 12) as usize % 4]
}

fn message(bits: u32) -> Message<'static> {
    let has = |at: u32| bits >> (20 + at) & 1 != 0;
    let payload = vec![bits as u8; if bits.is_multiple_of(31) { 2000 } else { bits as usize % 60 }];
    let mut message = Message::builder(NAMES[bits as usize % 3]).payload(payload);
    if has(0) {
        message = message.kind(Kind::Command);
    }
    if has(1) {
        message = message.tag(TAGS[(bits >> 4) as usize % 3]);
    }
    if has(2) {
        message = message.tag(TAGS[(bits >> 6) as usize % 3]).header("key", "value");
    }
    if has(3) {
        message = message.correlation_id(TAGS[(bits >> 8) as usize % 3]);
    }
    if has(4) {
        message = message.own_time(Timestamp::from_nanos(bits.into())).message_id(format!("m-{}", bits % 7));
    }
    message.build().unwrap()
}

fn query(bits: u32) -> Query {
    let has = |at: u32| bits >> (20 + at) & 1 != 0;
    let mut item = Item::new();
    if has(0) {
        item = item.name(NAMES[bits as usize % 3]).unwrap();
    }
    if has(1) {
        item = item.tag(TAGS[(bits >> 4) as usize % 3]).unwrap();
    }
    if has(2) {
        item = item.stream(STREAMS[(bits >> 6) as usize % 4]).unwrap();
    }
    if has(3) {
        item = item.correlation(TAGS[(bits >> 8) as usize % 3]);
    }
    Query::all().or(item)
}

/// What an append came to, in words that can be compared.
fn append(log: &Log, messages: &[u32], terms: u32, time: i64) -> String {
    let end = log.end().get();
    let back = u64::from(terms >> 8) % 40;
    let condition = Condition::none(query(terms)).after(end.saturating_sub(back));
    let first = stream(messages[0]);
    let expected = match terms % 5 {
        0 => Expected::exactly(u64::from(terms >> 16) % 20),
        1 => Expected::NoStream,
        2 => Expected::Exists,
        _ => Expected::Any,
    };
    let time = Timestamp::from_nanos(time);
    let result = if let [alone] = messages {
        let mut options = AppendOptions::new().expected(expected).at(time);
        if terms & 1 << 30 != 0 {
            options = options.condition(&condition);
        }
        if terms & 1 << 29 != 0 && message(*alone).message_id().is_some() {
            options = options.once();
        }
        let appended = log.append_with(first, message(*alone), options);
        appended.map(|it| format!("{} {} {}", it.position, it.revision, it.repeated)).map_err(|it| it.error)
    } else {
        let mut batch = messages.iter().fold(Batch::new(), |batch, bits| batch.add(stream(*bits), message(*bits)));
        batch = batch.expect(first, expected).at(time);
        if terms & 1 << 30 != 0 {
            batch = batch.condition(condition);
        }
        log.append_batch(batch).map(|it| format!("{} {} {:?}", it.first, it.last, it.revisions)).map_err(|it| it.error)
    };
    match result {
        Ok(appended) => appended,
        Err(AppendError::Conflict(conflict)) => format!("{conflict} {:?}", all(conflict.missed().iter())),
        Err(AppendError::ConditionFailed(failed)) => format!("{failed} {:?}", all(failed.missed().iter())),
        Err(other) => other.to_string(),
    }
}

fn all(envelopes: impl Iterator<Item = Envelope>) -> Vec<String> {
    envelopes
        .map(|it| {
            let (tags, headers) = (it.tags().collect::<Vec<_>>(), it.headers().collect::<Vec<_>>());
            let ids = (it.correlation_id(), it.message_id(), it.own_time());
            let payload = (it.payload().len(), it.payload().first());
            let (time, kind) = (it.time(), it.kind());
            let place = (it.position().get(), it.stream(), it.revision().get(), it.name());
            format!("{place:?} {kind:?} {time:?} {tags:?} {headers:?} {ids:?} {payload:?}")
        })
        .collect()
}

fn bounds<S>(read: Read<S>, bits: u32, end: u64) -> Read<S> {
    let place = |shift: u32| u64::from(bits >> shift & 0xff) * (end + 2) / 256;
    let mut read = match bits % 4 {
        0 => read.from(place(8)).to(place(8) + place(16) / 2),
        1 => read.after(place(8)),
        2 => {
            read.since(Timestamp::from_nanos(place(8) as i64 * 10)).until(Timestamp::from_nanos(place(16) as i64 * 10))
        }
        _ => read,
    };
    if bits >> 2 & 1 != 0 {
        read = read.backwards();
    }
    match bits >> 3 & 3 {
        0 => read.first(place(24) / 4),
        1 => read.last(place(24) / 4),
        _ => read,
    }
}

fn of_log(log: &Log, bits: u32, seed: u32) -> Read<WholeLog> {
    let read = bounds(log.read(), bits, log.end().get());
    if seed.is_multiple_of(3) { read } else { read.matching(query(seed)) }
}

fn of_stream(log: &Log, bits: u32, seed: u32) -> Read<OneStream> {
    let mut read = bounds(log.read_stream(stream(seed)), bits, log.end().get());
    if seed.is_multiple_of(2) {
        read = read.from_revision(u64::from(seed >> 3) % 12).to_revision(u64::from(seed >> 7) % 40);
    }
    if seed.is_multiple_of(5) { read.matching(query(seed)) } else { read }
}

/// Everything that can be asked, of both.
fn compare(memory: &Log, disk: &Log, asked: &[(u32, u32)]) -> Result<(), TestCaseError> {
    prop_assert_eq!(memory.end(), disk.end());
    prop_assert_eq!(memory.first(), disk.first());
    prop_assert_eq!(all(memory.read().iter()), all(disk.read().iter()));
    let ids = |log: &Log| log.streams().iter().map(|it| it.id().to_owned()).collect::<Vec<_>>();
    prop_assert_eq!(ids(memory), ids(disk));
    prop_assert_eq!(memory.written_streams(), disk.written_streams());
    for id in STREAMS {
        prop_assert_eq!(memory.stream_info(id), disk.stream_info(id), "{}", id);
        prop_assert_eq!(all(memory.read_stream(id).iter()), all(disk.read_stream(id).iter()));
    }
    for (bits, seed) in asked {
        prop_assert_eq!(all(of_log(memory, *bits, *seed).iter()), all(of_log(disk, *bits, *seed).iter()));
        prop_assert_eq!(all(of_stream(memory, *bits, *seed).iter()), all(of_stream(disk, *bits, *seed).iter()));
        let position = u64::from(*bits) % (memory.end().get() + 1);
        prop_assert_eq!(all(memory.get(position).into_iter()), all(disk.get(position).into_iter()));
        let (then, now) = (memory.view_at(position).unwrap(), disk.view_at(position).unwrap());
        prop_assert_eq!(then.end(), now.end(), "as of {}", position);
        let id = stream(*seed);
        prop_assert_eq!(then.stream_info(id), now.stream_info(id), "{} as of {}", id, position);
        prop_assert_eq!(all(then.read_stream(id).backwards().iter()), all(now.read_stream(id).backwards().iter()));
        prop_assert_eq!((then.oldest(), then.newest()), (now.oldest(), now.newest()));
        let counts = |view: &annals::View| (view.counts().messages, view.counts().commands, view.counts().events);
        prop_assert_eq!(counts(&then), counts(&now), "as of {}", position);
    }
    Ok(())
}

struct Pair {
    memory: Log,
    disk: Option<Log>,
    directory: TempDir,
    options: Options,
}

impl Pair {
    fn new(options: Options) -> Self {
        let memory = Log::builder().segment_slots(4).counted().time_per_append().build().unwrap();
        let mut pair = Self { memory, disk: None, directory: directory(), options };
        pair.open();
        pair
    }

    fn open(&mut self) {
        self.disk = None;
        let builder = Log::builder().segment_slots(4).counted().time_per_append();
        self.disk = Some(builder.open(self.directory.path(), self.options).unwrap());
    }

    fn disk(&self) -> &Log {
        self.disk.as_ref().unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// Whatever is appended, on whatever terms, and however often the log is opened again: what it says is what a log in memory
    /// says.
    #[test]
    fn what_is_on_disk_reads_like_memory(
        steps in steps(),
        asked in vec((any::<u32>(), any::<u32>()), 12),
        resident in proptest::option::of(0..30_u64),
    ) {
        let mut options = Options::new().acknowledge(annals::Ack::Written).file_bytes(4096);
        if let Some(resident) = resident {
            options = options.resident(resident);
        }
        let mut pair = Pair::new(options);
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Append(messages, terms) => {
                    let time = at as i64 * 10;
                    let (memory, disk) = (append(&pair.memory, messages, *terms, time), append(pair.disk(), messages, *terms, time));
                    prop_assert_eq!(memory, disk);
                }
                Step::Truncate(parts) => {
                    let position = pair.memory.end().get() * u64::from(*parts) / 255 + 1;
                    let (memory, disk) = (pair.memory.truncate_before(position), pair.disk().truncate_before(position));
                    prop_assert_eq!(memory, disk);
                }
                Step::Maintain => pair.disk().maintain(),
                Step::Reopen => pair.open(),
            }
        }
        compare(&pair.memory, pair.disk(), &asked)?;
        pair.open();
        compare(&pair.memory, pair.disk(), &asked)?;
    }
}
