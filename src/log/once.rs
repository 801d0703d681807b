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
use super::handle::{Log, Stream};
use super::index::as_index;
use super::options::AppendOptions;
use crate::model::{Condition, Failures, Item, Message, Position, Query};

/// Where a message went, and when: now or before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Once<A> {
    /// Where it went; of a repeat, where the first went. Failed deliveries are told to the first alone.
    pub appended: A,
    /// It was in the log already: nothing was appended.
    pub repeated: bool,
}

impl Log {
    /// Appends a message unless one with the same [`message_id`](crate::MessageBuilder::message_id) is among the last
    /// envelopes of the log: as many as [`Builder::once_within`](crate::Builder::once_within) says, less what retention has
    /// removed. A repeat returns where the first went, and is asked nothing else, not even its terms: so a caller who does not
    /// know whether an append went through may try again.
    ///
    /// However many threads try at once, one appends. Lock-free. Looks through the window, or, with an index of message ids,
    /// only where that leads.
    ///
    /// ```
    /// use annals::{AppendOptions, Expected, Indexes, Log, Message};
    ///
    /// let log = Log::builder().indexes(Indexes::new().message_ids()).build()?;
    /// let paid = || Message::builder("Paid").message_id("payment-7").build();
    /// let first = log.append_once("order-1", paid()?, Expected::NoStream)?;
    /// let again = log.append_once("order-1", paid()?, Expected::NoStream)?;
    /// assert_eq!((first.repeated, again.repeated), (false, true));
    /// assert_eq!(first.appended.position, again.appended.position);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`] with the message, when it has no id, or as [`append_with`](Self::append_with).
    pub fn append_once<'c>(
        &self,
        stream: &str,
        message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Once<Appended>, Rejected<Message<'static>>> {
        append_one(self, message, options.into(), |message, options| self.append_with(stream, message, options))
    }

    /// Appends a batch unless its messages are in the log already, together, as [`append_once`](Self::append_once) looks for
    /// one.
    ///
    /// # Errors
    /// [`Rejected`] with the batch: when a message has no id; when some of the ids are in the log, but not the batch
    /// ([`AppendError::PartlyRepeated`]); or as [`append_batch`](Self::append_batch).
    pub fn append_batch_once(&self, batch: Batch<'_>) -> Result<Once<BatchAppended>, Rejected<Batch<'static>>> {
        append_all(self, batch)
    }
}

impl Stream {
    /// As [`Log::append_once`], without looking the stream up.
    ///
    /// # Errors
    /// As there.
    pub fn append_once<'c>(
        &self,
        message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Once<Appended>, Rejected<Message<'static>>> {
        append_one(self.log(), message, options.into(), |message, options| self.append_with(message, options))
    }
}

fn append_one(
    log: &Log,
    message: Message<'_>,
    options: AppendOptions<'_>,
    append: impl Fn(Message<'_>, AppendOptions<'_>) -> Result<Appended, Rejected<Message<'static>>>,
) -> Result<Once<Appended>, Rejected<Message<'static>>> {
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
        Ok(appended) => Ok(Once { appended, repeated: false }),
        Err(rejected) => match find(log, &query, end, log.end()) {
            Some(first) => Ok(repeated(&first)),
            // Of a repeat that has been removed since, nothing is known any more.
            None => Err(Rejected { error: in_own_terms(rejected.error, options.condition), ..rejected }),
        },
    }
}

fn repeated(first: &Envelope) -> Once<Appended> {
    let appended = Appended { position: first.position(), revision: first.revision(), failures: Failures::NONE };
    Once { appended, repeated: true }
}

fn append_all(log: &Log, mut batch: Batch<'_>) -> Result<Once<BatchAppended>, Rejected<Batch<'static>>> {
    let Some(ids) =
        batch.messages().map(|(_, message)| message.message_id().map(Box::from)).collect::<Option<Vec<Box<str>>>>()
    else {
        return Err(Rejected::new(AppendError::MissingMessageId, batch.into_owned()));
    };
    if ids.is_empty() {
        return log.append_batch(batch).map(|appended| Once { appended, repeated: false });
    }
    let query = Query::all().or(ids.iter().fold(Item::new(), |item, id| item.message_id(id)));
    let end = log.end();
    if let Some(first) = find(log, &query, window(log, end), end) {
        return repeated_batch(log, &first, &ids).map_err(|error| Rejected::new(error, batch.into_owned()));
    }
    let own = batch.condition.take();
    batch.condition = Some(Box::new(absent_after(&query, end, own.as_deref())));
    match log.append_batch(batch) {
        Ok(appended) => Ok(Once { appended, repeated: false }),
        Err(mut rejected) => {
            rejected.rejected.condition = own;
            let Some(first) = find(log, &query, end, log.end()) else {
                let own = rejected.rejected.condition.as_deref();
                return Err(Rejected { error: in_own_terms(rejected.error, own), ..rejected });
            };
            repeated_batch(log, &first, &ids).map_err(|error| Rejected::new(error, rejected.rejected))
        }
    }
}

/// The batch that begins with `first`, if it is the one with these ids.
fn repeated_batch(log: &Log, first: &Envelope, ids: &[Box<str>]) -> Result<Once<BatchAppended>, AppendError> {
    let position = first.position();
    let envelopes: Vec<_> = log.read().from(position).first(ids.len() as u64).iter().collect();
    let same = |(at, id): (u64, &str)| {
        let envelope = envelopes.get(as_index(at));
        envelope.is_some_and(|it| it.position().get() == position.get() + at && it.message_id() == Some(id))
    };
    if !(0..).zip(ids.iter().map(|id| &**id)).all(same) {
        return Err(AppendError::PartlyRepeated { position });
    }
    let appended = BatchAppended {
        first: position,
        last: Position::new(position.get() + ids.len() as u64 - 1),
        revisions: envelopes.iter().map(Envelope::revision).collect(),
        failures: Failures::NONE,
    };
    Ok(Once { appended, repeated: true })
}

/// Where the window begins that ends at `end`.
fn window(log: &Log, end: Position) -> Position {
    Position::new(end.get().saturating_sub(log.core().config.once_within))
}

/// The first envelope after `after`, up to `end`, that matches.
fn find(log: &Log, query: &Query, after: Position, end: Position) -> Option<Envelope> {
    let core = log.core();
    let index = core.first_match(query, Range { start: after.get(), end: end.get() })?;
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
