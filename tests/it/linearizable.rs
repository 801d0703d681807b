//! Histories of real runs, checked for linearizability (L3, L5): is there one order of all operations that agrees with
//! every answer, and with the order in which operations returned before others began?
//!
//! No search is needed: the positions are the order. For each position the latest beginning of an operation that must
//! come before its append is kept, and the earliest return of one that must come after; a history is linearizable if no
//! append must take effect after it must have taken effect. A read that saw k envelopes lies between appends k and k + 1;
//! a conflict that names revision r of a stream lies between the appends of revisions r and r + 1.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Expected, Log, Message, Revision};

/// When an operation began and returned, on one clock.
#[derive(Clone, Copy, Debug)]
struct Span {
    began: u64,
    returned: u64,
}

#[derive(Clone, Debug)]
enum Operation {
    Appended { stream: usize, expected: Option<Option<u64>>, position: u64, revision: u64 },
    Conflict { stream: usize, expected: Option<u64>, actual: Option<u64> },
    End { position: u64 },
    Last { stream: usize, revision: Option<u64> },
}

type History = Vec<(Span, Operation)>;

const STREAMS: [&str; 2] = ["one", "two"];

/// What one position is held between.
#[derive(Clone, Copy)]
struct Bounds {
    not_before: u64,
    not_after: u64,
}

/// # Errors
/// What no order can explain.
fn check(history: &History) -> Result<(), String> {
    let (mut bounds, at) = appends(history)?;
    for (span, operation) in history {
        match operation {
            Operation::Appended { .. } => {}
            Operation::End { position } => saw(&mut bounds, *span, *position, *position + 1)?,
            Operation::Conflict { stream, expected, actual } => {
                if expected == actual {
                    return Err(format!("a conflict over what is so: {operation:?}"));
                }
                saw_revision(&mut bounds, &at[*stream], *span, *actual)?;
            }
            Operation::Last { stream, revision } => saw_revision(&mut bounds, &at[*stream], *span, *revision)?,
        }
    }
    let mut latest = 0;
    for (index, bound) in bounds.iter().enumerate() {
        latest = latest.max(bound.not_before);
        if latest > bound.not_after {
            return Err(format!("position {} takes effect too late", index + 1));
        }
    }
    Ok(())
}

/// The bounds of each position by its own append, and the positions of each stream's revisions.
fn appends(history: &History) -> Result<(Vec<Bounds>, [Vec<u64>; 2]), String> {
    let mut appended: Vec<_> = history
        .iter()
        .filter_map(|(span, operation)| match operation {
            Operation::Appended { stream, expected, position, revision } => {
                Some((*position, *stream, *expected, *revision, *span))
            }
            _ => None,
        })
        .collect();
    appended.sort_unstable_by_key(|(position, ..)| *position);
    let (mut bounds, mut at) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (index, (position, stream, expected, revision, span)) in appended.into_iter().enumerate() {
        if position != index as u64 + 1 {
            return Err(format!("position {position} at place {}", index + 1));
        }
        if revision != at[stream].len() as u64 {
            return Err(format!("revision {revision} after {} of its stream", at[stream].len()));
        }
        if expected.is_some_and(|expected| expected != revision.checked_sub(1)) {
            return Err(format!("revision {revision} although {expected:?} was expected"));
        }
        at[stream].push(position);
        bounds.push(Bounds { not_before: span.began, not_after: span.returned });
    }
    Ok((bounds, at))
}

/// An operation comes after position `seen` (0: none) and before position `unseen` (when there is such a one).
fn saw(bounds: &mut [Bounds], span: Span, seen: u64, unseen: u64) -> Result<(), String> {
    if seen > 0 {
        let seen =
            bounds.get_mut(seen as usize - 1).ok_or_else(|| format!("position {seen} was seen, but never appended"))?;
        seen.not_after = seen.not_after.min(span.returned);
    }
    if let Some(unseen) = bounds.get_mut(unseen as usize - 1) {
        unseen.not_before = unseen.not_before.max(span.began);
    }
    Ok(())
}

fn saw_revision(bounds: &mut [Bounds], at: &[u64], span: Span, revision: Option<u64>) -> Result<(), String> {
    let next = revision.map_or(0, |revision| revision + 1) as usize;
    let seen = match next {
        0 => 0,
        _ => *at.get(next - 1).ok_or_else(|| format!("revision {revision:?} was seen, but never appended"))?,
    };
    saw(bounds, span, seen, at.get(next).copied().unwrap_or(u64::MAX))
}

/// The same numbers for the same seed (Vigna's splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One operation of the mix: 3 in 10 append in any case, 6 expect what was last seen of the stream, 1 reads.
fn step(log: &Log, dice: &mut Dice, last_seen: &mut [Option<u64>; 2]) -> Operation {
    let stream = dice.below(2) as usize;
    let event = || Message::event("E", "").unwrap();
    match dice.below(10) {
        0..3 => {
            let appended = log.append(STREAMS[stream], event()).unwrap();
            last_seen[stream] = Some(appended.revision.get());
            let (position, revision) = (appended.position.get(), appended.revision.get());
            Operation::Appended { stream, expected: None, position, revision }
        }
        3..9 => {
            let expected = last_seen[stream];
            let terms = expected.map_or(Expected::NoStream, Expected::exactly);
            match log.append_with(STREAMS[stream], event(), terms) {
                Ok(appended) => {
                    last_seen[stream] = Some(appended.revision.get());
                    let (position, revision) = (appended.position.get(), appended.revision.get());
                    Operation::Appended { stream, expected: Some(expected), position, revision }
                }
                Err(rejected) => {
                    let actual = rejected.conflict().expect("nothing else is in the way").actual().map(Revision::get);
                    last_seen[stream] = actual;
                    Operation::Conflict { stream, expected, actual }
                }
            }
        }
        _ if dice.below(2) == 0 => Operation::End { position: log.end().get() },
        _ => {
            let revision = log.stream(STREAMS[stream]).unwrap().revision().map(Revision::get);
            last_seen[stream] = revision;
            Operation::Last { stream, revision }
        }
    }
}

/// A history of `threads` threads with `steps` operations each.
fn record(seed: u64, threads: u64, steps: usize) -> History {
    let log = Log::builder().segment_slots(4).no_clock().build().unwrap();
    let clock = AtomicU64::new(1);
    let start = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (log, clock, start) = (&log, &clock, &start);
            move || {
                let mut dice = Dice(seed << 8 | thread);
                let (mut last_seen, mut history) = ([None, None], Vec::with_capacity(steps));
                start.wait();
                for _ in 0..steps {
                    let began = clock.fetch_add(1, Ordering::SeqCst);
                    let operation = step(log, &mut dice, &mut last_seen);
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
    let (mut operations, mut conflicts) = (0, 0);
    for seed in 0..histories {
        let steps = if seed % 100 == 0 { 2_000 } else { 20 };
        let history = record(seed, 2 + seed % 7, steps);
        operations += history.len();
        conflicts += history.iter().filter(|(_, operation)| matches!(operation, Operation::Conflict { .. })).count();
        if let Err(reason) = check(&history) {
            panic!("history of seed {seed}: {reason}");
        }
    }
    println!("{histories} histories, {operations} operations, {conflicts} conflicts");
    assert!(conflicts > 0, "the threads met");
}

fn span(began: u64, returned: u64) -> Span {
    Span { began, returned }
}

fn appended(position: u64, revision: u64) -> Operation {
    Operation::Appended { stream: 0, expected: None, position, revision }
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
    let broken = Operation::Appended { stream: 0, expected: Some(Some(4)), position: 1, revision: 0 };
    assert!(check(&vec![(span(1, 2), broken)]).is_err());
}
