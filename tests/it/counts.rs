//! Counts are exact in every view, whatever was removed, and whatever others append or remove meanwhile.

use std::thread;

use annals::{AppendOptions, Batch, Counts, Indexes, Kind, Log, Message, Retention, Timestamp, View};

/// The message at a position: kinds and sizes come and go.
fn message(position: u64) -> Message<'static> {
    let payload = vec![7; position as usize * 37 % 1500];
    if position.is_multiple_of(3) { Message::command("C", payload) } else { Message::event("E", payload) }.unwrap()
}

fn time_of(position: u64) -> Timestamp {
    Timestamp::from_nanos(position as i64 * 10)
}

/// Singles, and a batch of seven at 21.
fn filled(log: Log, count: u64) -> Log {
    let options = |position| AppendOptions::new().at(time_of(position));
    (1..=20).for_each(|position| _ = log.append_with("s", message(position), options(position)).unwrap());
    let batch = (21..=27).fold(Batch::new().at(time_of(21)), |batch, position| batch.add("t", message(position)));
    log.append_batch(batch).unwrap();
    (28..=count).for_each(|position| _ = log.append_with("s", message(position), options(position)).unwrap());
    log
}

/// By going through it.
fn counted(view: &View) -> (u64, u64, u64) {
    let of = |kind| view.read().iter().filter(|envelope| envelope.kind() == kind).count() as u64;
    (view.read().iter().count() as u64, of(Kind::Command), of(Kind::Event))
}

fn told(counts: Counts) -> (u64, u64, u64) {
    (counts.messages, counts.commands.unwrap(), counts.events.unwrap())
}

/// In every view after every truncation: messages by kind, bytes as sums of what each took, oldest and newest.
#[test]
fn a_view_counts_what_it_has() {
    const END: u64 = 60;
    let log = || filled(Log::builder().segment_slots(4).time_per_append().counted().build().unwrap(), END);
    let whole = log();
    let upto = |end: u64| whole.view_at(end).unwrap().counts().bytes.unwrap();
    for end in 2..=END {
        let payload = whole.get(end).unwrap().payload().len() as u64;
        // No view ends within the batch.
        if !(21..28).contains(&end) {
            assert!((payload + 32..payload + 120).contains(&(upto(end) - upto(end - 1))), "position {end}");
        }
    }
    for first in 1..=END + 1 {
        let log = log();
        log.truncate_before(first);
        log.maintain();
        for end in 0..=END {
            let view = log.view_at(end).unwrap();
            let (counts, end) = (view.counts(), view.end().get());
            assert_eq!(told(counts), counted(&view), "from {first} to {end}");
            // A truncation may.
            if !(22..28).contains(&first) {
                assert_eq!(counts.bytes.unwrap(), upto(end).saturating_sub(upto(first - 1)));
            }
            assert_eq!(view.oldest(), view.read().iter().next().and_then(|envelope| envelope.time()));
            assert_eq!(view.newest(), view.read().backwards().iter().next().and_then(|envelope| envelope.time()));
        }
    }
}

/// Messages are counted by every log; the rest by those that were asked to, or that need to know.
#[test]
fn a_log_counts_what_it_was_asked_to() {
    let counts = |builder: annals::Builder| {
        let log = builder.no_clock().build().unwrap();
        let empty = log.view().counts();
        (1..=9).for_each(|position| _ = log.append("s", message(position)).unwrap());
        assert_eq!((log.view().oldest(), log.view().newest()), (None, None));
        let counts = log.view().counts();
        assert_eq!((empty.messages, empty.bytes.is_some()), (0, counts.bytes.is_some()));
        (counts.messages, counts.commands, counts.events, counts.bytes.is_some())
    };
    assert_eq!(counts(Log::builder()), (9, None, None, false));
    assert_eq!(counts(Log::builder().counted()), (9, Some(3), Some(6), true));
    let mut retention = Retention::default();
    retention.bytes = Some(1 << 20);
    assert_eq!(counts(Log::builder().retention(retention)), (9, Some(3), Some(6), true));
}

/// Beside two appenders and a retention that removes: each view's counts are of envelopes that were there at one instant.
#[test]
fn counts_beside_appends_and_removals_add_up() {
    let mut retention = Retention::default();
    retention.records = Some(100);
    let log = Log::builder().segment_slots(2).counted().retention(retention).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..20_000).for_each(|n| _ = log.append("s", small(n % 2 == 0)).unwrap()));
        }
        while log.end().get() < 40_000 {
            let view = log.view();
            let counts = view.counts();
            let (messages, commands, events) = told(counts);
            assert_eq!(messages, commands + events);
            assert!(messages <= view.end().get());
            // All records are of one size.
            assert_eq!(counts.bytes.unwrap() % messages.max(1), 0);
            assert!(counts.bytes.unwrap() == 0 || counts.bytes.unwrap() / messages == 64);
            assert!(view.oldest().zip(view.newest()).is_none_or(|(oldest, newest)| oldest <= newest));
        }
    });
    log.maintain();
    assert_eq!(log.view().counts().messages, 100);
}

fn small(command: bool) -> Message<'static> {
    if command { Message::command("M", "") } else { Message::event("M", "") }.unwrap()
}

/// What an index takes beside a record is counted with it.
#[test]
fn bytes_include_what_indexes_take() {
    let bytes = |indexes| {
        let log = filled(Log::builder().time_per_append().counted().indexes(indexes).build().unwrap(), 30);
        log.view().counts().bytes.unwrap()
    };
    let (none, one, two) =
        (bytes(Indexes::new()), bytes(Indexes::new().names()), bytes(Indexes::new().names().categories()));
    assert_eq!((one - none, two - none), (30 * (8 + 16), 30 * (8 + 2 * 16)));
}
