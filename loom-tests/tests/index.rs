//! The chain of blocks in which a stream keeps its positions. Under loom the first block has two cells, the others four.
#![cfg(loom)]

use annals::{Cursor, Log, Stream};
use annals_loom::{check_whole, event, explore, fill, log, reclaiming_log};
use loom::thread;

/// L2: two threads meet at the end of a block: one makes the next, the other may have looked at it before that is decided.
#[test]
fn a_block_boundary() {
    explore("a_block_boundary", 2, [2, 3, 4], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        fill(&stream, 2);
        let one = {
            let stream = stream.clone();
            thread::spawn(move || {
                let mut appender = stream.log().appender();
                appender.append(&stream, event("e")).unwrap();
                appender.append(&stream, event("e")).unwrap();
            })
        };
        let other = {
            let stream = stream.clone();
            thread::spawn(move || {
                let seen = stream.revision().unwrap().get();
                let positions: Vec<_> = stream.read().iter().map(|envelope| envelope.position().get()).collect();
                assert!(positions.len() as u64 > seen);
                assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
                stream.log().appender().append(&stream, event("e")).unwrap().revision.get()
            })
        };
        let outcome = other.join().unwrap();
        one.join().unwrap();
        check_whole(&log, &[&stream]);
        notes.note(outcome);
    });
}

/// A log whose stream has so many revisions, the last two of them in the garbage, not yet freed, and nothing else: its last
/// block is full and has no successor, and leaves the chain as soon as it has one and the records are freed. The cursor, made
/// before, is about to read them.
fn with_garbage(count: u64) -> (Log, Stream, Cursor) {
    let log = reclaiming_log();
    let (stream, other) = (log.stream("s").unwrap(), log.stream("other").unwrap());
    fill(&stream, count);
    let mut cursor = log.read().from(count - 1).cursor();
    cursor.next().unwrap();
    let late = stream.read().from(count - 1).cursor();
    fill(&other, 1);
    log.truncate_before(count + 1);
    log.maintain();
    drop(cursor);
    assert_eq!(log.unreturned_segments(), 1);
    (log, stream, late)
}

/// Two blocks more than the first one, of four cells: they are the first two in pages, and have one to themselves, which goes
/// with the second of them.
const A_PAGE: u64 = 2 + 2 * 4;

/// What a thread does while another appends to the stream and frees the garbage.
fn beside_a_retirement(
    (name, bound, count): (&str, usize, u64),
    outcomes: impl IntoIterator<Item = u64>,
    act: fn(&Stream, Cursor) -> u64,
) {
    explore(name, bound, outcomes, move |notes| {
        let (log, stream, late) = with_garbage(count);
        let retires = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                stream.log().maintain();
            })
        };
        let acts = {
            let stream = stream.clone();
            thread::spawn(move || act(&stream, late))
        };
        retires.join().unwrap();
        notes.note(acts.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
        assert_eq!(stream.read().iter().next().unwrap().revision(), count);
    });
}

/// L2: an appender that is about to make the next block finds its own block unlinked, and the page that it was in.
#[test]
fn a_block_is_retired_under_its_maker() {
    beside_a_retirement(("a_block_is_retired_under_its_maker", 2, A_PAGE), [A_PAGE, A_PAGE + 1], |stream, _| {
        stream.log().appender().append(stream, event("e")).unwrap().revision.get()
    });
}

/// L3: a reader finds the first block unlinked.
#[test]
fn a_block_is_retired_under_a_reader() {
    beside_a_retirement(("a_block_is_retired_under_a_reader", 1, 2), [0, 1], |stream, _| {
        let seen = stream.read().iter().map(|envelope| envelope.revision().get()).collect::<Vec<_>>();
        assert!(seen.is_empty() || seen == [2]);
        assert!(stream.revision().unwrap().get() > seen.len() as u64);
        seen.len() as u64
    });
}

/// L3: a reader finds the first block unlinked by a thread that has not made the second.
#[test]
fn a_block_is_retired_between_its_maker_and_a_reader() {
    explore("a_block_is_retired_between_its_maker_and_a_reader", 1, [0, 1], |notes| {
        let (log, stream, _) = with_garbage(2);
        let makes = {
            let stream = stream.clone();
            thread::spawn(move || stream.log().appender().append(&stream, event("e")).map(drop).unwrap())
        };
        let retires = {
            let log = log.clone();
            thread::spawn(move || log.maintain())
        };
        let reads = {
            let stream = stream.clone();
            thread::spawn(move || stream.read().iter().count() as u64)
        };
        makes.join().unwrap();
        retires.join().unwrap();
        notes.note(reads.join().unwrap());
    });
}

/// L8: two threads free the records of one block, and a third has made the next.
#[test]
fn a_block_is_retired_by_two() {
    beside_a_retirement(("a_block_is_retired_by_two", 2, 2), [0], |stream, _| {
        stream.log().maintain();
        0
    });
}

/// L8: a reader is on its way through a page of blocks that goes.
#[test]
fn a_page_of_blocks_goes_under_a_reader() {
    beside_a_retirement(("a_page_of_blocks_goes_under_a_reader", 2, A_PAGE), [0], |_, mut late| {
        u64::from(late.next().is_some())
    });
}

/// What two blocks are about: six revisions in the garbage but for the first two, whose segment the first cursor holds.
/// Both blocks leave the chain once the records are freed and a third block is there. The second cursor is about to read
/// them.
fn with_two_blocks_of_garbage() -> (Log, Stream, Cursor, Cursor) {
    let log = reclaiming_log();
    let (stream, other) = (log.stream("s").unwrap(), log.stream("other").unwrap());
    fill(&stream, 6);
    let mut holders = [1, 3, 5].map(|position| log.read().from(position).cursor());
    for holder in &mut holders {
        holder.next().unwrap();
    }
    let late = stream.read().cursor();
    fill(&other, 1);
    log.truncate_before(7);
    assert_eq!(log.unreturned_segments(), 3);
    let [first, ..] = holders;
    (log, stream, first, late)
}

/// L8: two threads free the records of a block each: who empties the second looks for the first in the chain, and finds
/// there a third one, which was made meanwhile.
#[test]
fn two_blocks_are_retired_by_two() {
    explore("two_blocks_are_retired_by_two", 2, [0, 1, 2, 3], |notes| {
        let (log, stream, first, late) = with_two_blocks_of_garbage();
        drop(late);
        let both = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                drop(first);
                stream.log().maintain();
            })
        };
        let second = {
            let log = log.clone();
            thread::spawn(move || {
                log.maintain();
                log.unreturned_segments()
            })
        };
        both.join().unwrap();
        notes.note(second.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
        assert_eq!(stream.read().iter().next().unwrap().revision(), 6);
    });
}

/// L8: a read of revisions that are being removed starts from the second of two blocks, and then finds both unlinked.
#[test]
fn two_blocks_are_retired_under_a_reader() {
    explore("two_blocks_are_retired_under_a_reader", 3, [false], |notes| {
        let (log, stream, first, mut late) = with_two_blocks_of_garbage();
        drop(first);
        let retires = {
            let stream = stream.clone();
            thread::spawn(move || {
                stream.log().appender().append(&stream, event("e")).unwrap();
                stream.log().maintain();
            })
        };
        let reads = thread::spawn(move || late.next().is_some());
        retires.join().unwrap();
        notes.note(reads.join().unwrap());
        log.maintain();
        assert_eq!(log.unreturned_segments(), 0);
    });
}
