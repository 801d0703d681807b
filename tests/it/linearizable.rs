//! Histories of real runs, checked for linearizability (L3, L4, L5).

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::Log;

use crate::history::{Actor, Append, History, Operation, Span, check};

/// A history of `threads` threads with `steps` operations each.
fn record(seed: u64, threads: u64, steps: usize) -> History {
    let log = Log::builder().segment_slots(4).no_clock().build().unwrap();
    let clock = AtomicU64::new(1);
    let start = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (log, clock, start) = (&log, &clock, &start);
            move || {
                let mut actor = Actor::new(log, seed << 8 | thread);
                let mut history = Vec::with_capacity(steps);
                start.wait();
                for _ in 0..steps {
                    let began = clock.fetch_add(1, Ordering::SeqCst);
                    let operation = actor.step();
                    let returned = clock.fetch_add(1, Ordering::SeqCst);
                    history.push((Span { began, returned }, operation));
                }
                history
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// 2 to 8 threads, thousands of small histories and a few long ones. `ANNALS_HISTORIES` makes it more.
#[test]
fn histories_are_linearizable() {
    let histories = std::env::var("ANNALS_HISTORIES").map_or(2_000, |number| number.parse().expect("a number"));
    let (mut operations, mut conflicts, mut refused) = (0, 0, 0);
    for seed in 0..histories {
        let steps = if seed % 100 == 0 { 1_000 } else { 20 };
        let history = record(seed, 2 + seed % 7, steps);
        operations += history.len();
        conflicts += history.iter().filter(|(_, operation)| matches!(operation, Operation::Conflict { .. })).count();
        refused += history.iter().filter(|(_, operation)| matches!(operation, Operation::Refused { .. })).count();
        if let Err(reason) = check(&history) {
            panic!("history of seed {seed}: {reason}");
        }
    }
    println!("{histories} histories, {operations} operations, {conflicts} conflicts, {refused} conditions not met");
    assert!(conflicts > 0 && refused > 0, "the threads met");
}

fn span(began: u64, returned: u64) -> Span {
    Span { began, returned }
}

fn single(position: u64, revision: u64) -> Append {
    Append { first: position, envelopes: vec![(0, revision)], ..Append::default() }
}

fn appended(position: u64, revision: u64) -> Operation {
    Operation::Append(single(position, revision))
}

/// The checker refuses what a broken log would answer.
#[test]
fn the_checker_refuses_what_cannot_be() {
    let two = vec![(span(1, 2), appended(1, 0)), (span(3, 4), appended(2, 1))];
    assert_eq!(check(&two), Ok(()));
    let with = |extra: (Span, Operation)| {
        let mut history = two.clone();
        history.push(extra);
        check(&history)
    };
    let end = |position| Operation::End { position };
    let conflict = |expected, actual| Operation::Conflict { stream: 0, expected, actual };
    // What can be.
    assert_eq!(with((span(5, 6), end(2))), Ok(()));
    assert_eq!(with((span(0, 9), end(1))), Ok(()), "a read that overlaps both may see one");
    assert_eq!(with((span(5, 6), conflict(Some(0), Some(1)))), Ok(()));
    // A stale read, a read of the future, a spurious conflict, a stale one, one that is none.
    assert!(with((span(5, 6), end(1))).is_err());
    assert!(with((span(0, 0), end(1))).is_err());
    assert!(with((span(5, 6), end(3))).is_err());
    assert!(with((span(5, 6), conflict(Some(1), Some(0)))).is_err());
    assert!(with((span(5, 6), conflict(None, Some(0)))).is_err());
    assert!(with((span(5, 6), conflict(Some(1), Some(1)))).is_err());
    assert!(with((span(5, 6), Operation::Last { stream: 0, revision: Some(0) })).is_err());
    // Two appends in an order that their callers saw the other way round; a hole; a revision twice; a broken promise.
    assert!(check(&vec![(span(3, 4), appended(1, 0)), (span(1, 2), appended(2, 1))]).is_err());
    assert!(check(&vec![(span(1, 2), appended(2, 0))]).is_err());
    assert!(check(&vec![(span(1, 2), appended(1, 0)), (span(3, 4), appended(2, 0))]).is_err());
    let broken = Append { expected: Some((0, Some(4))), ..single(1, 0) };
    assert!(check(&vec![(span(1, 2), Operation::Append(broken))]).is_err());
}

/// The checker knows batches and conditions.
#[test]
fn the_checker_refuses_half_a_batch_and_a_tag_twice() {
    let batch = Append { first: 1, envelopes: vec![(0, 0), (1, 0), (0, 1)], tag: Some(7), ..Append::default() };
    let with = |extra: Operation| check(&vec![(span(1, 2), Operation::Append(batch.clone())), (span(1, 3), extra)]);
    for whole in [0, 3] {
        assert_eq!(with(Operation::End { position: whole }), Ok(()));
    }
    for half in [1, 2] {
        assert!(with(Operation::End { position: half }).is_err());
    }
    assert!(with(Operation::Last { stream: 0, revision: Some(0) }).is_err());
    assert_eq!(with(Operation::Last { stream: 1, revision: Some(0) }), Ok(()));
    // Before, and with the same tag; after, with another one; a refusal for no reason.
    assert!(with(Operation::Append(Append { tag: Some(7), ..single(4, 2) })).is_err());
    assert_eq!(with(Operation::Append(Append { tag: Some(8), ..single(4, 2) })), Ok(()));
    assert_eq!(with(Operation::Refused { tag: 7, position: 1 }), Ok(()));
    assert!(with(Operation::Refused { tag: 7, position: 2 }).is_err());
    assert!(with(Operation::Refused { tag: 8, position: 1 }).is_err());
}
