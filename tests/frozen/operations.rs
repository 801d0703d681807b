//! What a victim does: one call of the log's public interface, on a thread that is warm or not.

use std::hint::black_box;

use annals::{Appended, Batch, Condition, Cursor, Envelope, Expected, Log, Message, Query, Rejected, Stream};

use crate::others::VICTIM;
use crate::scene::{Operation, Outcome};

/// Makes an operation on the victim's thread.
pub trait Make: Fn(Log, Stream) -> Operation + Clone + Send + 'static {}

impl<F: Fn(Log, Stream) -> Operation + Clone + Send + 'static> Make for F {}

/// The message of a victim.
fn own(victim: usize) -> Message<'static> {
    Message::event(VICTIM[victim], b"as it was written").expect("a name and a short payload")
}

fn told(result: Result<Appended, Rejected<Message<'static>>>) -> Outcome {
    Outcome { position: result.map_or(0, |appended| appended.position.get()) }
}

/// An operation that appends nothing.
pub fn silent<R: 'static>(work: impl FnOnce() -> R + 'static) -> Operation {
    Box::new(move || {
        drop(black_box(work()));
        Outcome::default()
    })
}

pub fn append(victim: usize) -> impl Make {
    move |_, stream| {
        let message = own(victim);
        Box::new(move || told(stream.append(message)))
    }
}

/// With a payload of so many bytes.
pub fn append_bytes(bytes: usize) -> impl Make {
    move |_, stream| {
        let payload: &'static [u8] = vec![7; bytes].leak();
        let message = Message::event(VICTIM[0], payload).expect("a name and a payload");
        Box::new(move || told(stream.append(message)))
    }
}

pub fn append_by_name(victim: usize, name: &'static str) -> impl Make {
    move |log, _| {
        let message = own(victim);
        Box::new(move || told(log.append(name, message)))
    }
}

/// The expectation is right when the operation begins, unless `off` is not 0.
pub fn append_expecting(off: u64) -> impl Make {
    move |_, stream| {
        let revision = stream.revision().map_or(0, |revision| revision.get());
        let (message, expected) = (own(0), Expected::exactly(revision + off));
        Box::new(move || told(stream.append_with(message, expected)))
    }
}

/// Under the condition that there is no message with this name.
pub fn append_unless(name: &'static str) -> impl Make {
    move |log, _| {
        let condition = Condition::none(Query::name(name).expect("a name"));
        let message = own(0);
        Box::new(move || told(log.append_with("victims", message, &condition)))
    }
}

/// A batch of so many messages, one of them to another stream.
pub fn batch(victim: usize, messages: u64) -> impl Make {
    move |log, stream| {
        let mut batch = Batch::new();
        for number in 0..messages {
            batch = if number == 1 { batch.add("beside", own(victim)) } else { batch.add(stream.clone(), own(victim)) };
        }
        Box::new(move || Outcome { position: log.append_batch(batch).map_or(0, |appended| appended.first.get()) })
    }
}

/// A batch that only asks.
pub fn empty_batch() -> impl Make {
    |log, stream| {
        let revision = stream.revision().expect("the stream is filled").get();
        let batch = Batch::new().expect(stream, Expected::exactly(revision));
        silent(move || log.append_batch(batch))
    }
}

/// Through an appender that has appended so many messages before.
pub fn append_through_appender(before: u64) -> impl Make {
    move |log, stream| {
        let mut appender = log.appender();
        for _ in 0..before {
            appender.append(&stream, filler()).expect("an append");
        }
        let message = own(0);
        Box::new(move || {
            let outcome = told(appender.append(&stream, message));
            // Its drop is another operation.
            std::mem::forget(appender);
            outcome
        })
    }
}

pub fn drop_appender() -> impl Make {
    |log, stream| {
        let mut appender = log.appender();
        appender.append(&stream, filler()).expect("an append");
        silent(move || drop(appender))
    }
}

pub fn make_appender() -> impl Make {
    |log, _| silent(move || std::mem::forget(log.appender()))
}

pub fn make_stream(name: &'static str) -> impl Make {
    move |log, _| silent(move || log.stream(name).map(drop))
}

fn filler() -> Message<'static> {
    Message::event("Before", b"").expect("a name")
}

/// Begins to read, and reads one envelope.
pub fn begin_to_read() -> impl Make {
    |log, _| silent(move || log.read().cursor().next().cloned())
}

pub fn begin_to_read_backwards() -> impl Make {
    |log, _| silent(move || log.read().backwards().cursor().next().cloned())
}

pub fn begin_to_read_stream() -> impl Make {
    |_, stream| silent(move || stream.read().cursor().next().cloned())
}

pub fn read_by_query() -> impl Make {
    |log, _| {
        let query = Query::name(VICTIM[1]).expect("a name");
        silent(move || log.read().matching(query).last(1).cursor().next().cloned())
    }
}

fn step(mut cursor: Cursor) -> Operation {
    silent(move || {
        black_box(cursor.next());
        std::mem::forget(cursor);
    })
}

/// The step of a cursor that has gone `before` steps.
pub fn read_next(before: usize) -> impl Make {
    move |log, _| {
        let mut cursor = log.read().cursor();
        (0..before).for_each(|_| _ = black_box(cursor.next()));
        step(cursor)
    }
}

pub fn read_stream_next(before: usize) -> impl Make {
    move |_, stream| {
        let mut cursor = stream.read().cursor();
        (0..before).for_each(|_| _ = black_box(cursor.next()));
        step(cursor)
    }
}

/// The step of a cursor whose segment was removed: it is the last holder.
pub fn read_next_after_truncation() -> impl Make {
    |log, _| {
        let mut cursor = log.read().cursor();
        black_box(cursor.next());
        log.truncate_before(log.end().get() - 2);
        step(cursor)
    }
}

pub fn drop_cursor_after_truncation() -> impl Make {
    |log, _| {
        let mut cursor = log.read().cursor();
        black_box(cursor.next());
        log.truncate_before(log.end().get() - 2);
        silent(move || drop(cursor))
    }
}

pub fn get(position: u64) -> impl Make {
    move |log, _| silent(move || log.get(position))
}

pub fn end() -> impl Make {
    |log, _| silent(move || log.end())
}

pub fn view() -> impl Make {
    |log, _| silent(move || log.view())
}

/// A view that ends within the batch at the end of the log.
pub fn view_inside_a_batch() -> impl Make {
    |log, stream| {
        let mut batch = Batch::new();
        for _ in 0..4 {
            batch = batch.add(stream.clone(), filler());
        }
        let end = log.append_batch(batch).expect("a batch").last.get();
        silent(move || log.view_at(end - 1))
    }
}

pub fn revision() -> impl Make {
    |_, stream| silent(move || stream.revision())
}

/// The last envelope of the log, truncated or not.
fn envelope(log: &Log, truncated: bool) -> Envelope {
    let envelope = log.get(1).expect("the first envelope");
    if truncated {
        log.truncate_before(log.end().next());
    }
    envelope
}

pub fn clone_envelope() -> impl Make {
    |log, _| {
        let envelope = envelope(&log, false);
        silent(move || (envelope.clone(), envelope))
    }
}

pub fn drop_envelope(last_holder: bool) -> impl Make {
    move |log, _| {
        let envelope = envelope(&log, last_holder);
        silent(move || drop(envelope))
    }
}

pub fn clone_log() -> impl Make {
    |log, _| silent(move || log.clone())
}

/// Removes all but the last `left` messages.
pub fn truncate(left: u64) -> impl Make {
    move |log, _| silent(move || log.truncate_before(log.end().get() - left))
}

/// With a cursor that kept a segment until just now.
pub fn maintain() -> impl Make {
    |log, _| {
        let mut cursor = log.read().cursor();
        black_box(cursor.next());
        log.truncate_before(log.end().get() - 2);
        drop(cursor);
        silent(move || log.maintain())
    }
}
