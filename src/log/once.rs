//! Idempotent appends: a message is known by its id.
//!
//! First the window is searched, up to an end. Then the message is appended under the condition that its id is not after that
//! end: so of any number of threads that try at once, one appends. Whoever is refused, for whatever reason, looks again: the
//! first append of the same message may be what refuses the second.

use super::appender::Appended;
use super::batch::{Batch, BatchAppended};
use super::cursor::Range;
use super::envelope::Envelope;
use super::error::{AppendError, Rejected};
use super::handle::Log;
use super::index::as_index;
use super::options::AppendOptions;
use crate::model::{Condition, Item, Message, Position, Query};

/// Appends a message once: with `append`, which does not ask whether it is to be once.
#[cold]
pub(super) fn append(
    log: &Log,
    message: Message<'_>,
    options: AppendOptions<'_>,
    append: impl FnOnce(Message<'_>, AppendOptions<'_>) -> Result<Appended, Rejected<Message<'static>>>,
) -> Result<Appended, Rejected<Message<'static>>> {
    let Some(id) = message.message_id() else {
        return Err(Rejected::new(AppendError::MissingMessageId, message.into_owned()));
    };
    let query = Query::message_id(id);
    let end = log.end();
    if let Some(first) = find(log, &query, window(log, end), end) {
        return Ok(repeated(&first));
    }
    let condition = absent_after(&query, end, options.condition);
    match append(message, AppendOptions { condition: Some(&condition), ..options }) {
        Ok(appended) => Ok(appended),
        Err(rejected) => match find(log, &query, end, log.end()) {
            Some(first) => Ok(repeated(&first)),
            // Of a repeat that has been removed since, nothing is known any more.
            None => Err(Rejected { error: in_own_terms(rejected.error, options.condition), ..rejected }),
        },
    }
}

fn repeated(first: &Envelope) -> Appended {
    Appended { repeated: true, ..Appended::new(first.position(), first.revision()) }
}

/// Appends a batch once: with `append`, as one that says nothing of it.
#[cold]
pub(super) fn append_batch(
    log: &Log,
    mut batch: Batch<'_>,
    append: impl FnOnce(Batch<'_>) -> Result<BatchAppended, Rejected<Batch<'static>>>,
) -> Result<BatchAppended, Rejected<Batch<'static>>> {
    let Some(ids) =
        batch.messages().map(|(_, message)| message.message_id().map(Box::from)).collect::<Option<Vec<Box<str>>>>()
    else {
        return Err(Rejected::new(AppendError::MissingMessageId, batch.into_owned()));
    };
    batch.once = false;
    if ids.is_empty() {
        return append(batch).map_err(as_asked);
    }
    let query = Query::all().or(ids.iter().fold(Item::new(), |item, id| item.message_id(id)));
    let end = log.end();
    if let Some(first) = find(log, &query, window(log, end), end) {
        let refused = |error| as_asked(Rejected::new(error, batch.into_owned()));
        return repeated_batch(log, &first, &ids).map_err(refused);
    }
    let own = batch.condition.take();
    batch.condition = Some(Box::new(absent_after(&query, end, own.as_deref())));
    match append(batch) {
        Ok(appended) => Ok(appended),
        Err(rejected) => {
            let mut rejected = as_asked(rejected);
            rejected.rejected.condition = own;
            let Some(first) = find(log, &query, end, log.end()) else {
                let own = rejected.rejected.condition.as_deref();
                return Err(Rejected { error: in_own_terms(rejected.error, own), ..rejected });
            };
            repeated_batch(log, &first, &ids).map_err(|error| Rejected::new(error, rejected.rejected))
        }
    }
}

/// The refusal gives back the batch that was given.
fn as_asked(mut rejected: Rejected<Batch<'static>>) -> Rejected<Batch<'static>> {
    rejected.rejected.once = true;
    rejected
}

/// The batch that begins with `first`, if it is the one with these ids.
fn repeated_batch(log: &Log, first: &Envelope, ids: &[Box<str>]) -> Result<BatchAppended, AppendError> {
    let position = first.position();
    let envelopes: Vec<_> = log.read().from(position).first(ids.len() as u64).iter().collect();
    let same = |(at, id): (u64, &str)| {
        let envelope = envelopes.get(as_index(at));
        envelope.is_some_and(|it| it.position().get() == position.get() + at && it.message_id() == Some(id))
    };
    if !(0..).zip(ids.iter().map(|id| &**id)).all(same) {
        return Err(AppendError::PartlyRepeated { position });
    }
    let last = Position::new(position.get() + ids.len() as u64 - 1);
    let appended = BatchAppended::new(position, last, envelopes.iter().map(Envelope::revision));
    Ok(BatchAppended { repeated: true, ..appended })
}

/// Where the window begins that ends at `end`.
fn window(log: &Log, end: Position) -> Position {
    Position::new(end.get().saturating_sub(log.core().config.once_within))
}

/// The first envelope after `after`, up to `end`, that matches.
fn find(log: &Log, query: &Query, after: Position, end: Position) -> Option<Envelope> {
    let core = log.core();
    // What cannot be read refuses the append that follows, which looks for the same.
    let index = core.first_match(query, Range { start: after.get(), end: end.get() }).ok()??;
    core.envelope(Position::new(index + 1), end.get(), &core.pin())
}

/// None of the ids is after `end`, and what the caller asks for.
fn absent_after(query: &Query, end: Position, own: Option<&Condition>) -> Condition {
    let absent = Condition::none(query.clone()).after(end);
    match own {
        Some(own) => own.clone().and(absent),
        None => absent,
    }
}

/// The refusal, with the condition that the caller asked for.
fn in_own_terms(error: AppendError, own: Option<&Condition>) -> AppendError {
    match (error, own) {
        (AppendError::ConditionFailed(failed), Some(own)) => failed.of(own.clone()).into(),
        (error, _) => error,
    }
}
