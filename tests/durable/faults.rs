//! A disk that fails: the log stops with one error that everybody is told, for ever; what was acknowledged before is there when it
//! is opened again; nobody hangs.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use annals::durable::{OpenError, Options};
use annals::{Ack, AppendError, Batch, Log, Stopped};

use crate::crash_check::{Demand, Oracle, Run, check, look, message, open, options, stream};
use crate::crash_disk::{CrashDisk, Fault, Kind};

const KINDS: [Kind; 6] = [Kind::Create, Kind::Rename, Kind::Write, Kind::SetLen, Kind::Sync, Kind::SyncNames];

/// More than any test takes: a test that waits as long hangs.
const HANGS: Duration = Duration::from_mins(2);

/// Does something that must not hang.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    wait.recv_timeout(HANGS).unwrap_or_else(|_| panic!("{what} hangs, or panicked"))
}

fn append(log: &Log, n: u64) -> Result<u64, AppendError> {
    let bytes = if n.is_multiple_of(3) { 0 } else { 600 };
    log.append(&stream(n), message(n, bytes)).map(|appended| appended.position.get()).map_err(|rejected| rejected.error)
}

fn stopped_of(error: &AppendError) -> &Stopped {
    match error {
        AppendError::Stopped(stopped) | AppendError::Unacknowledged { stopped, .. } => stopped,
        other => panic!("{other:?}"),
    }
}

/// What a log has in memory; every record is a batch.
fn oracle(log: &Log) -> Oracle {
    let envelopes: Vec<_> = log.read().iter().collect();
    let ends: BTreeSet<u64> = (1..=envelopes.len() as u64).collect();
    Oracle { envelopes, ends }
}

/// What is there after the power was cut.
fn check_safe(disk: &CrashDisk, oracle: &Oracle, safe: u64) {
    let disk = CrashDisk::of(&disk.model().safe());
    check(&disk, Demand { oracle, safe, floor: 1, closely: true, goes_on: true }).unwrap();
}

/// Whoever asks a log that has failed is told the same.
fn is_stopped(log: &Log, stopped: &Stopped) {
    assert_eq!(stopped_of(&append(log, 1).unwrap_err()), stopped);
    assert!(matches!(append(log, 2), Err(AppendError::Stopped(_))));
    let batch = Batch::new().add("s-1", message(1, 0)).add("s-2", message(2, 0)).acknowledge(Ack::Memory);
    assert_eq!(stopped_of(&log.append_batch(batch).unwrap_err().error), stopped);
    assert_eq!(log.sync().unwrap_err(), *stopped);
    assert_eq!(log.journal().unwrap().failure().as_ref(), Some(stopped));
    assert!(log.is_closed());
}

/// Appends, each waiting for the disk, until something fails, or to the end.
fn until_it_fails(disk: &CrashDisk, fault: Fault) {
    disk.fail(fault);
    let log = match open(disk, options()) {
        Ok(log) => log,
        Err(OpenError::Storage(error)) => return assert_eq!(error.io().kind(), fault.error),
        Err(other) => panic!("{other:?}"),
    };
    let begin = log.end().get();
    let mut acknowledged = begin;
    for n in begin..begin + 20 {
        match append(&log, n) {
            Ok(position) => acknowledged = position,
            Err(AppendError::Unacknowledged { position, stopped, .. }) => {
                assert_eq!(position, acknowledged + 1);
                assert!(log.journal().unwrap().synced().get() >= acknowledged);
                is_stopped(&log, &stopped);
                break;
            }
            // What was there could not be read: nothing was appended, and the log has not failed.
            Err(AppendError::Stopped(_)) if log.journal().unwrap().failure().is_none() => {
                assert_eq!(log.end(), acknowledged, "nothing was appended");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let oracle = oracle(&log);
    if fault.kind.is_none() {
        disk.heal();
    }
    // Reading goes on.
    look(&log, &oracle.envelopes, 1, true).unwrap();
    let stopped = log.journal().unwrap().failure();
    let operations = disk.history().1.len();
    in_time("drop", move || drop(log));
    if stopped.is_some() {
        assert_eq!(disk.history().1.len(), operations, "nothing is written after a failure");
    }
    check_safe(disk, &oracle, acknowledged);
}

/// Whichever operation fails, once or from then on: who waited is told that it may be lost, everybody later that the log has
/// stopped; what was acknowledged is there.
#[test]
fn each_operation_fails() {
    let mut hit = 0;
    for kind in KINDS {
        for error in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
            for forever in [false, true] {
                for after in 0.. {
                    let disk = CrashDisk::new();
                    until_it_fails(&disk, Fault { error, forever, ..Fault::nth(kind, after) });
                    if disk.failed() == 0 {
                        assert!(after > 1, "{kind:?}");
                        break;
                    }
                    hit += 1;
                }
            }
        }
    }
    println!("{hit} failures");
    assert!(hit > 100);
}

/// The same on a log that was closed before, and on one that was killed: what opening does fails, too.
#[test]
fn each_operation_fails_after_opening() {
    let before = CrashDisk::new();
    let run = Run::new(&before, 500);
    (0..12).for_each(|_| run.one(Ack::Synced));
    let killed = before.model();
    let oracle = run.finish();
    for model in [before.model(), killed] {
        let mut after = 0;
        loop {
            let disk = CrashDisk::after(model.clone());
            until_it_fails(&disk, Fault::nth(None, after));
            if disk.failed() == 0 {
                break;
            }
            // Whatever failed: what had been there is there.
            disk.heal();
            let there = open(&CrashDisk::of(&disk.model().safe()), options()).unwrap();
            assert!(there.end().get() >= oracle.envelopes.len() as u64);
            after += 1;
        }
        assert!(after > 40, "{after}");
    }
}

/// A write that is done in part before it fails leaves a torn frame, at most.
#[test]
fn a_write_fails_in_part() {
    for done in [0, 1, 7, 8, 9, 100, 620] {
        for after in 0..20 {
            let disk = CrashDisk::new();
            until_it_fails(&disk, Fault { done, error: io::ErrorKind::StorageFull, ..Fault::nth(Kind::Write, after) });
        }
    }
}

/// A sync that fails and then "succeeds" has lost what it should have written: nobody was told that it is there.
#[test]
fn a_sync_fails_and_then_does_not() {
    for after in 0..20 {
        let disk = CrashDisk::new();
        until_it_fails(&disk, Fault { forget: true, ..Fault::nth(Kind::Sync, after) });
    }
}

/// The control: if the log went on after a failed sync, what it acknowledged then would be lost.
#[test]
fn what_a_failed_sync_forgot_is_lost() {
    use annals::durable::Storage;

    let disk = CrashDisk::new();
    let file = disk.create("a").unwrap();
    Storage::sync(&disk).unwrap();
    disk.fail(Fault { forget: true, ..Fault::nth(Kind::Sync, 0) });
    file.write(b"lost", 0).unwrap();
    assert!(file.sync().is_err());
    file.write(b"kept", 4).unwrap();
    assert!(file.sync().is_ok());
    assert_eq!(&*disk.model().safe()["a"], b"\0\0\0\0kept");
}

/// Threads that wait for the disk, and those that wait for envelopes, are all told.
#[test]
fn everybody_who_waits_is_told() {
    for after in 1..12 {
        let disk = CrashDisk::new();
        let log = open(&disk, options()).unwrap();
        disk.fail(Fault { forever: after % 2 == 0, ..Fault::nth(Kind::Sync, after) });
        let mut follower = log.feed().from_beginning().follow();
        let followers = std::thread::spawn(move || {
            let mut met = 0;
            while let Some(item) = follower.wait() {
                met += u64::from(item.into_envelope().is_some());
            }
            met
        });
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let log = log.clone();
                std::thread::spawn(move || {
                    let mut acknowledged = 0;
                    for n in 0.. {
                        match append(&log, 4 * n + thread) {
                            Ok(position) => acknowledged = position,
                            Err(error) => return (acknowledged, stopped_of(&error).clone()),
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        let told: Vec<(u64, Stopped)> =
            in_time("an append", move || threads.into_iter().map(|thread| thread.join().unwrap()).collect());
        let met = in_time("a follower", move || followers.join().unwrap());
        assert_eq!(log.end(), met, "it met everything");
        for (_, stopped) in &told {
            is_stopped(&log, stopped);
        }
        let oracle = oracle(&log);
        in_time("drop", move || drop(log));
        check_safe(&disk, &oracle, told.iter().map(|(acknowledged, _)| *acknowledged).max().unwrap());
    }
}

/// Nobody waits for the disk; the log's own thread fails, and the log stops all the same.
#[test]
fn the_thread_that_writes_fails() {
    for (kind, ack) in [(Kind::Write, Ack::Memory), (Kind::Sync, Ack::Memory), (Kind::Sync, Ack::Written)] {
        let disk = CrashDisk::new();
        let options = Options::new().file_bytes(4096).acknowledge(ack).sync_every(Duration::ZERO);
        let log = open(&disk, options).unwrap();
        disk.fail(Fault { forever: true, ..Fault::nth(kind, 5) });
        let error = {
            let log = log.clone();
            in_time("an append", move || (0..).find_map(|n| append(&log, n).err()).unwrap())
        };
        is_stopped(&log, stopped_of(&error));
        let (oracle, safe) = (oracle(&log), log.journal().unwrap().synced().get());
        in_time("drop", move || drop(log));
        check_safe(&disk, &oracle, safe);
    }
}

/// A read that fails says so, changes nothing, and may be tried again.
#[test]
fn a_read_fails() {
    let disk = CrashDisk::new();
    let run = Run::new(&disk, 500);
    (0..20).for_each(|_| run.one(Ack::Synced));
    let oracle = run.finish();
    let log = open(&disk, options()).unwrap();
    let mut after = 0;
    loop {
        let failed = disk.failed();
        disk.fail(Fault::nth(Kind::Read, after));
        let mut read = log.read().iter();
        let count = read.by_ref().count();
        disk.heal();
        if disk.failed() == failed {
            assert!(read.failure().is_none() && count == oracle.envelopes.len());
            break;
        }
        assert!(read.failure().is_some() && count < oracle.envelopes.len());
        after += 1;
    }
    assert!(log.journal().unwrap().failure().is_none());
    look(&log, &oracle.envelopes, 1, true).unwrap();
    append(&log, 20).unwrap();
}

/// A file that could not be removed is removed the next time; those that are left are in one piece.
#[test]
fn a_file_is_not_removed() {
    for (kind, after) in [(Kind::Remove, 0), (Kind::Remove, 1), (Kind::SyncNames, 0), (Kind::SyncNames, 1)] {
        let disk = CrashDisk::new();
        let run = Run::new(&disk, 900);
        (0..70).for_each(|_| run.one(Ack::Synced));
        disk.fail(Fault::nth(kind, after));
        run.truncate_before(30);
        assert_eq!(disk.failed(), 1);
        let check = |floor: u64| {
            let log = open(&CrashDisk::of(&disk.model().safe()), options()).unwrap();
            assert!(log.first().get() <= floor && log.end() == 70, "{log:?}");
            let read: Vec<u64> = log.read().iter().map(|envelope| envelope.position().get()).collect();
            assert!(read.into_iter().eq(log.first().get()..=70));
            log.first().get()
        };
        let first = check(30);
        run.truncate_before(60);
        let then = check(60);
        assert!(
            then > first.max(40),
            "{kind:?} {after}: what was left before is gone, {first} and {then} {:?}",
            disk.model().names
        );
    }
}

/// A stream whose file cannot be read is not said to be empty.
#[test]
fn a_stream_cannot_be_looked_up() {
    let disk = CrashDisk::new();
    let run = Run::new(&disk, 500);
    (0..20).for_each(|_| run.one(Ack::Synced));
    run.finish();
    let log = open(&disk, options()).unwrap();
    disk.fail(Fault::nth(Kind::Read, 0));
    let mut read = log.read_stream("s-1").iter();
    assert!(read.by_ref().count() > 0 || read.failure().is_some());
}
