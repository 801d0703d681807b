//! Memory, counted by the allocator: appends allocate by the chunk and not by the record, reads allocate nothing per
//! record, and what is removed or dropped comes back (L17).
//!
//! A test binary of its own, because its allocator counts for the whole process. The tests take turns.
#![allow(clippy::pedantic, reason = "tests are read, not called")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use annals::bytes::Bytes;
use annals::{Batch, Bus, Envelope, EnvelopeSource, Expected, Indexes, Limits, Log, Message, Name, Query, Retention};

struct Counting;

/// Bytes allocated and not freed, by any thread: epochs free on whichever thread notices.
static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// Allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this thread allocated, less those that it freed. What is compared to the byte is counted here: the
    /// harness frees what it kept of the last test while the next one runs.
    static LIVE_HERE: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64, allocations: u64) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    LIVE_HERE.set(LIVE_HERE.get() + bytes);
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("less than 2^63 bytes")
}

// SAFETY: passes everything on to the system's allocator. Counting allocates nothing: the thread-local is constant and
// has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()), 1);
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()), 1);
        // SAFETY: by the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(size(new_size) - size(layout.size()), 1);
        // SAFETY: by the caller's contract.
        unsafe { System.realloc(at, layout, new_size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-size(layout.size()), 0);
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One test at a time: what is alive is counted for all of them.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    settle();
    turn
}

/// Frees what waits for the end of an epoch, and fills this thread's own store of garbage for the first time.
fn settle() {
    let log = Log::new();
    log.append("settle", Message::event("Settled", "").unwrap()).unwrap();
    for _ in 0..4 {
        log.maintain();
    }
    drop(log);
    Log::new().maintain();
}

fn live() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

fn live_here() -> i64 {
    LIVE_HERE.get()
}

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const NAME: Name<'static> = Name::from_static("Deposited");
const MEASURED: u32 = 100_000;

/// Allocations of each of many appends, after as many that are not counted.
fn per_append(mut append: impl FnMut(u32)) -> f64 {
    (0..MEASURED / 2).for_each(&mut append);
    let allocations = allocations_of(|| (0..MEASURED).for_each(&mut append));
    f64::from(u32::try_from(allocations).unwrap()) / f64::from(MEASURED)
}

/// Through an appender, a stream handle, and the log by name; over ten streams.
fn ways_to_append<'p>(payload: impl Fn() -> annals::Payload<'p>) -> [(&'static str, f64); 3] {
    let names: Vec<_> = (0..10).map(|n| format!("stream-{n}")).collect();
    let message = || Message::event(NAME, payload()).unwrap();
    let which = |n: u32| n as usize % names.len();

    let log = Log::new();
    let streams: Vec<_> = names.iter().map(|name| log.stream(name).unwrap()).collect();
    let mut appender = log.appender();
    let by_appender = per_append(|n| _ = appender.append(&streams[which(n)], message()).unwrap());
    drop((appender, streams, log));

    let log = Log::new();
    let streams: Vec<_> = names.iter().map(|name| log.stream(name).unwrap()).collect();
    let by_stream = per_append(|n| _ = streams[which(n)].append(message()).unwrap());
    drop((streams, log));

    let log = Log::new();
    let by_name = per_append(|n| _ = log.append(&names[which(n)], message()).unwrap());
    [("appender", by_appender), ("stream", by_stream), ("log by name", by_name)]
}

/// Nothing is allocated for a single record: only segments, blocks of indexes, and chunks.
#[test]
fn appends_allocate_by_the_chunk() {
    let _turn = turn();
    let shared = Bytes::from(vec![7; 5000]);
    for (way, each) in ways_to_append(|| (&[7; 64]).into()) {
        println!("inline payload, {way}: {each} allocations an append");
        assert!(each < 0.02, "{way}: {each}");
    }
    for (way, each) in ways_to_append(|| shared.clone().into()) {
        println!("shared payload, {way}: {each} allocations an append");
        assert!(each < 0.02, "{way}: {each}");
    }
}

/// A borrowed payload that is too long for a record is copied to a place of its own, once.
#[test]
fn a_long_borrowed_payload_is_one_allocation() {
    let _turn = turn();
    for (way, each) in ways_to_append(|| (&[7; 1025]).into()) {
        println!("borrowed payload of 1025 bytes, {way}: {each} allocations an append");
        assert!((1.0..1.02).contains(&each), "{way}: {each}");
    }
    for (way, each) in ways_to_append(|| (&[7; 1024]).into()) {
        assert!(each < 0.02, "{way}: {each} for 1024 bytes");
    }
}

/// A log of many envelopes in ten streams.
fn filled(count: u32) -> Log {
    let log = Log::builder().no_clock().build().unwrap();
    fill(&log, count);
    log
}

fn fill(log: &Log, count: u32) {
    let streams: Vec<_> = (0..10).map(|n| log.stream(&format!("stream-{n}")).unwrap()).collect();
    let mut appender = log.appender();
    for n in 0..count {
        appender.append(&streams[n as usize % 10], Message::event(NAME, &[7; 64]).unwrap()).unwrap();
    }
}

/// Whatever is read, lent or handed over, in whichever direction: no allocation for a record.
#[test]
fn reads_allocate_nothing_for_a_record() {
    let _turn = turn();
    let log = filled(MEASURED);
    let all = MEASURED as usize;
    let lent = |what: &str, expected: usize, mut cursor: annals::Cursor| {
        let mut seen = 0;
        let allocations = allocations_of(|| {
            while let Some(envelope) = cursor.next() {
                seen += envelope.payload().len() / 64;
            }
        });
        assert_eq!(seen, expected, "{what}");
        assert!(allocations < 8, "{what} by cursor: {allocations} allocations");
        allocations
    };
    let handed = |what: &str, expected: usize, envelopes: &mut dyn Iterator<Item = Envelope>| {
        let mut seen = 0;
        let allocations = allocations_of(|| seen = envelopes.count());
        assert_eq!(seen, expected, "{what}");
        assert!(allocations < 8, "{what} by iterator: {allocations} allocations");
        allocations
    };
    let query = || Query::name("Deposited").unwrap();
    let category = || Query::category("stream").unwrap();
    let mut total = 0;
    // Beginning to read counts as well.
    total += allocations_of(|| {
        lent("log", all, log.read().cursor());
        handed("log", all, &mut log.read().iter());
        lent("backwards", all, log.read().backwards().cursor());
        handed("backwards", all, &mut log.read().backwards().iter());
        lent("stream", all / 10, log.read_stream("stream-3").cursor());
        handed("stream", all / 10, &mut log.read_stream("stream-3").iter());
        lent("stream backwards", all / 10, log.read_stream("stream-3").backwards().cursor());
        handed("stream backwards", all / 10, &mut log.read_stream("stream-3").backwards().iter());
    });
    println!("eight full reads of {MEASURED} records: {total} allocations");
    assert!(total < 16, "{total} allocations for eight reads");
    lent("query", all, log.read().matching(query()).cursor());
    handed("query", all, &mut log.read().matching(category()).iter());
    lent("last of query", all / 2, log.read().matching(query()).last(u64::from(MEASURED) / 2).cursor());
    handed("stream query", all / 10, &mut log.read_stream("stream-3").matching(query()).iter());
}

/// What a record costs, everything counted: with a payload of 64 bytes, without a clock.
#[test]
fn a_small_record_costs_at_most_140_bytes() {
    let _turn = turn();
    let before = live();
    let log = Log::builder().no_clock().build().unwrap();
    let stream = log.stream("account-1").unwrap();
    let mut appender = log.appender();
    let records = 500_000;
    for _ in 0..records {
        appender.append(&stream, Message::event(NAME, &[7; 64]).unwrap()).unwrap();
    }
    let each = (live() - before) as f64 / f64::from(records);
    println!("{each:.1} bytes a record with a payload of 64 bytes and no clock");
    assert!(each <= 140.0, "{each} bytes a record");
}

/// L17: truncating gives memory back while the log stays; dropping the log and what is held gives back all of it.
#[test]
fn memory_comes_back() {
    let _turn = turn();
    let before = live();
    let log = filled(500_000);
    let full = live() - before;
    log.truncate_before(log.end().next());
    log.maintain();
    let left = live() - before;
    println!("{full} bytes full, {left} after truncation");
    assert_eq!(log.unreturned_segments(), 0);
    assert!(left * 100 < full * 15, "{left} of {full} bytes are left");
    fill(&log, 1000);
    let held: Vec<_> = log.read().last(10).iter().collect();
    drop(log);
    settle();
    assert!(live() - before > 1000, "envelopes that are held keep their memory");
    assert_eq!(held[9].payload(), [7; 64]);
    drop(held);
    settle();
    let left = live() - before;
    println!("{left} bytes after the log and all envelopes were dropped");
    assert!(left < 8 << 10, "{left} bytes are lost");
}

/// Logs that come and go leave nothing behind, however they were used.
#[test]
fn logs_that_come_and_go_leave_nothing() {
    let _turn = turn();
    let round = |number: u32| {
        let indexes = if number.is_multiple_of(2) { Indexes::new().names().categories() } else { Indexes::new() };
        let log = Log::builder().segment_slots(64).indexes(indexes.buckets(64)).build().unwrap();
        fill(&log, 2000);
        for stream in 0..500 {
            log.append(&format!("s-{stream}"), Message::event("Long", &[1; 2000]).unwrap()).unwrap();
        }
        log.truncate_before(u64::from(number % 3) * 900);
        let mut cursor = log.read().cursor();
        let held = cursor.next().cloned();
        log.truncate_before(1800);
        drop((log, cursor, held));
    };
    (0..20).for_each(round);
    settle();
    let before = live();
    (0..100).for_each(round);
    settle();
    let grown = live() - before;
    println!("{grown} bytes more after 100 logs");
    assert!(grown < 8 << 10, "{grown} bytes more after 100 logs");
}

/// A stream known and never written costs its name, and at most 100 bytes.
#[test]
fn a_stream_costs_its_name_and_100_bytes() {
    let _turn = turn();
    let log = Log::new();
    let before = live();
    for number in 0..20_000 {
        log.stream(&format!("{number:0>200}")).unwrap();
    }
    let each = (live() - before) as f64 / 20_000.0;
    println!("{each:.1} bytes a stream whose name has 200");
    assert!(each < 300.0, "{each} bytes a stream");
}

/// An envelope that outlives its log keeps its chunk and the names of streams, not their indexes.
#[test]
fn an_envelope_keeps_its_chunk_and_no_index() {
    let _turn = turn();
    let before = live();
    let log = Log::builder().no_clock().build().unwrap();
    let stream = log.stream("s").unwrap();
    let mut appender = log.appender();
    (0..300_000).for_each(|_| _ = appender.append(&stream, Message::event(NAME, "").unwrap()).unwrap());
    let held = log.get(300_000).unwrap();
    drop((appender, stream, log));
    settle();
    let left = live() - before;
    assert!(left < (2 << 20) + (64 << 10), "{left} bytes: a chunk has 2 MiB, an index of 300,000 revisions 2.4 MB");
    assert_eq!(held.stream(), "s");
}

/// What is refused leaves nothing: no place in a chunk, nothing that the message owned.
#[test]
fn refused_appends_take_no_memory() {
    let _turn = turn();
    let message = || Message::builder(NAME).payload(&[7; 64]).tag("a tag").header("key", "value").build().unwrap();
    let round = || {
        let log = Log::builder().no_clock().build().unwrap();
        let stream = log.stream("s").unwrap();
        let mut appender = log.appender();
        (0..5).for_each(|_| _ = appender.append(&stream, message()).unwrap());
        let before = live();
        for _ in 0..5000 {
            appender.append_with(&stream, message(), Expected::NoStream).unwrap_err();
        }
        let grown = live() - before;
        assert!(grown < 4 << 10, "{grown} bytes more after refused messages");
        // Longer than the first chunks: records of one batch are taken back from several.
        let mut refuse = |length: usize| {
            let batch = (0..length).fold(Batch::new(), |batch, _| batch.add(&stream, message()));
            appender.append_batch(batch.expect(&stream, Expected::NoStream)).unwrap_err();
        };
        (0..400).for_each(|n| refuse(n % 90));
        let grown = live() - before;
        assert!(grown < 80 << 10, "{grown} bytes more after refused batches: an open chunk of 64 KiB and no other");
        // Longer than the second chunks.
        (0..5).for_each(|_| refuse(1000));
        appender.append(&stream, message()).unwrap();
        assert_eq!(log.read().iter().filter(|envelope| envelope.payload() == [7; 64]).count(), 6);
    };
    round();
    settle();
    let before = live();
    (0..4).for_each(|_| round());
    settle();
    let grown = live() - before;
    assert!(grown < 8 << 10, "{grown} bytes are lost");
}

/// L17: a log that keeps so many records needs so much memory, however long it runs.
#[test]
fn retention_bounds_memory() {
    let _turn = turn();
    let before = live();
    let mut retention = Retention::default();
    retention.records = Some(10_000);
    let log = Log::builder().no_clock().retention(retention).build().unwrap();
    let mut most = 0;
    let mut rounds = Vec::new();
    for _ in 0..100 {
        fill(&log, 10_000);
        most = most.max(live() - before);
        rounds.push(most);
    }
    assert_eq!(log.read().iter().count(), 10_000);
    println!("at most {most} bytes while 1,000,000 records went through a log of 10,000");
    // Records and slots, and as many chunks as can be open or have a record alive in them: 2 MiB each.
    assert!(most < 10_000 * 140 + (6 << 20), "{most} bytes");
    assert!(rounds[99] <= rounds[29] + (2 << 20), "memory grows: {} to {} bytes", rounds[29], rounds[99]);
}

/// A publish allocates nothing, by handle or by name.
#[test]
fn publishing_allocates_nothing() {
    let _turn = turn();
    let bus = Bus::<u64>::new();
    let _subscriptions: Vec<_> = (0..5).map(|_| bus.subscribe("k", |_: &u64| ())).collect();
    let key = bus.key("k");
    key.publish(0);
    let allocations = allocations_of(|| {
        for n in 0..1_000 {
            assert_eq!(
                key.publish(n).delivered() + bus.publish("k", n).delivered() + bus.publish("none", n).delivered(),
                10
            );
        }
    });
    assert_eq!(allocations, 0);
}

/// Subscriptions, keys and handles that are gone leave nothing, with publishes in between and handles that stay (L14).
#[test]
fn subscribing_and_unsubscribing_leaves_nothing() {
    let _turn = turn();
    let bus = Bus::<u64>::new();
    let kept = bus.key("kept");
    kept.publish(0);
    let round = |n: u64| {
        let own = format!("key-{n}");
        let payload = vec![0u8; 1 << 10];
        let handler = move |_: &u64| _ = &payload;
        let (first, second) = (bus.subscribe("kept", handler.clone()), bus.subscribe(&own, handler));
        assert_eq!(kept.publish(n).delivered() + bus.key(&own).publish(n).delivered(), 2);
        if n.is_multiple_of(2) {
            first.close();
            second.close();
        }
    };
    round(0);
    let before = live_here();
    (0..10_000).for_each(round);
    assert_eq!((live_here() - before, bus.key_count()), (0, 0), "bytes and keys that are left");
}

/// A handler goes with its subscription, though others hold the key and the bus.
#[test]
fn a_bus_that_is_dropped_leaves_nothing() {
    let _turn = turn();
    let round = || {
        let bus = Bus::<u64>::new();
        let keys: Vec<_> = (0..3_000).map(|n| bus.key(&format!("key-{n}"))).collect();
        let subscriptions: Vec<_> = keys.iter().map(|key| bus.subscribe(key.name(), |_: &u64| ())).collect();
        assert!(keys.iter().all(|key| key.publish(1).delivered() == 1));
        drop((keys, bus, subscriptions));
    };
    round();
    let before = live_here();
    round();
    assert_eq!(live_here() - before, 0);
}

/// Subscriptions and followers that are gone leave nothing, with appends in between (L14): of the log and of streams, dropped
/// and closed, with names and without.
#[test]
fn subscribers_that_came_and_went_left_nothing() {
    let _turn = turn();
    let log = Log::new();
    let stream = log.stream("s").unwrap();
    let round = |n: u64| {
        let payload = vec![0u8; 1 << 10];
        let handler = move |_: &Envelope| _ = &payload;
        let subscriptions = [
            log.observe(handler.clone()).unwrap(),
            stream.observe(handler.clone()).unwrap(),
            log.feed().named("named").subscribe(handler.clone()).unwrap(),
            stream.feed().from_beginning().subscribe(handler).unwrap(),
        ];
        let mut followers = [log.follow(), stream.feed().from_beginning().follow()];
        if n.is_multiple_of(100) {
            stream.append(Message::event("E", "").unwrap()).unwrap();
        }
        for follower in &mut followers {
            _ = follower.try_next();
        }
        if n.is_multiple_of(2) {
            subscriptions.iter().for_each(annals::Subscription::close);
        }
    };
    (0..101).for_each(round);
    log.truncate_before(log.end().next());
    log.maintain();
    let before = live_here();
    (1..10_000u64).filter(|n| !n.is_multiple_of(100)).for_each(round);
    assert_eq!((live_here() - before, log.subscriber_count()), (0, 0), "bytes and subscriptions that are left");
}

/// A follower takes the same memory wherever it is, and little: 256 bytes, of a stream less than 1 KiB while it reads.
#[test]
fn a_follower_takes_little_memory() {
    let _turn = turn();
    let log = Log::builder().no_clock().build().unwrap();
    let stream = log.stream("s").unwrap();
    for _ in 0..100_000 {
        stream.append(Message::event("E", "").unwrap()).unwrap();
    }
    drop(log.follow());
    for of_stream in [false, true] {
        let feed = |after| if of_stream { stream.feed().after(after) } else { log.feed().after(after) };
        let mut followers = Vec::with_capacity(1000);
        let before = live();
        for n in 0..1000u64 {
            followers.push(feed(n * 100).follow());
        }
        // Somewhere in the middle of it.
        for follower in &mut followers {
            assert!(matches!(follower.try_next(), Ok(annals::Followed::Envelope(_))));
        }
        let each = (live() - before) / 1000 + size(size_of::<annals::Follower>());
        println!("a follower of {}: {each} bytes", if of_stream { "a stream" } else { "the log" });
        assert!(each <= if of_stream { 1024 } else { 256 }, "{each} bytes");
    }
}

/// What a log says of its memory is what the allocator says, but for the streams' indexes and what is made once; also after
/// removing, and while envelopes are held.
#[test]
fn a_log_knows_its_memory() {
    let _turn = turn();
    let before = live();
    let log = Log::builder().no_clock().build().unwrap();
    let stream = log.stream("s").unwrap();
    let mut appender = log.appender();
    let agree = |said: u64, what: &str| {
        let (said, measured) = (i64::try_from(said).unwrap(), live() - before);
        let rest = measured - said;
        println!("{what}: {measured} bytes, the log says {said}");
        // Indexes: 8 bytes for each of up to 200,000 envelopes; the rest is made once.
        assert!((0..200_000 * 8 + (1 << 17)).contains(&rest), "{what}: {measured} bytes, the log says {said}");
    };
    agree(log.memory(), "empty");
    let mut append = || _ = appender.append(&stream, Message::event(NAME, &[7; 64]).unwrap()).unwrap();
    (0..100_000).for_each(|_| append());
    let full = log.memory();
    agree(full, "100,000 envelopes");
    assert!(full > 100_000 * (112 + 8));
    let held = log.get(1).unwrap();
    log.truncate_before(100_001);
    log.maintain();
    agree(log.memory(), "truncated, the first envelope held");
    drop(held);
    let rest = log.memory();
    agree(rest, "truncated");
    // The open chunk of 2 MiB, the last segment, and what lies in chunks with records of it.
    assert!(rest < (6 << 20) && rest < full, "{rest} of {full} bytes are left");
    (0..100_000).for_each(|_| append());
    agree(log.memory(), "100,000 more");
}

/// Envelopes from elsewhere take memory by the chunk and give it back; the streams that a source knows are bounded, and one
/// that is held keeps those that were known with it, not all.
#[test]
fn a_source_of_envelopes_takes_what_is_held() {
    let _turn = turn();
    let before = live();
    let mut limits = Limits::default();
    limits.streams = 1000;
    let mut source = EnvelopeSource::with_limits(limits);
    let mut held = Vec::with_capacity(10);
    let mut made =
        |n: u64, stream: &str| source.envelope(stream, n, 0, None, Message::event(NAME, &[7; 64]).unwrap()).unwrap();
    let mut most = 0;
    for n in 1..=100_000 {
        let envelope = made(n, &format!("stream-{n}"));
        if n % 10_000 == 0 {
            held.push(envelope);
        }
        most = most.max(live() - before);
    }
    println!("at most {most} bytes while 100,000 streams went through a source of 1,000 streams");
    // Ten that are held and one that is used: a directory of 1,000 streams and a chunk each; and what epochs have not freed.
    assert!(most < 11 * (1000 * 140 + (64 << 10)) + (1 << 20), "{most} bytes");
    (0..10_000).for_each(|n| _ = made(n + 1, "one"));
    let allocations = allocations_of(|| (0..10_000).for_each(|n| _ = made(n + 1, "one")));
    println!("{} allocations for 10,000 envelopes", allocations);
    assert!(allocations < 100, "{allocations} allocations for 10,000 envelopes");
    drop(source);
    assert!(held.iter().zip(1..).all(|(envelope, n)| envelope.stream() == format!("stream-{}", n * 10_000)));
    drop(held);
    settle();
    let left = live() - before;
    // One table of a directory may wait for the end of an epoch.
    assert!(left < 32 << 10, "{left} bytes are left of 100 directories with 100 KiB of streams each");
}
