//! Proposals in a stream of a store.
//!
//! A proposal is a command, named and encoded by its type's [`Event`]; that it is settled, an event. Both have the operation's id
//! as their correlation id. What is not settled is found by folding the stream. A proposal's message id is the stream's with
//! the operation's id after it: unique among queues of one store, and among what an authority may record there under the bare
//! id. By it a push happens once ([`AppendOptions::once`]).

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use futures_core::Stream;

use super::operation::OperationId;
use super::queue::{IntentQueue, Pushed, QueueFailure, Queued};
use crate::log::{AppendOptions, Envelope};
use crate::model::{Kind, Message};
use crate::sourcing::{Event, InvalidEvent};
use crate::store::{EventStore, Select};

/// A queue in a stream of any [`EventStore`]: as durable as the store is.
///
/// The stream is the queue's alone. It grows by two messages for each operation; [`load`](IntentQueue::load) reads all of it. Who
/// truncates the store removes what is not settled as well.
///
/// ```
/// use annals::replica::{IntentQueue, OperationId, StreamQueue};
/// use annals::sourcing::{Event, Recorded};
/// use annals::store::{BackendError, block_on};
/// use annals::{Log, Name, Payload};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Add(u8);
///
/// impl Event for Add {
///     fn name(&self) -> Name<'static> {
///         const { Name::from_static("Add") }
///     }
///     fn encode(&self) -> Result<Payload<'_>, BackendError> {
///         Ok(vec![self.0].into())
///     }
///     fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
///         Ok(recorded.payload.first().copied().map(Add))
///     }
/// }
///
/// let log = Log::new();
/// let queue = StreamQueue::new(log.clone(), "proposals");
/// for (id, amount) in [("one", 1), ("two", 2)] {
///     block_on(queue.push(&OperationId::from(id), &Add(amount)))?;
/// }
/// block_on(IntentQueue::<Add>::settle(&queue, &OperationId::from("one")))?;
///
/// let left = block_on(StreamQueue::<Log, Add>::new(log, "proposals").load())?;
/// assert_eq!(left.iter().map(|queued| &queued.intent).collect::<Vec<_>>(), [&Add(2)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamQueue<S, I> {
    store: S,
    stream: Box<str>,
    intents: PhantomData<fn() -> I>,
}

/// The name of the event that an operation is settled.
const SETTLED: &str = "Settled";

impl<S: EventStore, I> StreamQueue<S, I> {
    /// The queue in this stream, whatever is in it.
    pub fn new(store: S, stream: impl Into<Box<str>>) -> Self {
        Self { store, stream: stream.into(), intents: PhantomData }
    }

    fn proposal<'m>(&self, id: &'m OperationId, intent: &'m I) -> Result<Message<'m>, InvalidEvent>
    where
        I: Event,
    {
        let refused = |source| InvalidEvent { name: intent.name().as_str().into(), source };
        let builder = intent.message()?.into_builder().kind(Kind::Command);
        let message_id = format!("{}/{id}", self.stream);
        builder.message_id(message_id).correlation_id(id.as_str()).build().map_err(|invalid| refused(invalid.into()))
    }
}

impl<S: EventStore, I: Event + Send + Sync + 'static> IntentQueue<I> for StreamQueue<S, I> {
    async fn load(&self) -> Result<Vec<Queued<I>>, QueueFailure> {
        let mut queued = Vec::new();
        let mut read = self.store.read(Select::stream(self.stream.clone()));
        while let Some(envelope) = poll_fn(|context| Pin::new(&mut read).poll_next(context)).await {
            take(&mut queued, &envelope?)?;
        }
        Ok(queued)
    }

    async fn push(&self, id: &OperationId, intent: &I) -> Result<Pushed, QueueFailure> {
        let message = self.proposal(id, intent)?;
        let appended = self.store.append(&self.stream, message, AppendOptions::new().once()).await;
        let appended = appended.map_err(|refused| refused.error)?;
        Ok(Pushed { place: appended.position.get(), is_repeated: appended.repeated })
    }

    async fn settle(&self, id: &OperationId) -> Result<(), QueueFailure> {
        let refused = |source| InvalidEvent { name: SETTLED.into(), source };
        let message = Message::builder(SETTLED).correlation_id(id.as_str()).build();
        let message = message.map_err(|invalid| refused(invalid.into()))?;
        self.store.append(&self.stream, message, AppendOptions::new()).await.map_err(|refused| refused.error)?;
        Ok(())
    }
}

/// Goes on with the fold.
fn take<I: Event>(queued: &mut Vec<Queued<I>>, envelope: &Envelope) -> Result<(), QueueFailure> {
    let unknown = || QueueFailure::Unknown { position: envelope.position(), name: envelope.name().into() };
    let id = OperationId::from(envelope.correlation_id().ok_or_else(unknown)?);
    if envelope.kind() == Kind::Event {
        queued.retain(|other| other.id != id);
        return Ok(());
    }
    let intent = I::of(envelope)?.ok_or_else(unknown)?;
    queued.push(Queued { place: envelope.position().get(), id, intent });
    Ok(())
}

impl<S, I> fmt::Debug for StreamQueue<S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamQueue").field("stream", &self.stream).finish_non_exhaustive()
    }
}
