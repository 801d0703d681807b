//! The cases: operations, each from the state of a log in which it takes the path that is meant.

use annals::{Builder, Log, Message, Retention, Stream};

use crate::bus;
use crate::delivery::*;
use crate::operations::*;
use crate::others::Field;
use crate::position::Move;
use crate::scene::{Operation, Stage};
use crate::sweep::Case;

/// The state of the log before the victim comes, and what warms the victim up.
#[derive(Clone, Copy)]
pub struct Start {
    slots: usize,
    /// Messages on the victims' stream.
    filled: u64,
    /// Streams beside it, one message each, before those.
    streams: u64,
    /// Messages that the victim itself has appended before.
    warm: u64,
    clock: bool,
    retention: Option<Retention>,
}

const START: Start = Start { slots: 64, filled: 5, streams: 0, warm: 1, clock: false, retention: None };

fn keeping(set: impl FnOnce(&mut Retention)) -> Option<Retention> {
    let mut retention = Retention::default();
    set(&mut retention);
    Some(retention)
}

fn filler() -> Message<'static> {
    Message::event("Before", b"as it was written").expect("a name and a short payload")
}

impl Start {
    fn builder(&self) -> Builder {
        let builder = Log::builder().segment_slots(self.slots);
        let builder = if self.clock { builder } else { builder.no_clock() };
        match self.retention {
            Some(retention) => builder.retention(retention),
            None => builder,
        }
    }

    fn log(&self) -> (Log, Stream) {
        let log = self.builder().build().expect("settings in range");
        let stream = log.stream("victims").expect("a stream");
        (0..self.streams).for_each(|n| _ = log.append(&format!("stream-{n}"), filler()).expect("an append"));
        (0..self.filled).for_each(|_| _ = stream.append(filler()).expect("an append"));
        (log, stream)
    }

    /// A thread has called the log before, in every way that leaves something behind, or not at all.
    fn warm_up(&self, log: &Log, stream: &Stream) {
        if self.warm > 0 {
            _ = log.end();
        }
        (0..self.warm).for_each(|_| _ = stream.append(filler()).expect("an append"));
    }
}

/// One victim, whose first call into the log this is.
fn first_call(name: &str, start: Start, appends: u64, make: impl Make) -> Case {
    case(name, Start { warm: 0, ..start }, appends, make)
}

/// One victim, whose operation appends so many messages.
fn case(name: &str, start: Start, appends: u64, make: impl Make) -> Case {
    Case::new(name, move || {
        let (log, stream) = start.log();
        Field::new(&log, &stream, &[appends]).scene(vec![prepare(start, &log, &stream, &make)])
    })
}

/// Two victims on one stream.
fn two(name: &str, start: Start, appends: [u64; 2], first: impl Make, second: impl Make) -> Case {
    Case::new(name, move || {
        let (log, stream) = start.log();
        let prepared = vec![prepare(start, &log, &stream, &first), prepare(start, &log, &stream, &second)];
        Field::new(&log, &stream, &appends).scene(prepared)
    })
}

/// Two victims, of which the second one is followed.
fn pair(name: &str, start: Start, appends: [u64; 2], first: impl Make, second: impl Make) -> Case {
    Case { frozen: 1, ..two(name, start, appends, first, second) }
}

fn prepare(start: Start, log: &Log, stream: &Stream, make: &impl Make) -> Box<dyn FnOnce() -> Operation + Send> {
    let (log, stream, make) = (log.clone(), stream.clone(), make.clone());
    Box::new(move || {
        start.warm_up(&log, &stream);
        make(log, stream)
    })
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = appends();
    cases.extend(on_terms());
    cases.extend(races());
    cases.extend(batches());
    cases.extend(reads());
    cases.extend(removals());
    cases.extend(deliveries());
    cases.extend(bus::all());
    cases
}

/// Somebody is subscribed: the victim delivers, subscribes, unsubscribes, follows. Others deliver, too.
fn deliveries() -> Vec<Case> {
    let small = Start { slots: 8, filled: 7, ..START };
    vec![
        case("append to an observer", START, 1, warmed(append_observed())),
        case("append to an observer makes a segment", small, 1, warmed(append_observed())),
        case("append to an observer of the stream", START, 1, warmed(append_observed_in_stream())),
        case("append beside a subscription to another stream", START, 1, warmed(append_beside_a_subscription())),
        case("append wakes a follower", START, 1, warmed(append_followed())),
        case("append wakes a follower of the stream", START, 1, warmed(append_followed_in_stream())),
        case("an observer subscribes", START, 0, warmed(observe())),
        case("an observer of the stream subscribes", START, 0, warmed(observe_stream())),
        case("an observer subscribes beside another", START, 0, warmed(observe_beside())),
        case("a subscription ends", START, 0, warmed(drop_subscription())),
        case("a subscription to the stream ends", START, 0, warmed(drop_subscription_to_stream())),
        case("a follower is made", START, 0, warmed(make_follower())),
        case("a follower goes on", START, 0, warmed(follow_next())),
        case("a follower of the stream goes on", small, 0, warmed(follow_stream_next())),
        case("a follower begins to wait", START, 0, warmed(follow_wait())),
        case("a follower of the stream begins to wait", START, 0, warmed(follow_stream_wait())),
    ]
}

fn appends() -> Vec<Case> {
    let small = Start { slots: 8, filled: 7, ..START };
    vec![
        case("append by handle", START, 1, append(0)),
        first_call("the thread's first append", START, 1, append(0)),
        first_call("the log's first append", Start { filled: 0, ..START }, 1, append(0)),
        case("append with the system's clock", Start { clock: true, ..START }, 1, append(0)),
        case("append that makes a segment", small, 1, append(0)),
        first_call("the thread's first append makes a segment", Start { filled: 8, ..small }, 1, append(0)),
        case("append that makes an index block", Start { filled: 7, ..START }, 1, append(0)),
        case("append that moves the end hint", Start { filled: 14, warm: 2, ..START }, 1, append(0)),
        case("append that opens a chunk", START, 1, append_bytes(1000)),
        case("append of a long payload", START, 1, append_bytes(1500)),
        case("append by name", START, 1, append_by_name(0, "victims")),
        first_call("append by name, the thread's first", START, 1, append_by_name(0, "victims")),
        case("append by name makes a stream", START, 1, append_by_name(0, "victim's own")),
        case(
            "append by name grows the directory",
            Start { streams: 31, ..START },
            1,
            append_by_name(0, "victim's own"),
        ),
        case("a stream handle grows the directory", Start { streams: 31, ..START }, 0, make_stream("victim's own")),
        case("append through an appender", START, 1, append_through_appender(3)),
        case("appender's first append", START, 1, append_through_appender(0)),
        case("an appender's append makes a segment", Start { slots: 8, ..START }, 1, append_through_appender(2)),
        case("an appender is made", START, 0, warmed(make_appender())),
        case("an appender is dropped", START, 0, warmed(drop_appender())),
    ]
}

fn on_terms() -> Vec<Case> {
    vec![
        case("append expecting a revision, met", START, 1, append_expecting(0)),
        case("append expecting a revision, refused", START, 1, append_expecting(3)),
        case("append on a condition, met", START, 1, append_unless("Nobody")),
        case("append on a condition, refused", START, 1, append_unless("Before")),
    ]
}

/// The victim loses its slot, or finds a record that another victim left unfinished.
fn races() -> Vec<Case> {
    let small = Start { slots: 8, ..START };
    let lost = [Move::ToSwap(0), Move::Other(Stage::One)];
    let lost_often = [Move::ToSwap(0), Move::Other(Stage::Many)];
    let lost_to_frozen = [Move::ToSwap(0), Move::Swap(1)];
    let behind_frozen = [Move::Swap(1)];
    vec![
        case("append loses its slot", START, 1, append(0)).after(lost),
        case("append loses, others go far ahead", small, 1, append(0)).after(lost_often),
        case("append expecting a revision loses", START, 1, append_expecting(0)).after(lost),
        case("append on a condition loses", START, 1, append_unless("Nobody")).after(lost),
        case("append by name loses", START, 1, append_by_name(0, "victim's own")).after(lost),
        case("batch loses its slot", small, 4, batch(0, 4)).after(lost),
        two("append loses to a frozen append", START, [1, 1], append(0), append(1)).after(lost_to_frozen),
        two("append behind a frozen append", START, [1, 1], append(0), append(1)).after(behind_frozen),
        two("append behind a frozen batch over a boundary", small, [1, 12], append(0), batch(1, 12))
            .after(behind_frozen),
        two("append loses to a frozen batch", small, [1, 4], append(0), batch(1, 4)).after(lost_to_frozen),
        two("batch behind a frozen batch", small, [12, 4], batch(0, 12), batch(1, 4)).after(behind_frozen),
        two("refusal behind a frozen append", START, [1, 1], append_expecting(3), append(1)).after(behind_frozen),
        two("read behind a frozen batch", small, [0, 12], begin_to_read(), batch(1, 12)).after(behind_frozen),
        two("truncation behind a frozen append", small, [0, 1], truncate(1), append(1)).after(behind_frozen),
    ]
}

fn batches() -> Vec<Case> {
    vec![
        case("batch of 3", START, 3, batch(0, 3)),
        first_call("batch of 3, the thread's first call", START, 3, batch(0, 3)),
        case("batch of 12 over a segment boundary", Start { slots: 8, ..START }, 12, batch(0, 12)),
        case("batch without messages decides", START, 0, warmed(empty_batch())),
    ]
}

fn reads() -> Vec<Case> {
    let small = Start { slots: 8, filled: 20, ..START };
    vec![
        case("read begins", START, 0, warmed(begin_to_read())),
        first_call("read begins, the thread's first call", START, 0, begin_to_read()),
        case("read backwards begins", small, 0, warmed(begin_to_read_backwards())),
        case("read goes on", START, 0, read_next(2)),
        case("read goes on to the next segment", small, 0, read_next(8)),
        case("read goes on from a removed segment", small, 0, warmed(read_next_after_truncation())),
        case("read by query, the last match", small, 0, warmed(read_by_query())),
        case("read of a stream begins", small, 0, warmed(begin_to_read_stream())),
        case("read of a stream goes on to the next segment", small, 0, read_stream_next(8)),
        case("look-up by position", Start { slots: 8, filled: 60, ..START }, 0, get(3)),
        first_call("look-up, the thread's first call", START, 0, get(3)),
        case("end of the log", START, 0, warmed(end())),
        case("view", START, 0, warmed(view())),
        case("view that ends within a batch", START, 0, warmed(view_inside_a_batch())),
        case("revision of a stream", small, 0, warmed(revision())),
    ]
}

fn removals() -> Vec<Case> {
    let small = Start { slots: 8, filled: 30, ..START };
    let records = Start { slots: 8, filled: 202, retention: keeping(|it| it.records = Some(100)), ..START };
    let bytes = Start { slots: 8, filled: 202, retention: keeping(|it| it.bytes = Some(10_000)), ..START };
    vec![
        case("envelope is cloned", START, 0, warmed(clone_envelope())),
        case("envelope is dropped", START, 0, drop_envelope(false)),
        case("envelope is dropped, its last holder", small, 0, drop_envelope(true)),
        case("cursor is dropped, its segment's last holder", small, 0, warmed(drop_cursor_after_truncation())),
        case("log handle is cloned and dropped", START, 0, warmed(clone_log())),
        case("truncation of three segments", small, 0, truncate(2)),
        case("truncation of nothing", START, 0, truncate(4)),
        first_call("truncation, the thread's first call", Start { filled: 12, ..small }, 0, truncate(2)),
        case("maintenance", Start { filled: 12, ..small }, 0, maintain()),
        case("append with retention by count", records, 1, append(0)),
        case("append with retention by bytes", bytes, 1, append(0)),
        case("batch with retention", records, 12, batch(0, 12)),
    ]
}

/// Two victims, each frozen anywhere.
pub fn pairs() -> Vec<Case> {
    let small = Start { slots: 8, filled: 6, ..START };
    let crowded = Start { streams: 31, ..START };
    let records = Start { slots: 8, filled: 202, retention: keeping(|it| it.records = Some(100)), ..START };
    vec![
        pair("two appends", START, [1, 1], append(0), append(1)),
        pair("two appends make a segment", small, [1, 1], append(0), append(1)),
        pair(
            "two streams grow the directory",
            crowded,
            [1, 1],
            append_by_name(0, "victim's own"),
            append_by_name(1, "other victim's"),
        ),
        pair("one new stream, twice", START, [1, 1], append_by_name(0, "victims'"), append_by_name(1, "victims'")),
        pair("batch and append", small, [12, 1], batch(0, 12), append(1)),
        pair("two batches", small, [12, 4], batch(0, 12), batch(1, 4)),
        pair("truncation and append", Start { filled: 20, ..small }, [0, 1], truncate(2), append(1)),
        pair("truncation and read", Start { filled: 20, ..small }, [0, 0], truncate(2), read_next(8)),
        pair("two truncations", Start { filled: 20, ..small }, [0, 0], truncate(2), truncate(4)),
        pair("two appends with retention", records, [1, 1], append(0), append(1)),
    ]
}
