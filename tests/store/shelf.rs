//! A store that is as unlike the log as can be: one lock, one vector, every question answered by looking at everything.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use annals::store::{
    AppendFailure, Capabilities, Capability, ConditionMatched, EventStore, Follow, ReadFailure, RefusedBatch, Select,
    Statistics, StreamConflict, TruncateFailure,
};
use annals::{
    Batch, BatchAppended, Condition, Envelope, EnvelopeSource, Expected, Followed, Kind, Name, Position, Revision,
    StreamInfo, Timestamp,
};
use futures_core::Stream;
use futures_util::stream;

pub struct Shelf {
    kept: Arc<Mutex<Kept>>,
    /// Positions go by so many.
    stride: u64,
    can: Capabilities,
}

struct Kept {
    source: EnvelopeSource,
    envelopes: Vec<Envelope>,
    /// How many were removed.
    removed: u64,
    /// In the order of creation: id, next revision, first position, first time.
    streams: Vec<(String, u64, Position, Timestamp)>,
    end: u64,
    first: u64,
    ticks: i64,
    closed: bool,
    waiting: Vec<Waker>,
}

impl Shelf {
    /// Everything that a store can promise.
    pub fn new() -> Self {
        Self::with(1, Capabilities::all())
    }

    /// As little as a store may promise.
    pub fn lean() -> Self {
        use Capability::{Conditions, DensePositions, Kinds, ManyStreams, Once, Truncation};
        let none = [Conditions, DensePositions, Kinds, ManyStreams, Once, Truncation];
        Self::with(10, none.into_iter().fold(Capabilities::all(), Capabilities::without))
    }

    fn with(stride: u64, can: Capabilities) -> Self {
        let kept = Kept {
            source: EnvelopeSource::new(),
            envelopes: Vec::new(),
            removed: 0,
            streams: Vec::new(),
            end: 0,
            first: 1,
            ticks: 0,
            closed: false,
            waiting: Vec::new(),
        };
        Self { kept: Arc::new(Mutex::new(kept)), stride, can }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    fn append_all(&self, batch: &Batch<'_>) -> Result<BatchAppended, AppendFailure> {
        let mut kept = self.kept();
        self.check(batch)?;
        let expected = only_expectations(batch)?;
        if kept.closed {
            return Err(AppendFailure::Closed);
        }
        if batch.is_once()
            && let Some(repeated) = kept.repeated(batch)?
        {
            return Ok(repeated);
        }
        kept.decide(&expected, batch)?;
        kept.ticks += 1;
        let time = batch.given_time().unwrap_or(Timestamp::from_nanos(kept.ticks));
        let (mut places, mut revisions) = (Vec::new(), Vec::new());
        for (stream, message) in batch.messages() {
            kept.end += self.stride;
            let position = Position::new(kept.end);
            let revision = kept.next_revision(stream, position, time);
            let envelope = kept.source.envelope(stream, position, revision, Some(time), message.clone());
            kept.envelopes.push(envelope.map_err(|error| AppendFailure::Backend(error.into()))?);
            places.push(position);
            revisions.push(Revision::new(revision));
        }
        kept.waiting.drain(..).for_each(Waker::wake);
        let end = Position::new(kept.end);
        let first = places.first().copied().unwrap_or(end.next());
        Ok(BatchAppended::new(first, end, revisions))
    }

    fn check(&self, batch: &Batch<'_>) -> Result<(), AppendFailure> {
        let mut ids: Vec<_> = batch.messages().map(|(stream, _)| stream).collect();
        ids.extend(batch.expectations().map(|(stream, _)| stream));
        for id in &ids {
            Name::new(*id)?;
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > 1 && !self.can.has(Capability::ManyStreams) {
            return Err(AppendFailure::Unsupported(Capability::ManyStreams));
        }
        if batch.is_once() && !self.can.has(Capability::Once) {
            return Err(AppendFailure::Unsupported(Capability::Once));
        }
        if batch.given_condition().is_some() && !self.can.has(Capability::Conditions) {
            return Err(AppendFailure::Unsupported(Capability::Conditions));
        }
        Ok(())
    }
}

fn only_expectations<'b>(batch: &'b Batch<'_>) -> Result<HashMap<&'b str, Expected>, AppendFailure> {
    let mut expectations = HashMap::new();
    for (stream, expected) in batch.expectations() {
        if *expectations.entry(stream).or_insert(expected) != expected {
            return Err(AppendFailure::ambiguous(stream));
        }
    }
    Ok(expectations)
}

impl Kept {
    fn revision(&self, stream: &str) -> Option<Revision> {
        self.streams.iter().find(|(id, ..)| id == stream).map(|(_, next, ..)| Revision::new(next - 1))
    }

    fn next_revision(&mut self, stream: &str, position: Position, time: Timestamp) -> u64 {
        let at = match self.streams.iter().position(|(id, ..)| id == stream) {
            Some(at) => at,
            None => {
                self.streams.push((stream.to_owned(), 0, position, time));
                self.streams.len() - 1
            }
        };
        self.streams[at].1 += 1;
        self.streams[at].1 - 1
    }

    /// Where the batch is, when it is there by its ids: all of it together.
    fn repeated(&self, batch: &Batch<'_>) -> Result<Option<BatchAppended>, AppendFailure> {
        let ids: Option<Vec<_>> = batch.messages().map(|(_, message)| message.message_id()).collect();
        let ids = ids.ok_or(AppendFailure::MissingMessageId)?;
        let is_one = |it: &Envelope| it.message_id().is_some_and(|id| ids.contains(&id));
        let Some(at) = self.envelopes.iter().position(is_one) else { return Ok(None) };
        let there: Vec<_> = self.envelopes[at..].iter().take(ids.len()).collect();
        let position = there[0].position();
        if !there.iter().map(|it| it.message_id()).eq(ids.iter().map(|id| Some(*id))) {
            return Err(AppendFailure::partly_repeated(position));
        }
        let last = there.last().expect("it begins with one").position();
        let mut appended = BatchAppended::new(position, last, there.iter().map(|it| it.revision()));
        appended.repeated = true;
        Ok(Some(appended))
    }

    fn decide(&self, expected: &HashMap<&str, Expected>, batch: &Batch<'_>) -> Result<(), AppendFailure> {
        let end = Position::new(self.end);
        // In the order of the batch, so that it is always the same one that is told.
        for (stream, _) in batch.expectations() {
            let (expected, actual) = (expected[stream], self.revision(stream));
            if !expected.admits(actual) {
                return Err(StreamConflict::new(stream, expected, actual, end).into());
            }
        }
        let Some(condition) = batch.given_condition() else { return Ok(()) };
        for envelope in &self.envelopes {
            let forbids = |part: &&Condition| envelope.position() > part.position() && envelope.matches(part.query());
            if let Some(part) = condition.parts().find(forbids) {
                return Err(ConditionMatched::new(part.clone(), envelope.position(), end).into());
            }
        }
        Ok(())
    }

    fn info(&self, stream: &str) -> Option<StreamInfo> {
        let (_, next, created, created_at) = self.streams.iter().find(|(id, ..)| id == stream)?;
        let kept: Vec<_> = self.envelopes.iter().filter(|it| it.stream() == stream).collect();
        let mut info = StreamInfo::new(Revision::new(next - 1), *created);
        info.created_at = Some(*created_at);
        info.messages = kept.len() as u64;
        info.first = kept.first().map(|it| it.position());
        info.last = kept.last().map(|it| it.position());
        info.updated_at = kept.last().and_then(|it| it.time());
        Some(info)
    }
}

impl EventStore for Shelf {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    async fn append_batch(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        self.append_all(&batch).map_err(|error| RefusedBatch { error, rejected: batch.into_owned() })
    }

    fn read(&self, select: Select) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<> {
        stream::iter(select.pick(self.kept().envelopes.iter().cloned()).into_iter().map(Ok))
    }

    fn follow(&self, follow: Follow) -> impl Stream<Item = Result<Followed, ReadFailure>> + Send + Unpin + use<> {
        let kept = self.kept();
        let all = kept.removed + kept.envelopes.len() as u64;
        let passed = match follow.after {
            None => all,
            Some(after) => (after.get() / self.stride).min(all),
        };
        drop(kept);
        Following { kept: self.kept.clone(), follow, passed, told: false }
    }

    async fn end(&self) -> Result<Position, ReadFailure> {
        Ok(Position::new(self.kept().end))
    }

    async fn stream_info(&self, stream: &str) -> Result<Option<StreamInfo>, ReadFailure> {
        Ok(self.kept().info(stream))
    }

    async fn streams(&self) -> Result<Vec<Box<str>>, ReadFailure> {
        Ok(self.kept().streams.iter().map(|(id, ..)| id.as_str().into()).collect())
    }

    async fn statistics(&self) -> Result<Statistics, ReadFailure> {
        let kept = self.kept();
        let count = |kind| kept.envelopes.iter().filter(|it| it.kind() == kind).count() as u64;
        let mut known = Statistics::default();
        known.messages = kept.envelopes.len() as u64;
        known.commands = self.can.has(Capability::Kinds).then(|| count(Kind::Command));
        known.events = self.can.has(Capability::Kinds).then(|| count(Kind::Event));
        known.streams = kept.streams.len() as u64;
        known.oldest = kept.envelopes.first().and_then(Envelope::time);
        known.newest = kept.envelopes.last().and_then(Envelope::time);
        known.end = Position::new(kept.end);
        Ok(known)
    }

    async fn truncate_before(&self, position: Position) -> Result<Position, TruncateFailure> {
        if !self.can.has(Capability::Truncation) {
            return Err(TruncateFailure::Unsupported(Capability::Truncation));
        }
        let mut kept = self.kept();
        kept.first = position.get().min(kept.end + 1).max(kept.first);
        let first = Position::new(kept.first);
        let removed = kept.envelopes.partition_point(|it| it.position() < first);
        kept.envelopes.drain(..removed);
        kept.removed += removed as u64;
        Ok(first)
    }

    async fn close(&self) {
        let mut kept = self.kept();
        kept.closed = true;
        kept.waiting.drain(..).for_each(Waker::wake);
    }
}

struct Following {
    kept: Arc<Mutex<Kept>>,
    follow: Follow,
    /// How many envelopes it has passed, of all that ever were.
    passed: u64,
    /// Whether it said that it had caught up.
    told: bool,
}

impl Stream for Following {
    type Item = Result<Followed, ReadFailure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = self.kept.clone();
        let mut kept = shared.lock().unwrap();
        if let Some(missed) = kept.removed.checked_sub(self.passed).filter(|missed| *missed > 0) {
            self.passed = kept.removed;
            return Poll::Ready(Some(Ok(Followed::Truncated { missed })));
        }
        while let Some(envelope) = kept.envelopes.get((self.passed - kept.removed) as usize) {
            self.passed += 1;
            let Follow { stream, after, query, .. } = &self.follow;
            if stream.as_deref().is_none_or(|stream| stream == envelope.stream())
                && after.is_none_or(|after| envelope.position() > after)
                && query.as_ref().is_none_or(|query| envelope.matches(query))
            {
                return Poll::Ready(Some(Ok(Followed::Envelope(envelope.clone()))));
            }
        }
        if !std::mem::replace(&mut self.told, true) {
            return Poll::Ready(Some(Ok(Followed::CaughtUp(Position::new(kept.end)))));
        }
        if kept.closed {
            return Poll::Ready(None);
        }
        kept.waiting.push(context.waker().clone());
        Poll::Pending
    }
}
