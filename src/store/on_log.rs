//! The log as a store: its own calls, ready at once.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::capabilities::{Capabilities, Capability, Statistics};
use super::error::{AppendFailure, ReadFailure, TruncateFailure};
use super::event_store::{EventStore, RefusedBatch, RefusedMessage};
use super::select::{Follow, Select};
use crate::delivery::{Followed, Follower};
use crate::log::{AppendOptions, Appended, Batch, BatchAppended, Envelope, Envelopes, Log, Read, Rejected, StreamInfo};
use crate::model::{Message, Position};

impl EventStore for Log {
    fn capabilities(&self) -> Capabilities {
        let mut has = Capabilities::all();
        if !self.core().config.shape.time() {
            has = has.without(Capability::Times);
        }
        if !self.core().config.shape.sum() {
            has = has.without(Capability::Kinds);
        }
        has
    }

    async fn append_batch(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        Log::append_batch(self, batch).map_err(Rejected::into_failure)
    }

    async fn append<'m>(
        &self,
        stream: &'m str,
        message: Message<'m>,
        options: AppendOptions<'m>,
    ) -> Result<Appended, RefusedMessage> {
        self.append_with(stream, message, options).map_err(Rejected::into_failure)
    }

    fn read(&self, select: Select) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<> {
        Ready { envelopes: read(self, &select), told: false }
    }

    fn follow(&self, follow: Follow) -> impl Stream<Item = Result<Followed, ReadFailure>> + Send + Unpin + use<> {
        match follower(self, follow) {
            Ok(follower) => Following::At(Box::new(follower)),
            Err(failure) => Following::Failed(Some(failure)),
        }
    }

    async fn end(&self) -> Result<Position, ReadFailure> {
        Ok(Log::end(self))
    }

    async fn stream_info(&self, stream: &str) -> Result<Option<StreamInfo>, ReadFailure> {
        Ok(Log::stream_info(self, stream))
    }

    async fn streams(&self) -> Result<Vec<Box<str>>, ReadFailure> {
        Ok(Log::streams(self).iter().map(|stream| stream.id().into()).collect())
    }

    async fn statistics(&self) -> Result<Statistics, ReadFailure> {
        Ok(statistics(self))
    }

    async fn truncate_before(&self, position: Position) -> Result<Position, TruncateFailure> {
        let first = Log::truncate_before(self, position);
        #[cfg(feature = "durable")]
        if let Some(failure) = self.journal().and_then(crate::durable::Journal::removal_failure) {
            return Err(TruncateFailure::Backend(Box::new(failure)));
        }
        Ok(first)
    }

    async fn close(&self) {
        Log::close(self);
    }
}

impl<T> Rejected<T> {
    /// The same refusal, in the words that all stores share.
    fn into_failure(self) -> Rejected<T, AppendFailure> {
        Rejected { error: self.error.into(), rejected: self.rejected }
    }
}

/// What is selected, as the log reads it.
fn read(log: &Log, select: &Select) -> Envelopes {
    match &select.stream {
        None => bounded(log.read(), select).iter(),
        Some(stream) => {
            let read = log.read_stream(&**stream).from_revision(select.from_revision).to_revision(select.to_revision);
            bounded(read, select).iter()
        }
    }
}

fn bounded<O>(read: Read<O>, select: &Select) -> Read<O> {
    let mut read = read.from(select.from).to(select.to);
    if let Some(since) = select.since {
        read = read.since(since);
    }
    if let Some(until) = select.until {
        read = read.until(until);
    }
    if let Some(query) = &select.query {
        read = read.matching(query.clone());
    }
    if select.backwards {
        read = read.backwards();
    }
    if let Some(first) = select.first {
        read = read.first(first);
    }
    if let Some(last) = select.last {
        read = read.last(last);
    }
    read
}

fn follower(log: &Log, follow: Follow) -> Result<Follower, ReadFailure> {
    let mut feed = match &follow.stream {
        None => log.feed(),
        Some(stream) => log.stream(stream)?.feed(),
    };
    if let Some(after) = follow.after {
        feed = feed.after(after);
    }
    if let Some(query) = follow.query {
        feed = feed.matching(query);
    }
    Ok(feed.follow())
}

/// What a read gives: always ready; and why it ended early, if it did.
struct Ready {
    envelopes: Envelopes,
    told: bool,
}

impl Stream for Ready {
    type Item = Result<Envelope, ReadFailure>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(envelope) = self.envelopes.next() {
            return Poll::Ready(Some(Ok(envelope)));
        }
        let failure = self.envelopes.failure().filter(|_| !self.told).cloned();
        self.told = true;
        Poll::Ready(failure.map(|failure| Err(ReadFailure::Backend(Box::new(failure)))))
    }
}

/// What following gives; or the one failure.
enum Following {
    At(Box<Follower>),
    Failed(Option<ReadFailure>),
}

impl Stream for Following {
    type Item = Result<Followed, ReadFailure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::At(follower) => Pin::new(&mut **follower).poll_next(context).map(|item| item.map(Ok)),
            Self::Failed(failure) => Poll::Ready(failure.take().map(Err)),
        }
    }
}

/// As of one view, but for the streams and the memory, which are as of about now; what retention removes meanwhile may be
/// missing in some of it.
fn statistics(log: &Log) -> Statistics {
    let view = log.view();
    let counts = view.counts();
    Statistics {
        messages: counts.messages,
        commands: counts.commands,
        events: counts.events,
        streams: log.written_streams(),
        sessions: None,
        memory: Some(log.memory()),
        oldest: view.oldest(),
        newest: view.newest(),
        end: view.end(),
    }
}
