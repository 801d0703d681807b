//! What a log is filled with, and whether what comes back after a crash is what it has to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::durable::Options;
use annals::{Ack, AppendOptions, Batch, Envelope, Kind, Log, Message, Position, Timestamp};

use crate::crash_disk::{CrashDisk, Mark};

/// The smallest files, so that there are many; nobody syncs but who is asked to.
pub fn options() -> Options {
    Options::new().file_bytes(4096).sync_every(std::time::Duration::from_hours(1))
}

pub fn open(disk: &CrashDisk, options: Options) -> Result<Log, annals::durable::OpenError> {
    Log::builder().segment_slots(64).open_on(disk.clone(), options)
}

/// The stream of message `n`. One of four, so that each is in every file; now and then a new one.
pub fn stream(n: u64) -> String {
    if n % 10 == 9 { format!("rare-{n}") } else { format!("s-{}", n % 4) }
}

/// Message `n`: of every kind, with everything that a message may have.
pub fn message(n: u64, bytes: usize) -> Message<'static> {
    let mut payload = n.to_string().into_bytes();
    payload.resize(payload.len().max(bytes), b'a' + u8::try_from(n % 26).expect("a letter"));
    let mut builder = Message::builder(format!("Name-{}", n % 3)).payload(payload);
    if n % 5 == 1 {
        builder = builder.kind(Kind::Command);
    }
    if n % 4 == 2 {
        builder = builder.tag(format!("tag-{n}")).tag("all");
    }
    if n % 6 == 3 {
        builder = builder.message_id(format!("id-{n}")).request_id("request").session_id("session");
    }
    if n % 7 == 4 {
        let time = Timestamp::from_nanos(i64::try_from(n).expect("a small number"));
        builder = builder.header("key", "value").own_time(time).correlation_id("c").causation_id("d");
    }
    builder.build().expect("a message")
}

/// All but position, revision and time.
fn same_content(one: &Envelope, other: &Message<'_>) -> bool {
    one.kind() == other.kind()
        && one.name() == other.name()
        && one.payload() == other.payload()
        && one.own_time() == other.own_time()
        && one.request_id() == other.request_id()
        && one.correlation_id() == other.correlation_id()
        && one.causation_id() == other.causation_id()
        && one.session_id() == other.session_id()
        && one.message_id() == other.message_id()
        && one.tags().eq(other.tags())
}

pub fn same(one: &Envelope, other: &Envelope) -> bool {
    one.position() == other.position()
        && one.revision() == other.revision()
        && one.stream() == other.stream()
        && one.kind() == other.kind()
        && one.name() == other.name()
        && one.payload() == other.payload()
        && one.time() == other.time()
        && one.own_time() == other.own_time()
        && one.request_id() == other.request_id()
        && one.correlation_id() == other.correlation_id()
        && one.causation_id() == other.causation_id()
        && one.session_id() == other.session_id()
        && one.message_id() == other.message_id()
        && one.tags().eq(other.tags())
        && one.headers().eq(other.headers())
}

/// What a log had in memory: all that may come back.
#[derive(Clone, Default)]
pub struct Oracle {
    pub envelopes: Vec<Envelope>,
    /// Where batches end.
    pub ends: BTreeSet<u64>,
}

/// A log that is being filled, and what it was told.
pub struct Run {
    pub disk: CrashDisk,
    pub log: Log,
    next: AtomicU64,
    /// Bytes of a payload, at least: this one, or sometimes none.
    pub bytes: usize,
    oracle: Mutex<Oracle>,
}

impl Run {
    pub fn new(disk: &CrashDisk, bytes: usize) -> Self {
        Self::going_on(disk, bytes, Oracle::default())
    }

    /// Opens a disk that has some records of an oracle already.
    pub fn going_on(disk: &CrashDisk, bytes: usize, mut oracle: Oracle) -> Self {
        let log = open(disk, options()).expect("the log opens");
        let end = log.end().get();
        // Whoever sees it may count on it.
        disk.mark(Mark::Safe(end));
        oracle.envelopes.truncate(usize::try_from(end).expect("few"));
        oracle.ends.split_off(&(end + 1));
        let next = AtomicU64::new(end);
        Self { disk: disk.clone(), log, next, bytes, oracle: Mutex::new(oracle) }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn message(&self, n: u64) -> Message<'static> {
        message(n, if n.is_multiple_of(3) { 0 } else { self.bytes })
    }

    fn done(&self, end: Position, ack: Ack) {
        if ack == Ack::Synced {
            self.disk.mark(Mark::Safe(end.get()));
        }
        self.oracle.lock().expect("nobody panics").ends.insert(end.get());
    }

    pub fn one(&self, ack: Ack) {
        let n = self.number();
        let terms = AppendOptions::new().acknowledge(ack);
        let appended = self.log.append_with(&stream(n), self.message(n), terms).expect("the disk is well");
        self.done(appended.position, ack);
    }

    pub fn batch(&self, len: usize, ack: Ack) {
        let streams: Vec<(u64, String)> = (0..len).map(|_| self.number()).map(|n| (n, stream(n))).collect();
        let batch = streams.iter().fold(Batch::new(), |batch, (n, stream)| batch.add(&**stream, self.message(*n)));
        let appended = self.log.append_batch(batch.acknowledge(ack)).expect("the disk is well");
        self.done(appended.last, ack);
    }

    pub fn sync(&self) {
        let end = self.log.sync().expect("the disk is well");
        self.disk.mark(Mark::Safe(end.get()));
    }

    /// Notes what the log has and was not noted.
    pub fn note(&self) {
        let mut oracle = self.oracle.lock().expect("nobody panics");
        let known = oracle.envelopes.len() as u64;
        oracle.envelopes.extend(self.log.read().after(known).iter());
        assert_eq!(self.log.end(), oracle.envelopes.len() as u64, "everything can be read");
    }

    pub fn truncate_before(&self, position: u64) {
        self.note();
        self.disk.mark(Mark::Truncate(position));
        self.log.truncate_before(position);
    }

    /// Closes the log. What it had, which is what it was given.
    pub fn finish(self) -> Oracle {
        self.note();
        let oracle = self.oracle.into_inner().expect("nobody panics");
        for envelope in &oracle.envelopes {
            let digits = envelope.payload().iter().take_while(|byte| byte.is_ascii_digit()).count();
            let n: u64 = std::str::from_utf8(&envelope.payload()[..digits]).unwrap().parse().unwrap();
            assert_eq!(envelope.stream(), stream(n));
            assert!(same_content(envelope, &message(n, envelope.payload().len())), "{envelope:?}");
        }
        oracle
    }
}

/// What is asked of a log after a crash.
#[derive(Clone, Copy)]
pub struct Demand<'o> {
    pub oracle: &'o Oracle,
    /// The position up to which it has everything.
    pub safe: u64,
    /// Nothing from this position on was to be removed.
    pub floor: u64,
    /// Whether to open it once more before anything is appended, and to look at it in every way.
    pub closely: bool,
    /// Whether to append in any case, and not only when something was cut off.
    pub goes_on: bool,
}

macro_rules! ensure {
    ($held:expr, $($why:tt)+) => {
        if !$held {
            return Err(format!($($why)+));
        }
    };
}

/// Opens a log after a crash, and looks at it: it is a beginning of the oracle, with all that is safe and whole batches; it goes
/// on; and once closed it is all there. How many records there were.
pub fn check(disk: &CrashDisk, demand: Demand<'_>) -> Result<u64, String> {
    let first_try = |error| format!("does not open: {error}");
    let log = open(disk, options()).map_err(first_try)?;
    let (end, mut known) = (log.end().get(), demand.oracle.envelopes.clone());
    ensure!(end >= demand.safe, "{} were safe, {end} are there", demand.safe);
    ensure!(end <= known.len() as u64, "{} were appended, {end} are there", known.len());
    ensure!(end == 0 || demand.oracle.ends.contains(&end), "a batch is cut after position {end}");
    known.truncate(usize::try_from(end).expect("few"));
    let recovered = log.journal().expect("it is on disk").recovered();
    ensure!(recovered.end == log.end(), "{recovered:?}, the end is {end}");
    look(&log, &known, demand.floor, demand.closely)?;
    let log = if demand.closely {
        drop(log);
        // When a file without records was removed, what is left of the footer of the one before it is cut off now.
        drop(open(disk, options()).map_err(|error| format!("does not open again: {error}"))?);
        let log = open(disk, options()).map_err(|error| format!("does not open a third time: {error}"))?;
        ensure!(log.end() == end, "{end} were there, then {}", log.end());
        ensure!(log.journal().expect("it is on disk").recovered().torn_bytes == 0, "it is cut again and again");
        look(&log, &known, demand.floor, true)?;
        log
    } else {
        log
    };
    if !demand.goes_on && recovered.torn_bytes == 0 {
        return Ok(end);
    }
    if let Some(lost) = demand.oracle.envelopes.get(known.len()) {
        // As long as the one that was lost: what came after that one must not follow this one.
        let terms = lost.time().map_or(AppendOptions::new(), |time| AppendOptions::new().at(time));
        let appended = log.append_with(lost.stream(), lost.to_message(), terms);
        appended.map_err(|rejected| format!("refuses: {}", rejected.error))?;
        known.extend(log.read().after(end).iter());
        let killed = open(&CrashDisk::of(&disk.model().shown()), options());
        look(&killed.map_err(|error| format!("does not open: {error}"))?, &known, demand.floor, false)?;
    }
    go_on(&log, &mut known)?;
    drop(log);
    let log = open(disk, options()).map_err(|error| format!("does not open after it was closed: {error}"))?;
    let recovered = log.journal().expect("it is on disk").recovered();
    ensure!(!recovered.unclean && recovered.torn_bytes == 0, "was closed, and is {recovered:?}");
    look(&log, &known, demand.floor, demand.closely)?;
    Ok(end)
}

/// Appends an envelope to a stream that was there and a batch to one that was not, and notes them.
fn go_on(log: &Log, known: &mut Vec<Envelope>) -> Result<(), String> {
    let old = known.last().map_or_else(|| "s-0".to_owned(), |last| last.stream().to_owned());
    let count = known.iter().filter(|envelope| envelope.stream() == old).count() as u64;
    let end = known.len() as u64;
    let appended = log.append(&old, message(end, 40)).map_err(|rejected| format!("refuses: {}", rejected.error))?;
    ensure!(appended.position == end + 1, "after {end} comes {}", appended.position);
    ensure!(appended.revision == count, "revision {} of {old} after {count}", appended.revision);
    let new = format!("after-{end}");
    let batch = Batch::new().add(&*new, message(end + 1, 40)).add(&*old, message(end + 2, 40));
    let appended = log.append_batch(batch).map_err(|rejected| format!("refuses: {}", rejected.error))?;
    ensure!(appended.last == end + 3, "a batch after {} ends at {}", end + 1, appended.last);
    ensure!(appended.revisions[0] == 0 && appended.revisions[1] == count + 1, "{:?}", appended.revisions);
    known.extend(log.read().after(end).iter());
    Ok(())
}

/// Whether a log has just these envelopes, from the first that was not removed on; closely: in whichever way one reads.
pub fn look(log: &Log, known: &[Envelope], floor: u64, closely: bool) -> Result<(), String> {
    let first = log.first().get();
    ensure!(log.end() == known.len() as u64, "the end is {}, not {}", log.end(), known.len());
    ensure!(first <= floor.max(1), "position {first} is the first, and {floor} should be there");
    let skipped = usize::try_from(first - 1).expect("few");
    let left = known.get(skipped..).unwrap_or_default();
    compare("the log", log.read().iter(), left.iter())?;
    let mut streams: BTreeMap<&str, Vec<&Envelope>> = BTreeMap::new();
    for envelope in left {
        streams.entry(envelope.stream()).or_default().push(envelope);
    }
    let count = known.iter().filter(|envelope| envelope.revision() == 0).count() as u64;
    ensure!(log.written_streams() == count, "{} streams, not {count}", log.written_streams());
    if !closely {
        let one = left.last().map(Envelope::stream);
        streams.retain(|id, _| Some(*id) == one);
    }
    for (id, envelopes) in streams {
        compare(id, log.read_stream(id).iter(), envelopes.iter().copied())?;
        let info = log.stream_info(id).ok_or_else(|| format!("{id} is not known"))?;
        let (first, last) = (envelopes[0], envelopes[envelopes.len() - 1]);
        ensure!(info.revision == last.revision(), "{id} is at {}, not {}", info.revision, last.revision());
        ensure!(info.messages == envelopes.len() as u64, "{id} has {}", info.messages);
        ensure!((info.first, info.last) == (Some(first.position()), Some(last.position())), "{id}: {info:?}");
        ensure!(skipped > 0 || info.created == first.position(), "{id}: {info:?}");
        ensure!(info.updated_at == last.time(), "{id}: {info:?}");
    }
    if closely {
        compare("the log backwards", log.read().backwards().iter(), left.iter().rev())?;
        let begun = known.iter().filter(|envelope| envelope.revision() == 0).map(Envelope::stream);
        ensure!(skipped > 0 || log.streams().iter().map(annals::Stream::id).eq(begun), "{:?}", log.streams());
    }
    Ok(())
}

fn compare<'e>(
    what: &str,
    mut read: annals::Envelopes,
    mut known: impl Iterator<Item = &'e Envelope>,
) -> Result<(), String> {
    for there in read.by_ref() {
        let Some(known) = known.next() else { return Err(format!("{what} has {there:?}, too")) };
        ensure!(same(&there, known), "{what} has {there:?}, not {known:?}");
    }
    ensure!(read.failure().is_none(), "{what} cannot be read: {:?}", read.failure());
    match known.next() {
        Some(missing) => Err(format!("{what} has no {missing:?}")),
        None => Ok(()),
    }
}
