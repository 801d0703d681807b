//! What is removed stays removed, and what has to be known of it stays known.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use annals::durable::{Damage, Directory, Flaw, OpenError, Storage, StoredFile};
use annals::store::{EventStore, TruncateFailure, block_on};
use annals::{Ack, AppendOptions, Expected, Followed, Limits, Log, Message, Position, Retention, Revision, Timestamp};
use tempfile::TempDir;

use crate::basics::{directory, small};

fn event(n: u64) -> Message<'static> {
    Message::event("Counted", format!("{n:0100}")).unwrap()
}

/// Takes its time from each append.
fn open_with(directory: &TempDir, retention: Retention) -> Result<Log, OpenError> {
    Log::builder().segment_slots(16).time_per_append().retention(retention).open(directory.path(), small())
}

fn open(directory: &TempDir) -> Log {
    open_with(directory, Retention::default()).unwrap()
}

/// Appends up to position `to`, each envelope a second after the one before.
fn fill(log: &Log, to: u64) {
    for n in log.end().get()..to {
        let at = Timestamp::from_nanos(n as i64 * 1_000_000_000);
        log.append_with(&format!("s-{}", n % 3), event(n), AppendOptions::new().at(at)).unwrap();
    }
}

fn positions(log: &Log) -> Vec<u64> {
    log.read().iter().map(|envelope| envelope.position().get()).collect()
}

fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    names
}

fn damage(opened: Result<Log, OpenError>) -> Damage {
    match opened {
        Err(OpenError::Damaged(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

/// Wherever the log is truncated, in the middle of a file too: after it was opened again nothing of that is seen, and files that
/// nobody needs are gone.
#[test]
fn what_was_removed_stays_removed() {
    let there = directory();
    let log = open(&there);
    fill(&log, 200);
    let before = files(there.path()).len();
    assert!(before > 5, "many files");
    drop(log);
    let mut last = before;
    for first in [2, 40, 41, 120, 199, 200, 201] {
        let log = open(&there);
        assert_eq!(log.truncate_before(first), Position::new(first));
        assert!(log.journal().unwrap().removal_failure().is_none());
        assert_eq!(positions(&log), (first..=200).collect::<Vec<_>>());
        drop(log);
        let log = open(&there);
        assert_eq!((log.first(), log.end()), (Position::new(first), Position::new(200)));
        assert_eq!(positions(&log), (first..=200).collect::<Vec<_>>());
        assert!(log.get(first - 1).is_none());
        let now = files(there.path()).len();
        assert!(now <= last);
        last = now;
    }
    assert_eq!(last, 1, "the last file stays");
    let log = open(&there);
    fill(&log, 210);
    assert_eq!(positions(&log), (201..=210).collect::<Vec<_>>());
}

/// A stream of which nothing is left goes on where it was, and is known as in memory.
#[test]
fn a_stream_that_is_gone_is_still_known() {
    let there = directory();
    let log = open(&there);
    let at = AppendOptions::new().at(Timestamp::from_nanos(7));
    log.append_with("first", event(0), at).unwrap();
    log.append_with("first", event(0), at).unwrap();
    fill(&log, 200);
    log.truncate_before(180);
    let known = |log: &Log| {
        let infos: Vec<_> = ["first", "s-0", "s-1", "s-2"].map(|id| log.stream_info(id)).into();
        let ids: Vec<_> = log.streams().iter().map(|it| it.id().to_owned()).collect();
        (infos, ids, log.written_streams(), log.view().counts().messages)
    };
    let before = known(&log);
    let first = before.0[0].clone().unwrap();
    assert_eq!((first.revision, first.messages), (Revision::new(1), 0));
    assert_eq!((first.created, first.created_at), (Position::new(1), Some(Timestamp::from_nanos(7))));
    drop(log);
    for _ in 0..2 {
        let log = open(&there);
        assert_eq!(known(&log), before);
    }
    let log = open(&there);
    let at = at.at(Timestamp::from_nanos(i64::MAX));
    assert!(log.append_with("first", event(0), at.expected(Expected::NoStream)).is_err());
    let appended = log.append_with("first", event(0), at.expected(Expected::exactly(1))).unwrap();
    assert_eq!(appended.revision, Revision::new(2));
}

/// A follower that is overtaken is told how much it missed.
#[test]
fn a_follower_is_told() {
    let there = directory();
    let log = open(&there);
    fill(&log, 200);
    drop(log);
    let log = open(&there);
    let mut follower = log.feed().from_beginning().follow();
    assert!(matches!(follower.wait(), Some(Followed::Envelope(it)) if it.position() == 1));
    log.truncate_before(150);
    let told = follower.wait();
    assert!(matches!(told, Some(Followed::Truncated { missed }) if missed == 148), "{told:?}");
    assert!(matches!(follower.wait(), Some(Followed::Envelope(it)) if it.position() == 150));
}

fn retention(set: impl FnOnce(&mut Retention)) -> Retention {
    let mut retention = Retention::default();
    set(&mut retention);
    retention
}

/// What retention leaves of 400 envelopes: while they are appended, when they are opened, and when it is asked for.
fn kept_by(retention: Retention) -> u64 {
    let while_open = directory();
    let log = open_with(&while_open, retention).unwrap();
    fill(&log, 400);
    log.maintain();
    let kept = 400 - log.first().get() + 1;
    let files_now = files(while_open.path());
    drop(log);
    let log = open(&while_open);
    assert_eq!(400 - log.first().get() + 1, kept, "it holds after it was opened");
    assert!(files_now.len() < 14, "{files_now:?}");
    drop(log);

    let late = directory();
    let log = open(&late);
    fill(&log, 400);
    drop(log);
    let log = open_with(&late, retention).unwrap();
    assert!((400 - log.first().get() + 1).abs_diff(kept) <= 40, "when it is opened");
    assert_eq!(positions(&log), (log.first().get()..=400).collect::<Vec<_>>());
    kept
}

#[test]
fn retention_is_kept_to_by_whole_files() {
    let kept = kept_by(retention(|it| it.records = Some(100)));
    assert!((100..200).contains(&kept), "{kept} records");
    let kept = kept_by(retention(|it| it.bytes = Some(20_000)));
    assert!((50..200).contains(&kept), "{kept} of 20,000 bytes");
    let kept = kept_by(retention(|it| it.age = Some(Duration::from_secs(100))));
    assert!((100..200).contains(&kept), "{kept} of 100 s");
    let everything = retention(|it| it.records = Some(1_000_000));
    let there = directory();
    let log = open_with(&there, everything).unwrap();
    fill(&log, 400);
    log.maintain();
    assert_eq!(log.first(), Position::new(1));
}

/// Retention is kept to without anybody asking.
#[test]
fn files_go_while_others_become_full() {
    let there = directory();
    let log = open_with(&there, retention(|it| it.records = Some(50))).unwrap();
    for round in 1.. {
        fill(&log, 100 * round);
        if log.first().get() > 100 {
            break;
        }
        assert!(round < 100, "{log:?}");
    }
}

#[test]
fn an_age_needs_a_clock() {
    let there = directory();
    let retention = retention(|it| it.age = Some(Duration::from_secs(1)));
    let opened = Log::builder().no_clock().retention(retention).open(there.path(), small());
    assert!(matches!(opened, Err(OpenError::Build(_))), "{opened:?}");
}

/// Whatever the floor's file has lost, the log does not open as if nothing had been removed.
#[test]
fn a_damaged_floor_is_refused() {
    let there = directory();
    let log = open(&there);
    fill(&log, 200);
    log.truncate_before(100);
    let foreign = directory();
    let other = open(&foreign);
    fill(&other, 200);
    other.truncate_before(100);
    drop((log, other));
    let floor = there.path().join("floor");
    let good = std::fs::read(&floor).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    let others = std::fs::read(foreign.path().join("floor")).unwrap();
    for (bytes, flaw) in [
        (&bad[..], Flaw::Checksum),
        (&good[..good.len() - 1], Flaw::Checksum),
        (&[][..], Flaw::Header),
        (&others[..], Flaw::Foreign),
    ] {
        std::fs::write(&floor, bytes).unwrap();
        assert_eq!(damage(open_with(&there, Retention::default())).flaw, flaw);
    }
    std::fs::remove_file(&floor).unwrap();
    let none = damage(open_with(&there, Retention::default()));
    assert_eq!((none.flaw, none.position), (Flaw::Missing, Position::new(1)));
    std::fs::write(&floor, &good).unwrap();
    let first = files(there.path())[0].clone();
    let aside = there.path().join("aside");
    std::fs::rename(there.path().join(&first), &aside).unwrap();
    let none = damage(open_with(&there, Retention::default()));
    assert_eq!((none.flaw, &*none.file), (Flaw::Missing, &*first));
    std::fs::rename(&aside, there.path().join(&first)).unwrap();
    assert_eq!(open(&there).first(), Position::new(100));
}

/// A crash between the floor and the removal of files: in whatever order some went, the others go when the log is opened.
#[test]
fn files_that_were_to_go_go_later() {
    let there = directory();
    let log = open(&there);
    fill(&log, 200);
    drop(log);
    let before: Vec<_> = files(there.path());
    let contents: Vec<_> = before.iter().map(|name| std::fs::read(there.path().join(name)).unwrap()).collect();
    open(&there).truncate_before(150);
    let after = files(there.path());
    assert!(before.len() - after.len() > 3);
    for left in [1, 2, 5] {
        for (name, bytes) in before.iter().zip(&contents).take(before.len() - after.len()).step_by(left) {
            std::fs::write(there.path().join(name), bytes).unwrap();
        }
        std::fs::write(there.path().join("floor.new"), "half of some").unwrap();
        let log = open(&there);
        assert_eq!(positions(&log), (150..=200).collect::<Vec<_>>());
        assert_eq!(files(there.path()), after);
        assert!(!there.path().join("floor.new").exists());
    }
}

/// A directory that does so many more things, and then nothing any more, as if the process was killed; and that has no room for
/// a new floor while it is `full`.
#[derive(Clone)]
struct Limited {
    directory: Arc<Directory>,
    steps: Arc<AtomicI64>,
    full: Arc<AtomicBool>,
}

struct LimitedFile(Box<dyn StoredFile>, Arc<AtomicI64>);

fn step(steps: &AtomicI64) -> io::Result<()> {
    if steps.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("killed")) }
}

impl Limited {
    fn new(directory: &TempDir, steps: i64) -> Self {
        let directory = Arc::new(Directory::create(directory.path()).unwrap());
        Self { directory, steps: Arc::new(AtomicI64::new(steps)), full: Arc::default() }
    }

    fn open(&self) -> Result<Log, OpenError> {
        Log::builder().time_per_append().open_on(self.clone(), small())
    }
}

impl Storage for Limited {
    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(LimitedFile(self.directory.open(name)?, self.steps.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        if name.starts_with("floor") && self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        step(&self.steps)?;
        Ok(Box::new(LimitedFile(self.directory.create(name)?, self.steps.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        step(&self.steps)?;
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        step(&self.steps)?;
        self.directory.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        step(&self.steps)?;
        self.directory.sync()
    }

    fn lock(&self) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        self.directory.lock()
    }

    fn name(&self) -> String {
        self.directory.name()
    }
}

impl StoredFile for LimitedFile {
    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read(to, offset)
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        step(&self.1)?;
        self.0.write(from, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        step(&self.1)?;
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        step(&self.1)?;
        self.0.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        step(&self.1)?;
        self.0.sync_all()
    }
}

/// Killed at any step of a removal: what was removed is removed, or nothing was; streams are known in either case, and no
/// truncation that was said to be kept is forgotten.
#[test]
fn a_removal_that_is_killed_is_whole_or_nothing() {
    let origin = directory();
    let log = open(&origin);
    log.append_with("first", event(0), AppendOptions::new().at(Timestamp::from_nanos(0))).unwrap();
    fill(&log, 200);
    log.truncate_before(40);
    drop(log);
    let mut kept = 0;
    for steps in 0.. {
        let there = directory();
        for entry in std::fs::read_dir(origin.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), there.path().join(entry.file_name())).unwrap();
        }
        let limited = Limited::new(&there, steps);
        let mut said = None;
        if let Ok(log) = limited.open() {
            log.truncate_before(150);
            said = Some(log.journal().unwrap().removal_failure().is_none());
        }
        let log = open(&there);
        let first = log.first().get();
        assert!([40, 150].contains(&first), "{first} after {steps} steps");
        assert!(said != Some(true) || first == 150, "it was said to be kept, after {steps} steps");
        assert_eq!(positions(&log), (first..=200).collect::<Vec<_>>());
        let info = log.stream_info("first").unwrap();
        assert_eq!((info.revision, info.messages, info.created), (Revision::new(0), 0, Position::new(1)));
        fill(&log, 210);
        assert_eq!(log.stream_info("s-1").unwrap().revision, Revision::new(69));
        if first == 150 {
            assert!(files(there.path()).len() < files(origin.path()).len());
        }
        if said == Some(true) {
            kept += 1;
            if kept == 3 {
                assert!(steps > 8, "the removal takes some steps");
                break;
            }
        }
    }
}

/// Killed at any step while the first file is begun, and opened with larger limits: what is larger than the file was begun for
/// is there.
#[test]
fn a_file_that_was_begun_takes_larger_limits() {
    let mut tight = Limits::default();
    (tight.payload_bytes, tight.metadata_bytes) = (10, 10);
    for steps in 0..12 {
        let there = directory();
        let limited = Limited::new(&there, steps);
        if let Ok(log) = Log::builder().limits(tight).open_on(limited, small()) {
            let _ = log.append("s", Message::event("E", "small").unwrap());
        }
        for round in 0..2 {
            let log = Log::open(there.path()).unwrap();
            let before = log.end().get();
            assert!(before <= 1 + round, "{before} after {steps} steps");
            log.append("s", Message::event("E", vec![7; 100_000]).unwrap()).unwrap();
            drop(log);
            let log = Log::open(there.path()).unwrap();
            assert_eq!(log.get(before + 1).expect("it was acknowledged").payload().len(), 100_000);
        }
    }
}

/// What a killed process left counts as synced only when it was.
#[test]
fn what_a_killed_process_left_is_synced() {
    let (there, copy) = (directory(), directory());
    let log = open(&there);
    fill(&log, 10);
    for entry in std::fs::read_dir(there.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert!(Limited::new(&copy, 0).open().is_err(), "the disk does nothing");
    let log = open(&copy);
    assert_eq!((log.end().get(), log.journal().unwrap().recovered().unclean), (10, true));
}

/// Though appends do not wait for the disk: when something is removed, the disk has all of it, and what is appended after a
/// crash lies behind it.
#[test]
fn a_floor_is_never_beyond_what_the_disk_has() {
    let there = directory();
    let log = Log::builder().open(there.path(), small().acknowledge(Ack::Memory)).unwrap();
    for round in 1..40 {
        (0..5).for_each(|n| _ = log.append("s", event(n)).unwrap());
        let first = log.truncate_before(log.end().get() + 1 - round % 3);
        // As a killed process leaves it.
        let copy = directory();
        for entry in std::fs::read_dir(there.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let left = Log::open(copy.path()).unwrap();
        assert_eq!(left.first(), first);
        let appended = left.append("s", event(0)).unwrap();
        assert!(appended.position > log.end() && left.get(appended.position).is_some());
    }
}

/// Many at once: the highest counts, for all of them, and each returns when it is kept.
#[test]
fn removals_at_once_are_all_kept() {
    let there = directory();
    let log = open(&there);
    fill(&log, 400);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (log, path) = (log.clone(), there.path());
            scope.spawn(move || {
                for first in (thread + 2..300).step_by(13) {
                    let removed = log.truncate_before(first);
                    assert!(removed.get() >= first);
                    // The floor that is kept, as the file says.
                    let bytes = std::fs::read(path.join("floor")).unwrap();
                    let kept = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
                    assert!(kept >= first, "{kept} of {first}");
                }
            });
        }
    });
    let first = log.first();
    drop(log);
    assert_eq!(open(&there).first(), first);
}

/// When the disk does not take the floor, nobody sees what was removed until the log is closed; no file goes; and it is said.
/// The next removal, or the next opening of a file, tries again.
#[test]
fn a_removal_that_is_not_kept_is_told() {
    let there = directory();
    let limited = Limited::new(&there, i64::MAX);
    limited.full.store(true, Ordering::SeqCst);
    let open = || limited.open().unwrap();
    let log = open();
    fill(&log, 200);
    let before = files(there.path());
    assert_eq!(log.truncate_before(150), Position::new(150));
    assert_eq!(positions(&log), (150..=200).collect::<Vec<_>>());
    let failure = log.journal().unwrap().removal_failure().expect("the disk is full");
    assert!(failure.to_string().contains("floor"), "{failure}");
    assert_eq!(files(there.path()), before);
    drop(log);
    let log = open();
    assert_eq!(log.first(), Position::new(1), "it was not kept");
    log.truncate_before(100);
    let refused = block_on(EventStore::truncate_before(&log, Position::new(100)));
    assert!(matches!(refused, Err(TruncateFailure::Backend(_))), "{refused:?}");
    limited.full.store(false, Ordering::SeqCst);
    log.maintain();
    assert!(log.journal().unwrap().removal_failure().is_none());
    assert!(files(there.path()).len() < before.len());
    drop(log);
    assert_eq!(open().first(), Position::new(100));
}

/// Reads and truncations at once: a reader sees a piece without holes, whatever is removed under it.
#[test]
fn readers_go_on_while_files_are_removed() {
    let there = directory();
    let log = open(&there);
    fill(&log, 2000);
    drop(log);
    let log = open(&there);
    std::thread::scope(|scope| {
        for backwards in [false, true] {
            let log = log.clone();
            scope.spawn(move || {
                while log.first().get() < 1900 {
                    let read = if backwards { log.read().backwards() } else { log.read() };
                    let mut cursor = read.cursor();
                    let mut last = None;
                    while let Some(envelope) = cursor.next() {
                        let position = envelope.position().get();
                        if let Some(last) = last.filter(|_| backwards) {
                            assert_eq!(position + 1, last);
                        }
                        last = Some(position);
                    }
                    assert!(cursor.failure().is_none(), "{:?}", cursor.failure());
                    assert!(backwards || last == Some(2000));
                    assert_eq!(log.stream_info("s-1").unwrap().revision, Revision::new(666));
                }
            });
        }
        for first in (50..=1900).step_by(50) {
            log.truncate_before(first);
            std::thread::yield_now();
        }
    });
}
