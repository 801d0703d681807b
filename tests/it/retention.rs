//! Truncation and retention: what is removed is removed for every reader alike, what is held stays (L3, L8, L17).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use annals::{Batch, Condition, Envelope, Expected, Log, Message, Position, Query, Retention, Timestamp};

const STREAMS: [&str; 3] = ["a", "b", "c"];

/// Appends `count` envelopes; the one at position p is in stream p % 3, has p as payload and, if p is even, a tag.
fn fill(log: &Log, count: u64) {
    for position in log.end().get() + 1..=log.end().get() + count {
        let text = position.to_string();
        let message = Message::builder("E").payload(&*text);
        let message = if position % 2 == 0 { message.tag("even") } else { message };
        log.append(stream_of(position), message.build().unwrap()).unwrap();
    }
}

fn filled(slots: usize, count: u64) -> Log {
    let log = Log::builder().segment_slots(slots).build().unwrap();
    fill(&log, count);
    log
}

fn stream_of(position: u64) -> &'static str {
    STREAMS[usize::try_from(position % 3).unwrap()]
}

fn positions(read: impl IntoIterator<Item = Envelope>) -> Vec<u64> {
    read.into_iter().map(|envelope| envelope.position().get()).collect()
}

fn where_(range: std::ops::RangeInclusive<u64>, keep: impl Fn(u64) -> bool) -> Vec<u64> {
    range.filter(|position| keep(*position)).collect()
}

/// Sees to it that all but `left` removed segments give back their memory. Other tests' threads share the epochs and may
/// be stopped in the middle of a call, which delays that: hence again and again.
fn give_back(log: &Log, left: u64) {
    for _ in 0..1_000_000 {
        log.maintain();
        if log.unreturned_segments() == left {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{} segments are not returned, {left} should be", log.unreturned_segments());
}

/// Every way to look at the log shows positions `first..=end`, and nothing else.
fn every_reader_sees(log: &Log, first: u64, end: u64) {
    let backwards = |mut list: Vec<u64>| {
        list.reverse();
        list
    };
    let all = where_(first..=end, |_| true);
    assert_eq!((log.first().get(), log.end().get()), (first, end));
    assert_eq!(positions(log.read()), all);
    assert_eq!(positions(log.read().from(1).first(3)), all.iter().copied().take(3).collect::<Vec<_>>());
    assert_eq!(positions(log.read().backwards()), backwards(all.clone()));
    assert_eq!(positions(log.view().read()), all);
    assert_eq!(positions(log.view_at(end).unwrap().read()), all);
    assert_eq!(positions(log.read().since(Timestamp::MIN).until(Timestamp::MAX)), all);
    for (rest, stream) in (0..).zip(STREAMS) {
        let of_stream = where_(first..=end, |position| position % 3 == rest);
        assert_eq!(positions(log.read_stream(stream)), of_stream);
        assert_eq!(positions(log.read_stream(stream).backwards()), backwards(of_stream.clone()));
        assert_eq!(positions(log.stream(stream).unwrap().read().from_revision(0)), of_stream);
        let ever = where_(1..=end, |position| position % 3 == rest).len() as u64;
        assert_eq!(log.stream(stream).unwrap().revision().map(|last| last.get() + 1), Some(ever), "revisions stay");
    }
    let even = Query::tag("even").unwrap();
    assert_eq!(positions(log.read().matching(even.clone())), where_(first..=end, |position| position % 2 == 0));
    for position in 0..=end + 1 {
        let there = (first..=end).contains(&position);
        assert_eq!(log.get(position).map(|envelope| envelope.position().get()), there.then_some(position));
    }
    // Nothing is appended by an empty batch: it only asks.
    let seen = log.append_batch(Batch::new().condition(Condition::none(even))).is_err();
    assert_eq!(seen, (first..=end).any(|position| position % 2 == 0), "a condition sees what readers see");
}

/// At and around each boundary between segments; also when the log was truncated before.
#[test]
fn every_reader_obeys_one_floor() {
    for slots in [2, 4, 8] {
        for before in 0..=21 {
            let log = filled(slots, 19);
            let first = before.clamp(1, 20);
            assert_eq!(log.truncate_before(before), first);
            every_reader_sees(&log, first, 19);
            give_back(&log, 0);
            every_reader_sees(&log, first, 19);
            fill(&log, 3);
            every_reader_sees(&log, first, 22);
        }
        let log = filled(slots, 19);
        for before in 1..=20 {
            assert_eq!(log.truncate_before(before), before);
            every_reader_sees(&log, before, 19);
        }
    }
}

/// L8: envelopes that are held are what they were, through truncation and the end of the log.
#[test]
fn what_is_held_survives_truncation_and_the_log() {
    let log = filled(2, 30);
    let mut held: Vec<_> = log.read().iter().collect();
    let bytes: Vec<_> = held.iter().map(Envelope::payload_bytes).collect();
    let check = |held: &[Envelope]| {
        for envelope in held {
            let position = envelope.position().get();
            assert_eq!(envelope.payload(), position.to_string().as_bytes());
            assert_eq!(envelope.stream(), stream_of(position));
            assert_eq!(envelope.tags().count() as u64, 1 - position % 2);
        }
    };
    for before in [3, 10, 31] {
        log.truncate_before(before);
        log.maintain();
        check(&held);
    }
    fill(&log, 20);
    check(&held);
    drop(log);
    check(&held);
    held.reverse();
    held.truncate(7);
    check(&held);
    drop(held);
    for (payload, position) in bytes.iter().zip(1u64..) {
        assert_eq!(payload, position.to_string().as_bytes());
    }
}

/// A cursor in the middle goes on behind what was removed, and keeps its present envelope.
#[test]
fn cursors_go_on_after_what_was_removed() {
    for slots in [2, 8] {
        for read in 0..12 {
            for before in 1..=22 {
                let log = filled(slots, 20);
                let mut cursor = log.read().cursor();
                let mut stream = log.read_stream("a").cursor();
                for _ in 0..read {
                    cursor.next().unwrap();
                }
                log.truncate_before(before);
                log.maintain();
                fill(&log, 5);
                let rest = std::iter::from_fn(|| cursor.next().map(|envelope| envelope.position().get()));
                assert_eq!(rest.collect::<Vec<_>>(), where_(before.max(read + 1)..=20, |_| true));
                let rest = std::iter::from_fn(|| stream.next().map(|envelope| envelope.position().get()));
                assert_eq!(rest.collect::<Vec<_>>(), where_(before..=20, |position| position % 3 == 0));
            }
        }
    }
}

/// A number of envelopes is a number of envelopes met: what is removed before a cursor gets there does not count.
#[test]
fn what_was_removed_is_not_counted_as_read() {
    let log = filled(8, 60);
    let mut all = log.read().first(10).cursor();
    let mut even = log.read().matching(Query::tag("even").unwrap()).first(10).cursor();
    assert_eq!((all.next().unwrap().position().get(), even.next().unwrap().position().get()), (1, 2));
    log.truncate_before(6);
    let rest = |cursor: &mut annals::Cursor| {
        std::iter::from_fn(|| cursor.next().map(|envelope| envelope.position().get())).collect::<Vec<_>>()
    };
    assert_eq!(rest(&mut all), where_(6..=14, |_| true));
    assert_eq!(rest(&mut even), where_(6..=22, |position| position % 2 == 0));
}

/// Backwards, a cursor ends where the log now begins.
#[test]
fn cursors_backwards_end_where_the_log_begins() {
    for before in 1..=21 {
        let log = filled(4, 20);
        let (mut cursor, mut stream) = (log.read().backwards().cursor(), log.read_stream("b").backwards().cursor());
        assert_eq!((cursor.next().unwrap().position(), stream.next().unwrap().position()), (20.into(), 19.into()));
        log.truncate_before(before);
        let mut expected = where_(before..=19, |_| true);
        expected.reverse();
        let rest = std::iter::from_fn(|| cursor.next().map(|envelope| envelope.position().get()));
        assert_eq!(rest.collect::<Vec<_>>(), expected);
        expected.retain(|position| position % 3 == 1 && *position < 19);
        let rest = std::iter::from_fn(|| stream.next().map(|envelope| envelope.position().get()));
        assert_eq!(rest.collect::<Vec<_>>(), expected);
    }
}

/// A cursor that stops keeps one segment, and gives it back.
#[test]
fn a_cursor_keeps_one_segment() {
    let log = filled(2, 100);
    let mut cursor = log.read().from(41).cursor();
    cursor.next().unwrap();
    log.truncate_before(101);
    give_back(&log, 1);
    assert_eq!(log.read().iter().count(), 0);
    assert!(cursor.next().is_none());
    drop(cursor);
    give_back(&log, 0);
}

/// L5: truncation does not change what a stream is.
#[test]
fn truncation_leaves_revisions_as_they_are() {
    let log = filled(2, 30);
    log.truncate_before(31);
    log.maintain();
    let message = || Message::event("E", "").unwrap();
    assert!(log.append_with("a", message(), Expected::NoStream).is_err());
    assert_eq!(log.append_with("a", message(), Expected::exactly(9)).unwrap().revision, 10);
    let conflict = log.append_with("a", message(), Expected::exactly(4)).unwrap_err();
    let conflict = conflict.conflict().unwrap();
    assert_eq!(conflict.actual().unwrap(), 10);
    assert_eq!(positions(conflict.missed()), [31], "what retention removed is not handed over");
}

fn keep(change: impl FnOnce(&mut Retention)) -> Retention {
    let mut retention = Retention::default();
    change(&mut retention);
    retention
}

/// L17: after every append at most so many envelopes are left.
#[test]
fn retention_by_records_keeps_the_last_ones() {
    for records in [0, 1, 2, 7, 8, 9] {
        let log = Log::builder().segment_slots(4).retention(keep(|keep| keep.records = Some(records))).build().unwrap();
        for count in 1..50u64 {
            fill(&log, 1);
            assert_eq!((log.end().get(), log.first().get()), (count, count.saturating_sub(records) + 1));
        }
        every_reader_sees(&log, 50 - records, 49);
        let batch = (0..30).fold(Batch::new(), |batch, _| batch.add("d", Message::event("E", "").unwrap()));
        log.append_batch(batch).unwrap();
        assert_eq!((log.end().get(), log.first().get()), (79, 80 - records));
    }
}

/// L17: what is left is smaller than the bound, but for the last envelope, which stays; and is not much smaller.
#[test]
fn retention_by_bytes_keeps_what_fits() {
    let log =
        Log::builder().segment_slots(4).no_clock().retention(keep(|keep| keep.bytes = Some(10_000))).build().unwrap();
    for _ in 0..100 {
        log.append("a", Message::event("E", &[0; 900]).unwrap()).unwrap();
        let kept = log.end().get() + 1 - log.first().get();
        assert!((1..=11).contains(&kept), "{kept} of at least 900 bytes in 10,000");
    }
    assert!(log.end().get() - log.first().get() >= 8, "most of the bound is used");
    log.append("a", Message::event("E", vec![0; 50_000]).unwrap()).unwrap();
    assert_eq!((log.first().get(), log.read().iter().count()), (101, 1), "the last one stays");
    log.append("a", Message::event("E", "").unwrap()).unwrap();
    assert_eq!(log.first(), Position::new(102));
}

/// L17: a batch weighs what its messages weigh.
#[test]
fn retention_by_bytes_counts_each_message_of_a_batch() {
    let log = || {
        Log::builder().segment_slots(4).no_clock().retention(keep(|keep| keep.bytes = Some(10_050))).build().unwrap()
    };
    let message = |n: usize| Message::event("E", vec![0; 300 * (n % 5)]).unwrap();
    let (batches, singles) = (log(), log());
    for round in 0..40 {
        let numbers = 3 * round..3 * round + 3;
        batches.append_batch(numbers.clone().fold(Batch::new(), |batch, n| batch.add("a", message(n)))).unwrap();
        numbers.for_each(|n| _ = singles.append("a", message(n)).unwrap());
        assert_eq!((batches.first(), batches.end()), (singles.first(), singles.end()));
    }
    assert!(batches.first() > Position::new(50), "most of it was removed");
}

/// L17: what is exactly as large as the bound is kept: the smallest bounds that keep two and three equal records are two
/// and three times their size. A log without records has nothing to remove.
#[test]
fn retention_by_bytes_keeps_what_is_as_large_as_the_bound() {
    let kept = |bytes: u64| {
        let log = Log::builder().no_clock().retention(keep(|keep| keep.bytes = Some(bytes))).segment_slots(2);
        let log = log.build().unwrap();
        log.maintain();
        (0..6).for_each(|_| _ = log.append("a", Message::event("E", "").unwrap()).unwrap());
        log.read().iter().count()
    };
    let smallest = |count: usize| (1..).find(|bytes| kept(*bytes) >= count).unwrap();
    assert_eq!(smallest(2) * 3, smallest(3) * 2);
}

/// L17: what is older than the bound is removed by the next append, or by `maintain`.
#[test]
fn retention_by_age_removes_what_is_old() {
    let now = Arc::new(AtomicI64::new(0));
    let clock = now.clone();
    let log = Log::builder()
        .segment_slots(2)
        .clock(move || Timestamp::from_nanos(clock.load(Ordering::Relaxed)))
        .retention(keep(|keep| keep.age = Some(Duration::from_nanos(10))))
        .build()
        .unwrap();
    for time in 1..=40 {
        now.store(time, Ordering::Relaxed);
        fill(&log, 1);
        assert_eq!(log.first().get(), u64::try_from((time - 10).max(1)).unwrap());
    }
    now.store(45, Ordering::Relaxed);
    assert_eq!(log.first(), Position::new(30));
    log.maintain();
    every_reader_sees(&log, 35, 40);
    now.store(1000, Ordering::Relaxed);
    log.maintain();
    every_reader_sees(&log, 41, 40);
    now.store(0, Ordering::Relaxed);
    fill(&log, 1);
    assert_eq!(log.get(41).unwrap().time(), Some(Timestamp::from_nanos(40)), "time does not go back (L7)");
}

/// What is due is removed in bounded steps by appends, and completely by `maintain`.
#[test]
fn maintain_removes_all_that_is_due() {
    let now = Arc::new(AtomicI64::new(0));
    let clock = now.clone();
    let log = Log::builder()
        .segment_slots(8)
        .clock(move || Timestamp::from_nanos(clock.load(Ordering::Relaxed)))
        .retention(keep(|keep| keep.age = Some(Duration::from_nanos(1))))
        .build()
        .unwrap();
    fill(&log, 500);
    now.store(100, Ordering::Relaxed);
    fill(&log, 1);
    assert_eq!(log.first().get(), 65, "one step");
    log.maintain();
    assert_eq!((log.first().get(), log.end().get()), (501, 501));
    give_back(&log, 0);
}

/// A read of so many envelopes goes on right behind those that are removed while it is read.
#[test]
fn a_bounded_read_leaves_nothing_out_but_what_is_removed() {
    let log = Log::new();
    (0..100).for_each(|_| _ = log.append("s", Message::event("E", "").unwrap()).unwrap());
    let mut cursor = log.read().first(5).cursor();
    let mut positions = vec![cursor.next().unwrap().position().get()];
    log.truncate_before(4);
    while let Some(envelope) = cursor.next() {
        positions.push(envelope.position().get());
    }
    assert_eq!(positions, [1, 4, 5, 6, 7]);
}
