//! Records on disk: with a sync each, in groups, without; read back; opened.

use std::hint::black_box;
use std::path::Path;
use std::sync::LazyLock;

use annals::durable::Options;
use annals::{Ack, Batch, Log, Message, Name, Stream};
use tempfile::TempDir;

use super::contention::together;
use crate::disk::{PAYLOAD, RECORD, Raw, framed};
use crate::measure::{Group, MakeGroup, Sample, time};

pub const ALL: [MakeGroup; 6] = [alone, threads_8, hundreds, unsynced, pipelined, replay];

const NAME: Name<'static> = Name::from_static("Deposited");

/// Beside the program that runs: that is on a disk where the directory for temporary files may not be.
fn directory() -> TempDir {
    let program = std::env::current_exe().expect("there is one");
    tempfile::tempdir_in(program.parent().expect("it is in a directory")).expect("a directory can be made")
}

fn message() -> Message<'static> {
    Message::event(NAME, &PAYLOAD).expect("it is a message")
}

struct Ours {
    log: Log,
    stream: Stream,
    _there: TempDir,
}

fn ours(ack: Ack) -> Ours {
    let there = directory();
    let log = Log::builder().coarse_clock().open(there.path(), Options::new().acknowledge(ack)).expect("it opens");
    let stream = log.stream("account-1").expect("it is a name");
    Ours { log, stream, _there: there }
}

/// Runs that make a store, do something once, time `ops` operations, and drop it afterwards.
fn fresh<S>(make: impl Fn(&Path, u64) -> S, work: impl Fn(&S, u64)) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let there = directory();
        let store = make(there.path(), ops);
        work(&store, 1);
        let sample = time(|| work(&store, ops));
        drop(store);
        sample
    }
}

fn own(ack: Ack, work: impl Fn(&Ours, u64)) -> impl FnMut(u64) -> Sample {
    fresh(move |_, _| ours(ack), work)
}

#[cfg(feature = "disk")]
fn with_published(group: Group, work: impl Fn(&dyn crate::disk::Keeps, u64) + Copy + 'static) -> Group {
    use crate::disk::{Fjall, Okaywal, Redb, Seglog, Sqlite};
    group
        .rival("seglog", fresh(|at, ops| Seglog::new(at, (ops as usize + 2) * 512), move |it, ops| work(it, ops)))
        .rival("okaywal", fresh(|at, _| Okaywal::new(at), move |it, ops| work(it, ops)))
        .rival("fjall", fresh(|at, _| Fjall::new(at), move |it, ops| work(it, ops)))
        .rival("redb", fresh(|at, _| Redb::new(at), move |it, ops| work(it, ops)))
        .rival("sqlite, WAL", fresh(|at, _| Sqlite::new(at), move |it, ops| work(it, ops)))
}

pub fn alone() -> Group {
    let group = Group::new("one synced append at a time", 500)
        .by_wall()
        .ours(
            "annals",
            own(Ack::Synced, |it, ops| {
                (0..ops).for_each(|_| _ = black_box(it.stream.append(message()).expect("nothing is in the way")));
            }),
        )
        .rival(
            "pwrite and fdatasync, on zeros",
            fresh(Raw::new, |raw, ops| {
                let record = framed(1);
                (0..ops).for_each(|_| raw.write(&record, true));
            }),
        );
    #[cfg(feature = "disk")]
    let group = with_published(group, |it, ops| (0..ops).for_each(|_| it.append(1, true)));
    group
}

pub fn threads_8() -> Group {
    const THREADS: u64 = 8;
    let group = Group::new("8 threads, each append synced", 4_000).by_wall().ours("annals", |ops| {
        let it = ours(Ack::Synced);
        let workers = vec![&it.stream; THREADS as usize];
        together(workers, |stream| {
            (0..ops / THREADS).for_each(|_| _ = stream.append(message()).expect("nothing is in the way"));
        })
        .0
    });
    #[cfg(feature = "disk")]
    let group = {
        use crate::disk::{Fjall, Keeps, Okaywal, Redb, Sqlite};
        fn all<S: Keeps>(make: impl Fn(&Path) -> S) -> impl FnMut(u64) -> Sample {
            move |ops| {
                let there = directory();
                let store = make(there.path());
                let workers = vec![&store; THREADS as usize];
                together(workers, |it| (0..ops / THREADS).for_each(|_| it.append(1, true))).0
            }
        }
        group
            .rival("okaywal", all(Okaywal::new))
            .rival("fjall", all(Fjall::new))
            .rival("redb", all(Redb::new))
            .rival("sqlite, WAL", all(Sqlite::new))
    };
    group
}

pub fn hundreds() -> Group {
    const BATCH: u64 = 100;
    let group = Group::new("100 a sync, a record", 20_000)
        .by_wall()
        .ours(
            "annals, append_batch",
            own(Ack::Synced, |it, ops| {
                for _ in 0..ops / BATCH {
                    let batch = (0..BATCH).fold(Batch::new(), |batch, _| batch.add(&it.stream, message()));
                    black_box(it.log.append_batch(batch).expect("nothing is in the way").last);
                }
            }),
        )
        .rival(
            "pwrite and fdatasync, on zeros",
            fresh(Raw::new, |raw, ops| {
                let records = framed(BATCH as usize);
                (0..ops / BATCH).for_each(|_| raw.write(&records, true));
            }),
        );
    #[cfg(feature = "disk")]
    let group = with_published(group, |it, ops| (0..ops / BATCH).for_each(|_| it.append(BATCH, true)));
    group
}

pub fn unsynced() -> Group {
    let group = Group::new("append without waiting for the disk", 200_000)
        .by_wall()
        .ours(
            "annals, until all is written",
            own(Ack::Memory, |it, ops| {
                let mut appender = it.log.appender();
                let mut last = it.log.end();
                for _ in 0..ops {
                    last = appender.append(&it.stream, message()).expect("nothing is in the way").position;
                }
                let journal = it.log.journal().expect("it is on disk");
                while journal.written() < last {
                    std::thread::yield_now();
                }
            }),
        )
        .rival(
            "pwrite of 4,096 records, no checksums",
            fresh(Raw::new, |raw, ops| {
                let records = framed(4_096);
                (0..ops / 4_096).for_each(|_| raw.write(&records, false));
            }),
        );
    #[cfg(feature = "disk")]
    let group = {
        use crate::disk::{Keeps, Seglog};
        let seglog = |at: &Path, ops: u64| Seglog::new(at, (ops as usize + 2) * 512);
        group.rival(
            "seglog, until all is written",
            fresh(seglog, |it, ops| {
                it.append(ops, false);
                it.flush();
            }),
        )
    };
    group
}

pub fn pipelined() -> Group {
    Group::new("appends pipelined, until all is synced", 200_000).by_wall().ours(
        "annals",
        own(Ack::Memory, |it, ops| {
            let mut appender = it.log.appender();
            (0..ops).for_each(|_| _ = appender.append(&it.stream, message()).expect("nothing is in the way"));
            it.log.sync().expect("the disk is there");
        }),
    )
}

/// A log of a million records, closed.
static MILLION: LazyLock<TempDir> = LazyLock::new(|| {
    let there = directory();
    let log =
        Log::builder().coarse_clock().open(there.path(), Options::new().acknowledge(Ack::Memory)).expect("it opens");
    let stream = log.stream("account-1").expect("it is a name");
    (0..1_000_000).for_each(|_| _ = stream.append(message()).expect("nothing is in the way"));
    there
});

pub fn replay() -> Group {
    Group::new("replay with checksums, a record", 1_000_000).by_wall().ours("annals", |_| {
        let log = Log::open(MILLION.path()).expect("it opens");
        time(|| {
            let mut bytes = 0;
            let mut cursor = log.read().cursor();
            while let Some(envelope) = cursor.next() {
                bytes += envelope.payload().len();
            }
            assert_eq!(bytes, 1_000_000 * RECORD);
        })
    })
}

/// Bytes on disk for each of a million records.
pub fn bytes_a_record() -> f64 {
    let files = std::fs::read_dir(MILLION.path()).expect("it is there");
    let bytes: u64 = files.map(|file| file.expect("it is there").metadata().expect("it is there").len()).sum();
    bytes as f64 / 1e6
}

/// Microseconds that opening a million records takes, after a clean close; the least of some.
pub fn open_micros() -> f64 {
    let micros = (0..20).map(|_| {
        let mut log = None;
        let sample = time(|| log = Some(Log::open(MILLION.path()).expect("it opens")));
        sample.wall.as_secs_f64() * 1e6
    });
    micros.fold(f64::INFINITY, f64::min)
}
