//! Reads a log on disk by the tables of the chapter on its format, with nothing of the crate that writes it.

use std::collections::BTreeMap;
use std::path::Path;

use annals::durable::Options;
use annals::{Batch, Envelope, Kind, Log, Message, Timestamp};

use crate::basics::directory;

/// Bit by bit, so that it is nobody else's.
fn crc(begun: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!begun, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0x82f6_3b78 })
    })
}

#[derive(Clone, Copy)]
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, len: usize) -> &'b [u8] {
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        head
    }

    fn number<const N: usize>(&mut self) -> u64 {
        self.take(N).iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn v(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.number::<1>();
            number |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    fn short(&mut self) -> String {
        let len = self.number::<1>() as usize;
        String::from_utf8(self.take(len).to_vec()).unwrap()
    }
}

/// A record, as the chapter tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    position: u64,
    stream: String,
    revision: u64,
    name: String,
    command: bool,
    time: Option<i64>,
    own_time: Option<i64>,
    tags: Vec<String>,
    ids: Vec<String>,
    headers: Vec<(String, String)>,
    payload: Vec<u8>,
    more: bool,
}

/// What all files have in common, so far.
#[derive(Default)]
struct Reader {
    records: Vec<Record>,
    log: Option<Vec<u8>>,
    time: i64,
    commands: u64,
    revisions: BTreeMap<String, u64>,
}

impl Reader {
    fn file(&mut self, number: u64, file: &[u8]) {
        assert_eq!(crc(0, &file[..92]), Bytes(&file[92..]).number::<4>() as u32, "checksum of the header");
        let mut header = Bytes(file);
        assert_eq!(header.take(8), b"annalsSG");
        assert_eq!((header.number::<4>(), header.number::<4>()), (1, 96));
        let log = header.take(16).to_vec();
        assert_eq!(*self.log.get_or_insert_with(|| log.clone()), log);
        assert_eq!((header.number::<8>(), header.number::<8>()), (number, self.records.len() as u64 + 1));
        let time = header.number::<8>() as i64;
        assert_eq!(time, if self.records.is_empty() { i64::MIN } else { self.time });
        assert_eq!((header.number::<8>(), header.number::<8>()), (self.commands, self.revisions.len() as u64));
        let longest = header.number::<4>();
        assert_eq!(header.take(16), [0; 16]);
        let first = self.records.len();
        let mut seeded = log;
        seeded.extend_from_slice(&number.to_le_bytes());
        seeded.extend_from_slice(&(first as u64).to_le_bytes());
        let seed = crc(0, &seeded);
        let (mut streams, mut names, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = 96;
        let end = Bytes(&file[file.len() - 56..]).number::<8>() as usize;
        let mut times = vec![time];
        while at < end {
            let mut frame = Bytes(&file[at..]);
            let sum = frame.number::<4>() as u32;
            let len = Bytes(frame.0).number::<4>();
            assert!(len <= longest);
            assert_eq!(sum, crc(seed.wrapping_add(at as u32), &frame.0[..4 + len as usize]), "checksum at {at}");
            frame.take(4);
            let body = Bytes(frame.take(len as usize));
            offsets.push(at);
            self.record(body, &mut streams, &mut names);
            times.push(self.time);
            at += 8 + len as usize;
        }
        assert_eq!(at, end);
        self.footer(&file[end..], seed, first, (streams, names), (&offsets, &times));
    }

    fn record(&mut self, mut body: Bytes<'_>, streams: &mut Vec<String>, names: &mut Vec<String>) {
        let flags = body.number::<1>();
        let has = |flag: u64| flags & flag != 0;
        assert!(has(128));
        let stream = body.v() as usize;
        if has(32) {
            assert_eq!(stream, streams.len());
            streams.push(body.short());
            assert_eq!(body.v(), self.revisions.get(&streams[stream]).copied().unwrap_or(0));
        }
        let name = body.v() as usize;
        if has(64) {
            assert_eq!(name, names.len());
            names.push(body.short());
        }
        let next = self.revisions.entry(streams[stream].clone()).or_default();
        let mut record = Record {
            position: self.records.len() as u64 + 1,
            stream: streams[stream].clone(),
            revision: *next,
            name: names[name].clone(),
            command: has(1),
            more: has(2),
            ..Record::default()
        };
        *next += 1;
        self.commands += u64::from(record.command);
        if has(16) {
            self.time = self.time.wrapping_add_unsigned(body.v());
            record.time = Some(self.time);
        }
        if has(4) {
            let len = body.v() as usize;
            record.attributes(Bytes(body.take(len)));
        }
        record.payload = body.0.to_vec();
        self.records.push(record);
    }

    fn footer(
        &self,
        footer: &[u8],
        seed: u32,
        first: usize,
        (streams, names): (Vec<String>, Vec<String>),
        (offsets, times): (&[usize], &[i64]),
    ) {
        let records = &self.records[first..];
        let (section, trailer) = footer.split_at(footer.len() - 64);
        let mut rest = Bytes(section);
        assert_eq!((0..rest.v()).map(|_| rest.short()).collect::<Vec<_>>(), names);
        assert_eq!(rest.v(), streams.len() as u64);
        for stream in streams {
            assert_eq!(rest.short(), stream);
            let own: Vec<_> = (0..records.len()).filter(|at| records[*at].stream == stream).collect();
            assert_eq!((rest.v(), rest.v()), (records[own[0]].revision, own.len() as u64));
            let mut next = 0;
            for place in own {
                assert_eq!(rest.v() as usize, place - next);
                next = place + 1;
            }
        }
        assert_eq!(rest.v() as usize, records.len().div_ceil(64));
        let (mut offset, mut time) = (96, 0);
        for at in (0..records.len()).step_by(64) {
            offset += rest.v() as usize;
            time = i64::wrapping_add_unsigned(time, rest.v());
            assert_eq!((offset, time), (offsets[at], times[at]));
        }
        assert!(rest.0.is_empty());
        let mut rest = Bytes(trailer);
        assert_eq!(rest.take(8), b"annalsFT");
        rest.take(8);
        assert_eq!((rest.number::<8>(), rest.number::<8>() as i64), (records.len() as u64, self.time));
        assert_eq!((rest.number::<8>(), rest.number::<8>()), (self.commands, self.revisions.len() as u64));
        assert_eq!(rest.number::<4>() as u32, crc(0, section));
        assert_eq!(rest.take(8), [0; 8]);
        assert_eq!(rest.number::<4>() as u32, crc(seed, &trailer[..60]));
    }
}

impl Record {
    fn attributes(&mut self, mut from: Bytes<'_>) {
        let len = from.number::<4>() as usize;
        let mut tags = Bytes(from.take(len));
        while !tags.0.is_empty() {
            self.tags.push(tags.short());
        }
        let has = from.number::<1>();
        self.own_time = (has & 1 != 0).then(|| from.number::<8>() as i64);
        self.ids = [2, 4, 8, 16, 32].iter().filter(|bit| has & **bit != 0).map(|_| from.short()).collect();
        while !from.0.is_empty() {
            let key = from.short();
            let len = from.number::<4>() as usize;
            self.headers.push((key, String::from_utf8(from.take(len).to_vec()).unwrap()));
        }
    }

    /// The same of an envelope; whether its batch goes on, no envelope tells.
    fn of(envelope: &Envelope, more: bool) -> Self {
        let ids = [envelope.request_id(), envelope.correlation_id(), envelope.causation_id(), envelope.session_id()];
        Self {
            position: envelope.position().get(),
            stream: envelope.stream().into(),
            revision: envelope.revision().get(),
            name: envelope.name().into(),
            command: envelope.kind() == Kind::Command,
            time: envelope.time().map(Timestamp::as_nanos),
            own_time: envelope.own_time().map(Timestamp::as_nanos),
            tags: envelope.tags().map(str::to_owned).collect(),
            ids: ids.into_iter().chain([envelope.message_id()]).flatten().map(str::to_owned).collect(),
            headers: envelope.headers().map(|(key, value)| (key.into(), value.into())).collect(),
            payload: envelope.payload().to_vec(),
            more,
        }
    }
}

fn read(directory: &Path) -> Vec<Record> {
    let mut reader = Reader::default();
    for number in 1.. {
        let Ok(file) = std::fs::read(directory.join(format!("{number:016}.seg"))) else { break };
        reader.file(number, &file);
    }
    reader.records
}

/// A log of several files, with everything that a message can have, closed and opened in between, reads by the tables as it
/// reads by the crate.
#[test]
fn a_log_is_as_the_chapter_says() {
    let there = directory();
    let options = Options::new().file_bytes(4096);
    let mut batches = Vec::new();
    for round in 0..3 {
        let log = Log::builder().open(there.path(), options).unwrap();
        for n in 0..60_u64 {
            let message = |part: u64| {
                let mut message = Message::builder(["Placed", "Paid", "Sent"][(n % 3) as usize]).payload(vec![7; 40]);
                if n % 2 == 0 {
                    message = message.kind(Kind::Command).tag("a").tag(format!("t-{part}"));
                }
                if n % 5 == 0 {
                    message = message.request_id("r").correlation_id("c").causation_id("x").session_id("s");
                }
                if n % 7 == 0 {
                    let time = Timestamp::from_nanos(-5);
                    message = message.message_id(format!("m-{n}")).header("key", "välue").own_time(time);
                }
                message.build().unwrap()
            };
            let streams = |part: u64| format!("order-{}", (n * 7 + part + round) % 11);
            let count = 1 + n % 4 * (n % 3);
            let batch = (0..count).fold(Batch::new(), |batch, part| batch.add(streams(part), message(part)));
            log.append_batch(batch).unwrap();
            batches.extend((0..count).map(|part| part + 1 < count));
        }
    }
    let log = Log::builder().open(there.path(), options).unwrap();
    let expected: Vec<_> = log.read().iter().zip(&batches).map(|(it, more)| Record::of(&it, *more)).collect();
    drop(log);
    let files = std::fs::read_dir(there.path()).unwrap().count();
    assert!(files > 4 && expected.len() == batches.len(), "{files} files, {} records", expected.len());
    assert_eq!(read(there.path()), expected);
}
