//! A log is copied while it is used.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals::durable::{BackupError, Directory, Flaw, OpenError, Options, Storage, StoredFile};
use annals::sourcing::{Checkpoint, Checkpoints, DiskCheckpoints};
use annals::store::block_on;
use annals::{Ack, AppendOptions, Batch, Envelope, Log, Message, Position};

use crate::basics::{directory, small};

fn event(n: u64) -> Message<'static> {
    Message::event("Counted", format!("{n:080}")).unwrap()
}

fn open(directory: &Path, options: Options) -> Log {
    Log::builder().segment_slots(16).open(directory, options).unwrap()
}

fn all(log: &Log) -> Vec<String> {
    let words = |it: Envelope| {
        let place = (it.position().get(), it.stream(), it.revision().get(), it.name());
        format!("{place:?} {:?} {:?}", it.time(), it.payload())
    };
    log.read().iter().map(words).collect()
}

/// A copy of a log that is not used at the moment is equal to it, whatever it was through.
#[test]
fn a_copy_is_equal() {
    for (count, reopened) in [(0, false), (1, false), (1, true), (300, false), (300, true)] {
        for options in [Options::new(), small(), small().resident(5)] {
            let (there, copies) = (directory(), directory());
            let mut log = open(there.path(), options);
            for n in 0..count {
                log.append(&format!("s-{}", n % 3), event(n)).unwrap();
            }
            if reopened {
                drop(log);
                log = open(there.path(), options);
                log.append("s-0", event(count)).unwrap();
            }
            let target = copies.path().join("a/b");
            assert_eq!(log.backup(&target).unwrap(), log.end());
            let copy = open(&target, options);
            assert_eq!(copy.journal().unwrap().id(), log.journal().unwrap().id());
            // The copy of a log without a record is a file that was begun, and no more.
            let unclean = copy.journal().unwrap().recovered().unclean;
            assert_eq!((unclean, copy.end()), (log.end() == 0, log.end()));
            assert_eq!(all(&copy), all(&log));
            // Each goes on for itself.
            copy.append("s-0", event(0)).unwrap();
            log.append("s-1", event(1)).unwrap();
            drop(copy);
            assert_eq!(open(&target, options).end(), log.end());
        }
    }
}

/// While threads append, batches too: every copy is a beginning of the log, batches whole, with all that was acknowledged.
#[test]
fn a_log_is_copied_while_it_grows() {
    let (there, copies) = (directory(), directory());
    let log = open(there.path(), small().acknowledge(Ack::Memory));
    let (stop, synced) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (log, stop, synced) = (&log, &stop, &synced);
            scope.spawn(move || {
                let stream = format!("s-{thread}");
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let last = if n % 3 == 0 {
                        let batch = (0..3).fold(Batch::new(), |batch, _| batch.add(stream.as_str(), event(3)));
                        log.append_batch(batch).unwrap().last
                    } else {
                        let ack = if n % 8 == 1 { Ack::Synced } else { Ack::Memory };
                        let appended =
                            log.append_with(&stream, event(1), AppendOptions::new().acknowledge(ack)).unwrap();
                        if ack == Ack::Synced {
                            synced.fetch_max(appended.position.get(), Ordering::SeqCst);
                        }
                        appended.position
                    };
                    if last.get() > 20_000 {
                        return;
                    }
                }
            });
        }
        for round in 0..12 {
            let acknowledged = synced.load(Ordering::SeqCst);
            let target = copies.path().join(round.to_string());
            let end = log.backup(&target).unwrap();
            assert!(end.get() >= acknowledged, "{end} has not all up to {acknowledged}");
            let copy = open(&target, small());
            assert_eq!(copy.end(), end);
            let copied = all(&copy);
            assert_eq!(copied.len() as u64, end.get());
            assert_eq!(copied, all(&log)[..copied.len()]);
            // Of a batch all three are there: they have payload 3, and follow one another.
            let mut of_batches = 0;
            for envelope in copy.read().iter() {
                if envelope.payload().ends_with(b"3") {
                    of_batches += 1;
                } else {
                    assert_eq!(of_batches % 3, 0, "before {}", envelope.position());
                }
            }
            assert_eq!(of_batches % 3, 0, "at the end, {end}");
        }
        stop.store(true, Ordering::SeqCst);
    });
}

/// What was removed is removed from the copy, checkpoints are in it, and none is beyond its end; whatever is removed and saved
/// meanwhile.
#[test]
fn a_copy_has_the_floor_and_checkpoints() {
    let (there, copies) = (directory(), directory());
    let log = open(there.path(), small());
    let checkpoints = DiskCheckpoints::beside(&log).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..2000 {
                let position = log.append(&format!("s-{}", n % 30), event(n)).unwrap().position;
                if n % 10 == 9 {
                    block_on(checkpoints.save("mail", &Checkpoint::new(position, Vec::new()))).unwrap();
                    log.truncate_before(n.saturating_sub(60));
                }
                if stop.load(Ordering::SeqCst) && n > 200 {
                    return;
                }
            }
        });
        for round in 0..10 {
            let before = log.first();
            let target = copies.path().join(round.to_string());
            let end = log.backup(&target).unwrap();
            let copy = open(&target, small());
            assert!(copy.first() >= before && copy.first() <= log.first() && copy.end() == end);
            let copied: Vec<u64> = copy.read().iter().map(|it| it.position().get()).collect();
            assert_eq!(copied, (copy.first().get()..=end.get()).collect::<Vec<_>>());
            let checkpoints = DiskCheckpoints::beside(&copy).unwrap();
            if let Some(checkpoint) = block_on(checkpoints.load("mail")).unwrap() {
                assert!(checkpoint.position <= end);
            }
            let next = copy.append("s-1", event(0)).unwrap();
            assert_eq!(next.position.get(), end.get() + 1);
        }
        stop.store(true, Ordering::SeqCst);
    });
    // No file stays that nobody needs.
    log.truncate_before(log.end());
    assert!(files(there.path()) <= 2);
}

/// A directory; whenever a file is made in it, all of a log is removed, but for the last envelope.
struct Meddling {
    directory: Directory,
    log: Log,
}

impl Storage for Meddling {
    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        self.directory.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        if name.contains("seg") {
            self.log.append("s-0", event(0)).unwrap();
            self.log.truncate_before(self.log.end());
            assert!(self.log.journal().unwrap().removal_failure().is_none());
        }
        self.directory.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }

    fn lock(&self) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        self.directory.lock()
    }

    fn name(&self) -> String {
        self.directory.name()
    }
}

fn files(directory: &Path) -> usize {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".seg")).count()
}

/// Whatever is removed while files are copied, the copy has what was there when it began; then the files go.
#[test]
fn files_stay_until_they_are_copied() {
    let (there, copies) = (directory(), directory());
    let log = open(there.path(), small());
    (0..300).for_each(|n| _ = log.append(&format!("s-{}", n % 3), event(n)).unwrap());
    log.truncate_before(50);
    let before = all(&log);
    let target = Meddling { directory: Directory::create(copies.path()).unwrap(), log: log.clone() };
    assert_eq!(log.backup_on(&target).unwrap(), Position::new(300));
    assert_eq!(log.first(), log.end());
    assert!(files(there.path()) <= 2, "what was removed meanwhile is gone");
    let copy = open(copies.path(), small());
    assert_eq!((copy.first(), all(&copy)), (Position::new(50), before));
}

/// A place where a log is, or a part of one, or the log itself, is left as it is.
#[test]
fn nothing_is_overwritten() {
    let (there, copies) = (directory(), directory());
    let log = open(there.path(), small());
    (0..200).for_each(|n| _ = log.append("s", event(n)).unwrap());
    assert!(matches!(Log::new().backup(copies.path()), Err(BackupError::InMemory)));
    let own = log.backup(there.path());
    assert!(matches!(own, Err(BackupError::Failed(OpenError::Locked { .. }))), "{own:?}");
    log.backup(copies.path()).unwrap();
    let again = log.backup(copies.path());
    assert!(matches!(again, Err(BackupError::Occupied { .. })), "{again:?}");
    // One that was interrupted: the first file comes last.
    let first = copies.path().join("0000000000000001.seg");
    std::fs::rename(&first, copies.path().join("0000000000000001.seg.new")).unwrap();
    assert!(matches!(log.backup(copies.path()), Err(BackupError::Occupied { .. })));
    match Log::open(copies.path()) {
        Err(OpenError::Damaged(damage)) => {
            assert_eq!((damage.flaw, damage.position), (Flaw::Missing, Position::new(1)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(log.end(), 200);
}
