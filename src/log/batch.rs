//! Appending several messages at one instant.

use std::borrow::Cow;
use std::ptr::NonNull;

use smallvec::{SmallVec, smallvec};

use super::append::{BatchPlan, Refusal, StreamPlan, Terms};
use super::appender::{explain, time_of};
use super::backing::{Ack, Stopped, Waits, acknowledge};
use super::core::{Core, Local};
use super::directory::Entry;
use super::envelope::Envelope;
use super::error::{AppendError, Rejected};
use super::handle::{Log, Stream};
use super::keys::KeyPlan;
use super::options::AppendOptions;
use super::record::{Draft, INLINE_MAX};
use super::watch;
use crate::model::{
    Condition, Expected, Failures, Limit, LimitExceeded, Message, Position, Revision, Timestamp, check_name,
};

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
    pub(super) condition: Option<Box<Condition>>,
    time: Option<Timestamp>,
    pub(crate) stored: bool,
    pub(super) once: bool,
    ack: Option<Ack>,
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
    /// The stream's id.
    pub fn id(&self) -> &str {
        match &self.0 {
            Inner::Id(id) => id,
            Inner::Handle(stream) => stream.id(),
            Inner::Borrowed(stream) => stream.id(),
        }
    }

    /// Its entry in `log`, when it is known there. A handle of another log stands for its id.
    pub(crate) fn entry(&self, log: &Log) -> Result<Option<NonNull<Entry>>, Stopped> {
        match self.handle() {
            Some(stream) if stream.log().is(log) => Ok(Some(stream.entry())),
            _ => log.known(self.id()),
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

impl<'m, T: AsRef<str> + ?Sized> From<&'m T> for Target<'m> {
    fn from(id: &'m T) -> Self {
        Self(Inner::Id(Cow::Borrowed(id.as_ref())))
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

    /// The append returns when the batch is stored: as [`AppendOptions::stored`](crate::AppendOptions::stored).
    pub fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// The append returns when the batch is as safe as this: as [`AppendOptions::acknowledge`](crate::AppendOptions::acknowledge).
    pub fn acknowledge(mut self, ack: Ack) -> Self {
        self.ack = Some(ack);
        self
    }

    pub(crate) fn waits(&self) -> Waits {
        Waits { stored: self.stored, ack: self.ack }
    }

    /// The batch is appended unless its messages are in the log already, together: as
    /// [`AppendOptions::once`](crate::AppendOptions::once) looks for one. Refused when a message has no id, and when some of
    /// the ids are in the log, but not the batch ([`AppendError::PartlyRepeated`]).
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// The messages and their streams, in order.
    pub fn messages(&self) -> impl Iterator<Item = (&str, &Message<'m>)> {
        self.messages.iter().map(|(stream, message)| (stream.id(), message))
    }

    /// The messages, to be completed.
    pub(crate) fn messages_mut(&mut self) -> impl Iterator<Item = &mut Message<'m>> {
        self.messages.iter_mut().map(|(_, message)| message)
    }

    /// A batch of one message on terms.
    pub(crate) fn one(stream: &'m str, message: Message<'m>, options: AppendOptions<'_>) -> Self {
        let mut batch = Self::new().add(stream, message);
        if options.expected != Expected::Any {
            batch = batch.expect(stream, options.expected);
        }
        batch.condition = options.condition.cloned().map(Box::new);
        batch.time = options.time;
        batch.stored = options.stored;
        batch.once = options.once;
        batch.ack = options.ack;
        batch
    }

    /// What streams must be like, in the order it was said.
    pub fn expectations(&self) -> impl Iterator<Item = (&str, Expected)> {
        self.expectations.iter().map(|(stream, expected)| (stream.id(), *expected))
    }

    /// What must not be in the log, if anything.
    pub fn given_condition(&self) -> Option<&Condition> {
        self.condition.as_deref()
    }

    /// The time of the append, if it brings one.
    pub fn given_time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Whether it is to be appended [`once`](Self::once).
    pub fn is_once(&self) -> bool {
        self.once
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
            stored: self.stored,
            once: self.once,
            ack: self.ack,
        }
    }

    /// The messages, when they are wanted back.
    pub fn into_messages(self) -> impl Iterator<Item = Message<'m>> {
        self.messages.into_iter().map(|(_, message)| message)
    }
}

/// Where a batch went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BatchAppended {
    /// Position of its first envelope; of an empty batch, the position after the end of the log.
    pub first: Position,
    /// Position of its last envelope, or the end of the log.
    pub last: Position,
    /// Revision of each envelope in its stream, in the order of the batch.
    pub revisions: SmallVec<[Revision; 8]>,
    /// Deliveries of it that failed before the append returned. The append stands.
    pub failures: Failures,
    /// It was there already, and nothing was appended: see [`Batch::once`]. Failed deliveries were told to the first.
    pub repeated: bool,
}

impl BatchAppended {
    /// For a backend to report.
    pub fn new(first: Position, last: Position, revisions: impl IntoIterator<Item = Revision>) -> Self {
        let revisions = revisions.into_iter().collect();
        Self { first, last, revisions, failures: Failures::NONE, repeated: false }
    }
}

/// Tells those who watch of a batch, and the caller of deliveries that failed.
pub(crate) fn announce(
    log: &Log,
    mut result: Result<BatchAppended, Rejected<Batch<'static>>>,
    envelopes: &[Envelope],
    waits: Waits,
) -> Result<BatchAppended, Rejected<Batch<'static>>> {
    if let Ok(appended) = &mut result
        && !envelopes.is_empty()
    {
        if let Err(stopped) = acknowledge(log.core(), appended.last, waits.ack) {
            return Err(unacknowledged(appended.last, stopped, envelopes));
        }
        appended.failures = watch::tell(log, envelopes, waits.stored);
    }
    result
}

/// What was appended and may be lost, given back.
#[cold]
fn unacknowledged(position: Position, stopped: Stopped, envelopes: &[Envelope]) -> Rejected<Batch<'static>> {
    let messages = envelopes.iter().map(|envelope| (envelope.stream().to_owned().into(), envelope.to_message()));
    let batch = Batch { messages: messages.collect(), ..Batch::default() };
    Rejected::new(AppendError::Unacknowledged { position, stopped }, batch)
}

/// Appends a batch. As for a single message, everything that can fail or call out comes first, and `watched` gets the
/// envelopes when somebody is to be told.
pub(crate) fn append(
    log: &Log,
    local: &mut Local,
    mut batch: Batch<'_>,
    watched: &mut Vec<Envelope>,
) -> Result<BatchAppended, Rejected<Batch<'static>>> {
    let core = log.core();
    let Prepared { terms, streams, targets } = match prepare(log, local, &batch) {
        Ok(prepared) => prepared,
        Err(error) => return Err(Rejected::new(error, batch.into_owned())),
    };
    let (now, checked) = (terms.now, terms.checked);
    let mut plan = BatchPlan { streams, drafts: SmallVec::with_capacity(targets.len()), keys: KeyPlan::default() };
    draft_all(core, local, &mut batch, &targets, &mut plan);
    let terms = Terms { condition: batch.condition.as_deref(), checked, now };
    // Until the envelopes are held, nothing of them is freed.
    let guard = local.participant.pin();
    match core.append_batch(local, &mut plan, terms) {
        Ok(first) => {
            if batch.ack.is_some() || plan.streams.iter().any(|stream| core.is_watched(stream.entry)) {
                watched.extend(plan.drafts.iter().map(|(_, draft)| Envelope::of(draft.record())));
            }
            drop(guard);
            let revisions = plan.drafts.iter().map(|(_, draft)| Revision::new(draft.record().revision())).collect();
            let count = plan.drafts.len() as u64;
            batch.messages.iter_mut().for_each(|(_, message)| message.recorded());
            core.after_append(count, first + count, now);
            Ok(BatchAppended {
                first: Position::new(first + 1),
                last: Position::new(first + count),
                revisions,
                failures: Failures::NONE,
                repeated: false,
            })
        }
        Err(refusal) => {
            plan.drafts.iter().rev().for_each(|(_, draft)| local.arena.discard(*draft));
            let error = refused(log, refusal, &plan, batch.condition.as_deref());
            Err(Rejected::new(error, batch.into_owned()))
        }
    }
}

fn refused(log: &Log, refusal: Refusal, plan: &BatchPlan<'_>, condition: Option<&Condition>) -> AppendError {
    explain(log, refusal, condition, |which| {
        let stream = &plan.streams[which];
        // SAFETY: the entry is one of this log's.
        (unsafe { Stream::new(log.clone(), NonNull::from(stream.entry)) }, stream.expected)
    })
}

/// What is known of a batch before its records are built.
struct Prepared<'l, 'b> {
    terms: Terms<'b>,
    streams: SmallVec<[StreamPlan<'l>; 2]>,
    /// For each message its stream's place in `streams`.
    targets: Targets,
}

/// A stream of the batch, before it is made known to the log.
struct Wanted<'b> {
    target: &'b Target<'b>,
    entry: Option<NonNull<Entry>>,
    expected: Expected,
    count: u64,
}

/// Checks all that can be checked before anything is made known, then resolves the streams.
fn prepare<'l, 'b>(log: &'l Log, local: &mut Local, batch: &'b Batch<'_>) -> Result<Prepared<'l, 'b>, AppendError> {
    let core = log.core();
    let now = check_words(log, batch)?;
    let (mut wanted, targets) = find_streams(log, batch)?;
    let condition = batch.condition.as_deref();
    let checked = core.check_past(condition).map_err(|refusal| {
        let nothing = BatchPlan::default();
        refused(log, refusal, &nothing, condition)
    })?;
    let terms = Terms { condition, checked, now };
    if wanted.iter().any(|stream| stream.entry.is_none()) {
        make_known(log, local, &mut wanted, &terms)?;
    }
    let streams = wanted.iter().filter_map(|stream| stream.plan(log)).collect();
    Ok(Prepared { terms, streams, targets })
}

/// What the batch says, without the log: returns its time.
fn check_words(log: &Log, batch: &Batch<'_>) -> Result<Timestamp, AppendError> {
    let limits = &log.core().config.limits;
    LimitExceeded::check(Limit::BatchLength, batch.messages.len().max(batch.expectations.len()), limits.batch_len)?;
    for (_, message) in &batch.messages {
        if !message.is_within(limits) {
            message.check(limits)?;
        }
    }
    time_of(&log.core().config.time, batch.time)
}

/// The streams of a batch, each once, and which of them each message is for.
fn find_streams<'b>(log: &Log, batch: &'b Batch<'_>) -> Result<(AllWanted<'b>, Targets), AppendError> {
    let mut wanted: AllWanted<'b> = smallvec![];
    for (target, expected) in &batch.expectations {
        let known = wanted.len();
        let at = place_of(log, &mut wanted, target)?;
        if at == known {
            wanted[at].expected = *expected;
        } else if wanted[at].expected != *expected {
            return Err(AppendError::AmbiguousExpectation { stream: target.id().into() });
        }
    }
    let mut targets = SmallVec::with_capacity(batch.messages.len());
    // Batches mostly stay with a stream.
    let (mut last, mut at) = (None, 0);
    for (target, _) in &batch.messages {
        let handle = target.handle().map(Stream::entry);
        if handle.is_none() || handle != last {
            at = place_of(log, &mut wanted, target)?;
            last = handle;
        }
        wanted[at].count += 1;
        targets.push(at);
    }
    Ok((wanted, targets))
}

/// Which of the streams `target` is; added when it is none of them yet.
fn place_of<'b>(log: &Log, wanted: &mut AllWanted<'b>, target: &'b Target<'b>) -> Result<usize, AppendError> {
    let same = |stream: &Wanted<'_>| match target.handle() {
        Some(handle) => stream.entry == Some(handle.entry()),
        None => stream.target.id() == target.id(),
    };
    match wanted.iter().rposition(same) {
        Some(at) => Ok(at),
        None => add_wanted(log, wanted, target),
    }
}

/// A stream that the batch has not had yet; checks what can be wrong with it.
fn add_wanted<'b>(log: &Log, wanted: &mut AllWanted<'b>, target: &'b Target<'b>) -> Result<usize, AppendError> {
    if target.handle().is_some_and(|stream| !stream.log().is(log)) {
        return Err(AppendError::ForeignStream { stream: target.id().into() });
    }
    let entry = target.entry(log).map_err(AppendError::Stopped)?;
    if entry.is_none() {
        check_name(target.id())?;
        LimitExceeded::check(Limit::NameBytes, target.id().len(), log.core().config.limits.name_bytes)?;
    }
    wanted.push(Wanted { target, entry, expected: Expected::Any, count: 0 });
    Ok(wanted.len() - 1)
}

type AllWanted<'b> = SmallVec<[Wanted<'b>; 2]>;
type Targets = SmallVec<[usize; 8]>;

impl Wanted<'_> {
    fn plan<'l>(&self, _: &'l Log) -> Option<StreamPlan<'l>> {
        // SAFETY: the log keeps its entries.
        let entry: &'l Entry = unsafe { self.entry?.as_ref() };
        Some(StreamPlan { entry, expected: self.expected, count: self.count, next: 0 })
    }
}

/// Makes the unknown streams known, unless that would be in vain: a batch that is refused now leaves nothing behind.
/// (One that is refused later, because of what others append meanwhile, leaves the streams known, and unwritten.)
fn make_known(log: &Log, local: &mut Local, wanted: &mut [Wanted<'_>], terms: &Terms<'_>) -> Result<(), AppendError> {
    let core = log.core();
    let unknown = wanted.iter().filter(|stream| stream.entry.is_none()).count();
    core.directory.check_room(unknown as u64)?;
    let known = wanted.iter().filter_map(|stream| stream.plan(log)).collect();
    let mut only_decide = BatchPlan { streams: known, ..BatchPlan::default() };
    let decided = core.append_batch(local, &mut only_decide, terms.clone());
    decided.map_err(|refusal| refused(log, refusal, &only_decide, terms.condition))?;
    for stream in wanted {
        if stream.entry.is_none() {
            stream.entry = Some(log.entry_for(stream.target.id(), stream.expected, &core.pin())?);
        }
    }
    Ok(())
}

/// Builds the records, linked in order.
fn draft_all(core: &Core, local: &mut Local, batch: &mut Batch<'_>, targets: &[usize], plan: &mut BatchPlan<'_>) {
    let count = targets.len();
    for (at, ((_, message), &stream)) in batch.messages.iter_mut().zip(targets).enumerate() {
        message.share_payload(INLINE_MAX);
        let draft = draft_one(core, local, message, plan, stream, at + 1 < count);
        if let Some((_, before)) = plan.drafts.last() {
            before.link(draft);
        }
        plan.drafts.push((stream, draft));
    }
}

/// Builds a record, and counts its keys.
#[inline(always)]
#[allow(clippy::inline_always, reason = "into the loop over a batch")]
fn draft_one(
    core: &Core,
    local: &mut Local,
    message: &Message<'_>,
    plan: &mut BatchPlan<'_>,
    stream: usize,
    linked: bool,
) -> Draft {
    let entry = plan.streams[stream].entry;
    let Some(table) = &core.keys else {
        return local.arena.draft(message, core.config.shape, linked, NonNull::from(entry));
    };
    table.keys_of(entry.name(), &message.parts(), &mut local.keys);
    plan.keys.add(&local.keys);
    local.arena.draft_keyed(message, core.config.shape, linked, NonNull::from(entry), &local.keys)
}
