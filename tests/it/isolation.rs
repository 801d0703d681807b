//! What users bring, clocks and owners of payloads, cannot harm the log; and what the types promise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use annals::bytes::Bytes;
use annals::{Appender, Batch, Cursor, Envelope, Log, Message, Read, Retention, Stream, Timestamp, View, WholeLog};

/// A payload that counts how often payloads of its kind are dropped; or panics then.
struct Owner {
    dropped: Arc<AtomicUsize>,
    panics: bool,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        b"payload"
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "the owner of a payload panics");
    }
}

fn owned(dropped: &Arc<AtomicUsize>, panics: bool) -> Message<'static> {
    Message::event("Owned", Bytes::from_owner(Owner { dropped: dropped.clone(), panics })).unwrap()
}

/// Handles go anywhere; an envelope is small and lives as long as its holder likes (L8).
#[test]
fn handles_and_envelopes_are_send_and_sync() {
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Log>();
    is_shared::<Stream>();
    is_shared::<Envelope>();
    is_shared::<View>();
    is_shared::<Read<WholeLog>>();
    is_shared::<Cursor>();
    fn is_sent<T: Send + 'static>() {}
    is_sent::<Appender>();
    fn is_cloned<T: Clone>() {}
    is_cloned::<Envelope>();
    assert!(size_of::<Envelope>() <= 16);
}

/// A clock that panics reaches who appends, and leaves the log as it was.
#[test]
fn a_clock_that_panics_appends_nothing() {
    let broken = Arc::new(AtomicBool::new(false));
    let clock = broken.clone();
    let clock = move || {
        assert!(!clock.load(Ordering::Relaxed), "the clock panics");
        Timestamp::from_nanos(1)
    };
    let log = Log::builder().clock(clock).build().unwrap();
    let event = || Message::event("E", "").unwrap();
    log.append("s", event()).unwrap();
    broken.store(true, Ordering::Relaxed);
    let appends: [&dyn Fn(); 3] = [&|| drop(log.append("s", event())), &|| drop(log.append("new", event())), &|| {
        drop(log.append_batch(Batch::new().add("s", event()).add("new", event())))
    }];
    for append in appends {
        assert!(catch_unwind(AssertUnwindSafe(append)).is_err());
        assert_eq!((log.end().get(), log.stream_count()), (1, 1));
    }
    broken.store(false, Ordering::Relaxed);
    assert_eq!(log.append("s", event()).unwrap().position, 2);
    assert_eq!(log.read_stream("s").iter().count(), 2);
}

/// A clock may append to the log that asks it, and again, deeper than a log keeps states for a thread.
#[test]
fn a_clock_that_appends_is_answered() {
    // A static: a log whose clock holds the log is never dropped.
    static LOG: OnceLock<Log> = OnceLock::new();
    let depth = Arc::new(AtomicUsize::new(0));
    let deeper = depth.clone();
    let clock = move || {
        let at = deeper.fetch_add(1, Ordering::Relaxed);
        if at < 9 {
            LOG.get().unwrap().append("clock", Message::event("Asked", &[at as u8]).unwrap()).unwrap();
        }
        Timestamp::from_nanos(1)
    };
    let log = LOG.get_or_init(|| Log::builder().clock(clock).build().unwrap());
    for _ in 0..3 {
        depth.store(0, Ordering::Relaxed);
        log.append("s", Message::event("E", "").unwrap()).unwrap();
    }
    let asked: Vec<_> = log.read_stream("clock").iter().map(|envelope| envelope.payload()[0]).collect();
    assert_eq!(asked, (0..3).flat_map(|_| (0..9).rev()).collect::<Vec<u8>>());
    assert_eq!((log.end().get(), log.read_stream("s").iter().count()), (30, 3));
}

/// Threads come and go, more of them than a log or the process has places for their states.
#[test]
fn any_number_of_threads_may_come_and_go() {
    let log = Log::new();
    for thread in 0..1_100_u64 {
        let log = log.clone();
        let append = move || log.append("s", Message::event("E", "").unwrap()).unwrap().position;
        assert_eq!(std::thread::spawn(append).join().unwrap(), thread + 1);
    }
}

/// Payloads whose owners panic when they are dropped are dropped all the same, once each, and nobody else notices.
#[test]
fn owners_that_panic_do_not_stop_truncation() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let log = Log::builder().segment_slots(4).build().unwrap();
    for _ in 0..20 {
        log.append("s", owned(&dropped, true)).unwrap();
    }
    log.truncate_before(17);
    while log.unreturned_segments() > 0 {
        log.maintain();
        std::thread::yield_now();
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 16);
    log.append("s", owned(&dropped, false)).unwrap();
    assert_eq!(log.read().iter().map(|envelope| envelope.position().get()).collect::<Vec<_>>(), [17, 18, 19, 20, 21]);
    drop(log);
    assert_eq!(dropped.load(Ordering::Relaxed), 21);
}

/// An append with retention frees a bounded number of old records, however many are due: it is never paused by freeing.
#[test]
fn an_append_frees_few() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut retention = Retention::default();
    retention.records = Some(64);
    let log = Log::builder().segment_slots(64).retention(retention).build().unwrap();
    let stream = log.stream("s").unwrap();
    let mut appender = log.appender();
    let mut most = 0;
    let until = Instant::now() + Duration::from_secs(60);
    // As long as the system holds up a thread of another test in the middle of a read, nothing is freed.
    let mut freed = 0;
    while freed <= 10_000 && Instant::now() < until {
        for _ in 0..20_000 {
            let before = dropped.load(Ordering::Relaxed);
            appender.append(&stream, owned(&dropped, false)).unwrap();
            most = most.max(dropped.load(Ordering::Relaxed) - before);
        }
        freed = dropped.load(Ordering::Relaxed);
    }
    println!("at most {most} records freed by an append, {freed} in all");
    assert!(most <= 10, "{most} records freed by one append");
    assert!(freed > 10_000, "{freed} records freed in all: retention keeps up");
}
