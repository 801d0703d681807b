//! Many threads on one log: appends by name, by handle and in batches, exact expectations, readers, and truncation, all
//! at once (L1 to L5). Runs for about a second each; `ANNALS_STRESS_SECONDS` makes it longer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Batch, Condition, Envelope, Expected, Kind, Log, Message, Position, Query};

const THREADS: u64 = 8;
const STREAMS: [&str; 4] = ["s-0", "s-1", "s-2", "s-3"];
/// Every batch has one message for each stream, and a number of its own.
const BATCH: u64 = STREAMS.len() as u64;

/// How long a test goes on.
pub fn until() -> Instant {
    let seconds = std::env::var("ANNALS_STRESS_SECONDS").map_or(0.6, |text| text.parse().expect("a number of seconds"));
    Instant::now() + Duration::from_secs_f64(seconds)
}

fn log() -> Log {
    Log::builder().segment_slots(8).build().unwrap()
}

/// Runs `work` on eight threads and `watch` on two, until the time is over.
fn together(work: impl Fn(u64, u64) + Sync, watch: impl Fn(u64) + Sync) {
    let (end, over) = (until(), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let work = &work;
                // At least a hundred turns, however slow the machine.
                scope.spawn(move || {
                    (0..).take_while(|turn| *turn < 100 || Instant::now() < end).for_each(|turn| work(thread, turn));
                })
            })
            .collect();
        let watchers: Vec<_> = (0..2)
            .map(|watcher| {
                let (watch, over) = (&watch, &over);
                scope.spawn(move || {
                    let mut turn = watcher;
                    while turn < 20 || !over.load(Ordering::Relaxed) {
                        watch(turn);
                        turn += 2;
                    }
                })
            })
            .collect();
        let mut results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        // Joined one by one: ThreadSanitizer does not see how a scope waits.
        results.extend(watchers.into_iter().map(thread::ScopedJoinHandle::join));
        results.into_iter().for_each(|result| result.expect("a thread failed"));
    });
}

fn event(name: &'static str, payload: &[u8]) -> Message<'static> {
    Message::event(name, payload.to_vec()).unwrap()
}

/// A batch over all streams, in an order that depends on its number.
fn batch_of(number: u64) -> Batch<'static> {
    let payload = number.to_le_bytes();
    let streams = (0..BATCH).map(|n| STREAMS[usize::try_from((n + number) % BATCH).unwrap()]);
    streams.fold(Batch::new(), |batch, stream| batch.add(stream, event("Batch", &payload)))
}

/// What anybody may see of a log at any instant: positions and revisions without gaps, whole batches. Only at the
/// beginning of a read, and where truncation has overtaken it, may something be missing. Returns the last revision seen
/// of each stream.
fn check(log: &Log, envelopes: impl IntoIterator<Item = Envelope>) -> HashMap<String, u64> {
    let mut revisions = HashMap::new();
    let (mut last, mut batch) = (0, Run::default());
    for envelope in envelopes {
        let position = envelope.position().get();
        if position != last + 1 {
            assert!(last == 0 || position <= log.first().get(), "L1: a gap before {position}");
            revisions.clear();
            batch = Run { cut: true, ..Run::default() };
        }
        last = position;
        let revision = envelope.revision().get();
        if let Some(before) = revisions.insert(envelope.stream().to_owned(), revision) {
            assert_eq!(revision, before + 1, "L2: no gaps, in position order");
        }
        batch.meet(&envelope);
    }
    // The rest of a batch may have been removed before it was read.
    if log.first().get() <= last + 1 {
        batch.end();
    }
    revisions
}

/// Envelopes of one batch, one after the other.
#[derive(Default)]
struct Run {
    payload: Vec<u8>,
    len: u64,
    /// Its beginning may lie before what was read.
    cut: bool,
}

impl Run {
    fn meet(&mut self, envelope: &Envelope) {
        let is_batch = envelope.name() == "Batch";
        if self.len > 0 && !(is_batch && envelope.payload() == self.payload) {
            self.end();
            *self = Self::default();
        }
        if is_batch {
            self.payload = envelope.payload().to_vec();
            self.len += 1;
        } else {
            self.cut = false;
        }
    }

    fn end(&self) {
        let whole = self.len == 0 || self.len == BATCH || (self.cut && self.len < BATCH);
        assert!(whole, "L4: {} of a batch of {BATCH}", self.len);
    }
}

/// L1 to L4: whatever readers see while eight threads append, it is a log without gaps, with whole batches; and all views
/// of one end show the same.
#[test]
fn readers_see_a_log_without_gaps_and_whole_batches() {
    let log = log();
    let work = |thread: u64, turn: u64| {
        let stream = STREAMS[usize::try_from((thread + turn) % BATCH).unwrap()];
        match turn % 4 {
            0 => {
                let appended = log.append_batch(batch_of(thread << 32 | turn)).unwrap();
                assert_eq!(appended.last.get() - appended.first.get() + 1, BATCH);
                // L3: who has appended sees it, and everything before it.
                assert!(log.end() >= appended.last);
                let read: Vec<_> = log.read().from(appended.first).to(appended.last).iter().collect();
                assert_eq!(read.len() as u64, BATCH);
                for (envelope, revision) in read.iter().zip(&appended.revisions) {
                    assert_eq!(
                        (envelope.payload(), envelope.revision()),
                        (&(thread << 32 | turn).to_le_bytes()[..], *revision)
                    );
                }
            }
            1 => {
                let appended = log.stream(stream).unwrap().append(event("Single", &[7])).unwrap();
                assert_eq!(
                    log.stream(stream)
                        .unwrap()
                        .read()
                        .from_revision(appended.revision)
                        .first(1)
                        .iter()
                        .next()
                        .unwrap()
                        .position(),
                    appended.position
                );
            }
            _ => {
                let appended = log.append(stream, event("Single", &turn.to_le_bytes())).unwrap();
                let envelope = log.get(appended.position).expect("L3: seen by its appender");
                assert_eq!((envelope.stream(), envelope.payload()), (stream, &turn.to_le_bytes()[..]));
                assert_eq!(envelope.revision(), appended.revision);
            }
        }
    };
    let last_end = AtomicU64::new(0);
    let watch = |turn: u64| {
        let before = Position::new(last_end.load(Ordering::SeqCst));
        let view = log.view();
        assert!(view.end() >= before, "L3: what was seen stays");
        last_end.fetch_max(view.end().get(), Ordering::SeqCst);
        let end = view.end().get();
        let from = if turn.is_multiple_of(8) { 1 } else { end.saturating_sub(500).max(1) };
        let seen = check(&log, view.read().from(from));
        if turn.is_multiple_of(2) {
            let forwards: Vec<_> = view.read().from(from).iter().map(|it| it.position()).collect();
            let mut backwards: Vec<_> = view.read().from(from).backwards().iter().map(|it| it.position()).collect();
            backwards.reverse();
            assert_eq!(forwards, backwards, "one view, one snapshot");
            assert_eq!(forwards.len() as u64, end + 1 - from.min(end + 1), "L3: no holes");
        }
        for stream in STREAMS {
            let last = view.read_stream(stream).backwards().first(1).iter().next();
            assert_eq!(
                last.map(|it| it.revision().get()).filter(|_| seen.contains_key(stream)),
                seen.get(stream).copied()
            );
        }
        // A view in the past: never in the middle of a batch.
        let past = log.view_at(end / 2 + turn % 8).unwrap_or_else(|_| log.view());
        check(&log, past.read().from(past.end().get().saturating_sub(50)));
    };
    together(work, watch);
    let last = check(&log, log.read());
    for stream in STREAMS {
        let revisions: Vec<_> = log.read_stream(stream).iter().map(|envelope| envelope.revision().get()).collect();
        assert!(revisions.iter().copied().eq(0..=last[stream]), "every revision once");
        let positions: Vec<_> = log.read_stream(stream).iter().map(|envelope| envelope.position()).collect();
        assert!(positions.is_sorted(), "L2: in position order");
    }
}

/// L5: with exact expectations, each revision has one winner, and each loser a reason.
#[test]
fn each_expected_revision_has_one_winner() {
    let log = log();
    let won = [const { AtomicU64::new(0) }; STREAMS.len()];
    let work = |thread: u64, turn: u64| {
        let which = usize::try_from(turn % 2).unwrap();
        let stream = log.stream(STREAMS[which]).unwrap();
        let expected = stream.revision().map_or(Expected::NoStream, Expected::Exactly);
        let payload = thread.to_le_bytes();
        let result = match turn % 3 {
            0 => log.append_with(STREAMS[which], event("Exact", &payload), expected),
            1 => stream.append_with(event("Exact", &payload), expected),
            _ => {
                let batch = Batch::new().expect(&stream, expected).add(&stream, event("Exact", &payload));
                match log.append_batch(batch) {
                    Ok(appended) => {
                        won[which].fetch_add(1, Ordering::Relaxed);
                        return assert!(expects(expected, appended.revisions[0].get()));
                    }
                    Err(refused) => return check_conflict(&refused.error, expected),
                }
            }
        };
        match result {
            Ok(appended) => {
                won[which].fetch_add(1, Ordering::Relaxed);
                assert!(expects(expected, appended.revision.get()), "L5: appended right after what was expected");
            }
            Err(refused) => check_conflict(&refused.error, expected),
        }
    };
    together(work, |_| {
        check(&log, log.read().last(200));
    });
    check(&log, log.read());
    for (stream, won) in STREAMS.iter().zip(&won) {
        assert_eq!(log.read_stream(stream).iter().count() as u64, won.load(Ordering::Relaxed), "no lost update");
    }
}

fn expects(expected: Expected, revision: u64) -> bool {
    expected == revision.checked_sub(1).map_or(Expected::NoStream, Expected::exactly)
}

/// L5: a conflict is true: the stream is not as expected, and it hands over exactly what came in between.
fn check_conflict(error: &annals::AppendError, expected: Expected) {
    let annals::AppendError::Conflict(conflict) = error else { panic!("refused without a conflict: {error}") };
    assert!(!expected.admits(conflict.actual()), "L5: a spurious conflict");
    let actual = conflict.actual().expect("streams do not vanish").get();
    let first = if let Expected::Exactly(seen) = expected { seen.get() + 1 } else { 0 };
    assert!(actual >= first, "L5: the stream has gone on");
    let missed: Vec<_> = conflict.missed().iter().collect();
    assert!(missed.iter().map(|it| it.revision().get()).eq(first..=actual), "L5: what was missed, and all of it");
    assert!(missed.iter().all(|it| it.position() <= conflict.end()));
}

/// L5: conditions are decided at the instant of the append: of all that compete for a seat, one gets it.
#[test]
fn each_condition_lets_one_append_through() {
    let log = log();
    let (free, won) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |thread: u64, _| {
        // Everybody tries for the same seat until it is taken, then for the next. While a seat is free nothing is appended,
        // so an end that was read before the seat was seen free is not far behind who takes it.
        let after = log.end().get().saturating_sub(64);
        let seat = free.load(Ordering::SeqCst);
        let tag = format!("seat:{seat}");
        let condition = Condition::none(Query::tag(&tag).unwrap()).after(after);
        let message = Message::builder("Taken").kind(Kind::Event).tag(tag.as_str()).build().unwrap();
        let stream = STREAMS[usize::try_from(thread % BATCH).unwrap()];
        match log.append_with(stream, message, &condition) {
            Ok(_) => {
                won.fetch_add(1, Ordering::Relaxed);
            }
            Err(refused) => {
                let annals::AppendError::ConditionFailed(failed) = &refused.error else { panic!("{}", refused.error) };
                let missed: Vec<_> = failed.missed().iter().collect();
                assert_eq!(missed.len(), 1, "L5: one has the seat");
                assert_eq!(missed[0].position(), failed.position());
                assert!(missed[0].tags().eq([tag.as_str()]));
            }
        }
        free.fetch_max(seat + 1, Ordering::SeqCst);
    };
    together(work, |_| {
        log.end();
    });
    assert_eq!(log.end().get(), won.load(Ordering::Relaxed));
    let mut seats: Vec<_> = log.read().iter().map(|it| it.tags().next().unwrap().to_owned()).collect();
    seats.sort();
    let before = seats.len();
    seats.dedup();
    assert_eq!(seats.len(), before, "L5: no seat is taken twice");
}

/// L3, L8: the same while the log is truncated: what is seen is a suffix without gaps, envelopes that are held stay.
#[test]
fn truncation_disturbs_neither_appends_nor_reads() {
    let log = log();
    let work = |thread: u64, turn: u64| {
        let stream = STREAMS[usize::try_from((thread ^ turn) % BATCH).unwrap()];
        let payload = thread.to_le_bytes().repeat(if turn.is_multiple_of(16) { 200 } else { 1 });
        if turn.is_multiple_of(3) {
            log.append_batch(batch_of(thread << 32 | turn)).unwrap();
        } else {
            let appended = log.append(stream, event("Single", &payload)).unwrap();
            // Only truncation may have taken it away.
            match log.get(appended.position) {
                Some(envelope) => assert_eq!((envelope.payload(), envelope.stream()), (&payload[..], stream)),
                None => assert!(log.first() > appended.position, "L3: seen until it is removed"),
            }
        }
        if thread == 0 && turn.is_multiple_of(4) {
            let before = log.end().get().saturating_sub(turn % 100);
            assert!(log.truncate_before(before).get() >= before.max(1));
        }
    };
    let watch = |turn: u64| {
        let view = log.view();
        let mut held: Vec<Envelope> = Vec::new();
        if turn.is_multiple_of(2) {
            held.extend(view.read());
            check(&log, held.iter().cloned());
        } else {
            held.extend(view.read().backwards());
            check(&log, held.iter().rev().cloned());
        }
        let stream = STREAMS[usize::try_from(turn % BATCH).unwrap()];
        let revisions: Vec<_> = view.read_stream(stream).iter().map(|envelope| envelope.revision().get()).collect();
        assert!(revisions.windows(2).all(|pair| pair[1] > pair[0]), "L2: in order");
        for envelope in &held {
            let alike = envelope.payload().chunks(8).all(|part| part == &envelope.payload()[..8]);
            assert!(alike, "L8: what is held does not change");
        }
    };
    together(work, watch);
    log.truncate_before(log.end().next());
    log.maintain();
    assert_eq!(log.read().iter().count(), 0);
}

/// L2: more threads than there are appenders in a log's pool write to the same new streams, while the directory grows:
/// each stream is there once, and has everything.
#[test]
fn streams_are_created_once_whoever_comes_first() {
    const WRITERS: u64 = 40;
    const NEW: u64 = 150;
    let end = until();
    loop {
        let (log, ready) = (log(), AtomicU64::new(0));
        thread::scope(|scope| {
            let write = |thread: u64| {
                let (log, ready) = (&log, &ready);
                move || {
                    ready.fetch_add(1, Ordering::SeqCst);
                    while ready.load(Ordering::SeqCst) < WRITERS {
                        thread::yield_now();
                    }
                    for turn in 0..NEW {
                        let stream = format!("new-{}", (turn + thread * 7) % NEW);
                        log.append(stream.as_str(), event("Created", &thread.to_le_bytes())).unwrap();
                    }
                }
            };
            let writers: Vec<_> = (0..WRITERS).map(|thread| scope.spawn(write(thread))).collect();
            writers.into_iter().for_each(|writer| writer.join().expect("a writer failed"));
        });
        assert_eq!(log.end().get(), WRITERS * NEW);
        let revisions = check(&log, log.read());
        assert_eq!(revisions.len() as u64, NEW);
        assert!(revisions.values().all(|last| *last == WRITERS - 1));
        if Instant::now() >= end {
            return;
        }
    }
}

/// L8: envelopes are read and let go by several threads, and the log by another, with nothing between them but the counts.
#[test]
fn envelopes_are_let_go_by_any_thread() {
    let end = until();
    let mut rounds = 0;
    while rounds < 100 || Instant::now() < end {
        rounds += 1;
        let log = log();
        for number in 0..20u8 {
            let payload = [number; 40];
            // Inline and shared.
            log.append("s", Message::event("E", &payload).unwrap()).unwrap();
            log.append("s", event("E", &payload)).unwrap();
        }
        let held: Vec<Envelope> = log.read().iter().collect();
        // Each has envelopes that nobody else has, and some that others have, too.
        let readers: Vec<_> = [0, 10, 20]
            .map(|from| {
                let held = held[from..from + 20].to_vec();
                thread::spawn(move || {
                    for (number, pair) in (u8::try_from(from / 2).unwrap()..).zip(held.chunks(2)) {
                        assert!(pair.iter().all(|envelope| envelope.payload() == [number; 40]));
                    }
                })
            })
            .into();
        drop(held);
        log.truncate_before(30);
        log.maintain();
        drop(log);
        readers.into_iter().for_each(|reader| reader.join().expect("a reader failed"));
    }
}
