//! Appending several messages at one instant.

use std::borrow::Cow;
use std::ptr::NonNull;

use smallvec::{SmallVec, smallvec};

use super::append::{BatchPlan, StreamPlan, Terms};
use super::appender::{explain, time_of};
use super::core::{Core, Local};
use super::directory::Entry;
use super::error::{AppendError, Rejected};
use super::handle::{Log, Stream};
use super::record::{INLINE_MAX, Plan};
use crate::model::{Condition, Expected, Limit, LimitExceeded, Message, Position, Revision, Timestamp, check_name};

/// Messages for one or several streams, with what each stream must be like, to be appended together or not at all.
///
/// ```
/// use annals::{Batch, Expected, Log, Message};
///
/// let log = Log::new();
/// let transfer = Batch::new()
///     .expect("account-1", Expected::NoStream)
///     .add("account-1", Message::event("Opened", "")?)
///     .add("account-1", Message::event("Deposited", "100")?)
///     .add("ledger", Message::event("Booked", "100")?)
///     .expect("account-2", Expected::NoStream); // guarded, not written
/// let appended = log.append_batch(transfer)?;
/// assert_eq!((appended.first.get(), appended.last.get()), (1, 3));
/// assert_eq!(appended.revisions[1], 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a batch does nothing until it is appended"]
pub struct Batch<'m> {
    messages: Vec<(Target<'m>, Message<'m>)>,
    expectations: Vec<(Target<'m>, Expected)>,
    condition: Option<Box<Condition>>,
    time: Option<Timestamp>,
}

/// A stream, by id or by handle.
#[derive(Clone, Debug)]
pub struct Target<'m>(Inner<'m>);

#[derive(Clone, Debug)]
enum Inner<'m> {
    Id(Cow<'m, str>),
    Handle(Stream),
    Borrowed(&'m Stream),
}

impl Target<'_> {
    fn id(&self) -> &str {
        match &self.0 {
            Inner::Id(id) => id,
            Inner::Handle(stream) => stream.id(),
            Inner::Borrowed(stream) => stream.id(),
        }
    }

    fn into_owned(self) -> Target<'static> {
        Target(match self.0 {
            Inner::Id(id) => Inner::Id(Cow::Owned(id.into_owned())),
            Inner::Handle(stream) => Inner::Handle(stream),
            Inner::Borrowed(stream) => Inner::Handle(stream.clone()),
        })
    }

    fn handle(&self) -> Option<&Stream> {
        match &self.0 {
            Inner::Id(_) => None,
            Inner::Handle(stream) => Some(stream),
            Inner::Borrowed(stream) => Some(stream),
        }
    }
}

impl<'m> From<&'m str> for Target<'m> {
    fn from(id: &'m str) -> Self {
        Self(Inner::Id(Cow::Borrowed(id)))
    }
}

impl<'m> From<&'m String> for Target<'m> {
    fn from(id: &'m String) -> Self {
        Self(Inner::Id(Cow::Borrowed(id)))
    }
}

impl From<String> for Target<'_> {
    fn from(id: String) -> Self {
        Self(Inner::Id(Cow::Owned(id)))
    }
}

impl From<Stream> for Target<'_> {
    fn from(stream: Stream) -> Self {
        Self(Inner::Handle(stream))
    }
}

impl<'m> From<&'m Stream> for Target<'m> {
    fn from(stream: &'m Stream) -> Self {
        Self(Inner::Borrowed(stream))
    }
}

impl<'m> Batch<'m> {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message for a stream. Envelopes have the order of the additions.
    pub fn add(mut self, stream: impl Into<Target<'m>>, message: Message<'m>) -> Self {
        self.messages.push((stream.into(), message));
        self
    }

    /// Says what a stream must be like before the batch, whether the batch writes to it or not. Said twice, it must be
    /// the same.
    pub fn expect(mut self, stream: impl Into<Target<'m>>, expected: Expected) -> Self {
        self.expectations.push((stream.into(), expected));
        self
    }

    /// Says what must not be in the log.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = Some(Box::new(condition));
        self
    }

    /// The time of the append, instead of the clock's. A time before the log's last is raised to it.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The same batch without borrowing.
    pub fn into_owned(self) -> Batch<'static> {
        Batch {
            messages: self.messages.into_iter().map(|(t, message)| (t.into_owned(), message.into_owned())).collect(),
            expectations: self.expectations.into_iter().map(|(t, expected)| (t.into_owned(), expected)).collect(),
            condition: self.condition,
            time: self.time,
        }
    }

    /// The messages, when they are wanted back.
    pub fn into_messages(self) -> impl Iterator<Item = Message<'m>> {
        self.messages.into_iter().map(|(_, message)| message)
    }
}

/// Where a batch went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchAppended {
    /// Position of its first envelope; of an empty batch, the position after the end of the log.
    pub first: Position,
    /// Position of its last envelope, or the end of the log.
    pub last: Position,
    /// Revision of each envelope in its stream, in the order of the batch.
    pub revisions: SmallVec<[Revision; 8]>,
}

/// Appends a batch. As for a single message, everything that can fail or call out comes first.
pub(crate) fn append(
    log: &Log,
    local: &mut Local,
    mut batch: Batch<'_>,
) -> Result<BatchAppended, Rejected<Batch<'static>>> {
    let core = log.core();
    let Prepared { now, streams, targets } = match prepare(log, &batch) {
        Ok(prepared) => prepared,
        Err(error) => return Err(Rejected::new(error, batch.into_owned())),
    };
    let mut plan = BatchPlan { streams, drafts: SmallVec::with_capacity(targets.len()) };
    draft_all(core, local, &mut batch, &targets, &mut plan);
    let condition = batch.condition.as_deref();
    let result = core
        .check_past(condition)
        .and_then(|checked| core.append_batch(local, &mut plan, Terms { condition, checked, now }, &core.pin()));
    match result {
        Ok(first) => {
            let revisions = plan.drafts.iter().map(|(_, draft)| Revision::new(draft.record().revision())).collect();
            let count = plan.drafts.len() as u64;
            batch.messages.into_iter().for_each(|(_, message)| message.recorded());
            core.after_append(count, first + count, now);
            Ok(BatchAppended { first: Position::new(first + 1), last: Position::new(first + count), revisions })
        }
        Err(refusal) => {
            plan.drafts.iter().rev().for_each(|(_, draft)| local.arena.discard(*draft));
            let refused = |which: usize| {
                let stream = &plan.streams[which];
                // SAFETY: the entry is one of this log's.
                (unsafe { Stream::new(log.clone(), NonNull::from(stream.entry)) }, stream.expected)
            };
            let error = explain(log, refusal, batch.condition.as_deref(), refused);
            drop(plan);
            Err(Rejected::new(error, batch.into_owned()))
        }
    }
}

/// What is known of a batch before its records are built.
struct Prepared<'l> {
    now: Timestamp,
    streams: SmallVec<[StreamPlan<'l>; 2]>,
    /// For each message its stream's place in `streams`.
    targets: SmallVec<[usize; 8]>,
}

/// Checks everything that does not depend on the log's content, and resolves the streams.
fn prepare<'l>(log: &'l Log, batch: &Batch<'_>) -> Result<Prepared<'l>, AppendError> {
    let limits = &log.core().config.limits;
    LimitExceeded::check(Limit::BatchLength, batch.messages.len().max(batch.expectations.len()), limits.batch_len)?;
    for (target, message) in &batch.messages {
        check_name(target.id())?;
        message.check(limits)?;
    }
    // Nothing may be made known of a batch that its own words refuse.
    let mut expectations: SmallVec<[(&str, Expected); 2]> = smallvec![];
    for (target, expected) in &batch.expectations {
        check_name(target.id())?;
        match expectations.iter().find(|(id, _)| *id == target.id()) {
            None => expectations.push((target.id(), *expected)),
            Some((_, other)) if other == expected => {}
            Some(_) => return Err(AppendError::AmbiguousExpectation { stream: target.id().into() }),
        }
    }
    let now = time_of(&log.core().config.time, batch.time)?;
    let mut streams = Streams { log, plans: smallvec![] };
    for (target, expected) in &batch.expectations {
        streams.find_or_add(target, *expected)?;
    }
    let mut targets = SmallVec::with_capacity(batch.messages.len());
    for (target, _) in &batch.messages {
        let at = streams.find_or_add(target, Expected::Any)?;
        streams.plans[at].count += 1;
        targets.push(at);
    }
    Ok(Prepared { now, streams: streams.plans, targets })
}

struct Streams<'l> {
    log: &'l Log,
    plans: SmallVec<[StreamPlan<'l>; 2]>,
}

impl<'l> Streams<'l> {
    /// The place of a stream among the plans. The last one first: batches mostly stay with a stream.
    fn find_or_add(&mut self, target: &Target<'_>, expected: Expected) -> Result<usize, AppendError> {
        if let Some(at) = self.plans.iter().rposition(|plan| plan.entry.name() == target.id()) {
            return Ok(at);
        }
        let entry = self.resolve(target, expected)?;
        // SAFETY: the log keeps its entries.
        let entry: &'l Entry = unsafe { entry.as_ref() };
        self.plans.push(StreamPlan { entry, expected, count: 0, next: 0 });
        Ok(self.plans.len() - 1)
    }

    fn resolve(&self, target: &Target<'_>, expected: Expected) -> Result<NonNull<Entry>, AppendError> {
        match target.handle() {
            Some(stream) if stream.log().is(self.log) => Ok(stream.entry()),
            Some(stream) => Err(AppendError::ForeignStream { stream: stream.id().into() }),
            None => self.log.entry_for(target.id(), expected),
        }
    }
}

/// Builds the records, linked in order.
fn draft_all(core: &Core, local: &mut Local, batch: &mut Batch<'_>, targets: &[usize], plan: &mut BatchPlan<'_>) {
    let count = targets.len();
    for (at, ((_, message), &stream)) in batch.messages.iter_mut().zip(targets).enumerate() {
        message.share_payload(INLINE_MAX);
        let parts = message.parts();
        let record = Plan::new(&parts, core.config.shape, at + 1 < count);
        let entry = NonNull::from(plan.streams[stream].entry);
        let draft = local.arena.draft(record, &parts, entry);
        if let Some((_, before)) = plan.drafts.last() {
            before.link(draft);
        }
        plan.drafts.push((stream, draft));
    }
}
