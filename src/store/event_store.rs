//! One interface over every backend.

use std::future::Future;

use futures_core::Stream;

use super::capabilities::{Capabilities, Statistics};
use super::error::{AppendFailure, ReadFailure, TruncateFailure};
use super::select::{Follow, Select};
use crate::delivery::Followed;
use crate::log::{AppendOptions, Appended, Batch, BatchAppended, Envelope, Rejected, StreamInfo};
use crate::model::{Message, Position};

/// Envelopes in order, in streams: what every backend does, whatever it keeps them in.
///
/// The laws of the log hold of every store: one order, gapless revisions, appends that take effect at one instant and are
/// decided exactly, batches that are all or nothing, envelopes that never change. What a store cannot promise it declares
/// in its [`capabilities`](Self::capabilities), and refuses with `Unsupported`. `annals::store::conformance` (feature
/// `testing`) tells whether it is so.
///
/// Futures do nothing until they are polled. They are `Send`, and need no runtime of ours; [`block_on`](super::block_on)
/// waits for one without any. Of an append whose future is dropped before it is ready, nobody knows whether it was stored.
///
/// [`Log`](crate::Log) is a store: its futures are ready at once, and allocate nothing. They do what its own calls do, so an
/// append delivers to subscribers before it is ready, and waits, with the thread, while another thread delivers to one of
/// them that is sequential; [`AppendOptions::stored`] leaves that to a thread of the log's.
///
/// ```
/// use annals::store::{EventStore, Select, block_on, iterate};
/// use annals::{AppendOptions, Log, Message};
///
/// async fn greet(store: &impl EventStore) -> Result<u64, Box<dyn std::error::Error>> {
///     let appended = store.append("greetings", Message::event("Greeted", "hello")?, AppendOptions::new()).await?;
///     Ok(appended.position.get())
/// }
///
/// let log = Log::new();
/// assert_eq!(block_on(greet(&log))?, 1);
/// assert_eq!(iterate(EventStore::read(&log, Select::all())).count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait EventStore: Send + Sync + 'static {
    /// What it promises beyond the contract. Always the same for one store.
    fn capabilities(&self) -> Capabilities;

    /// Appends a batch: all of it becomes visible at one instant between call and readiness, or nothing.
    ///
    /// Envelopes get consecutive positions (with dense positions), consecutive revisions in their streams, and one time.
    /// Expectations and condition are decided exactly at that instant: of two appends that expect the same, one is refused.
    /// A refused append uses up no position, creates no stream, and is seen by nobody. Whoever starts to read after this is
    /// ready sees the batch; whoever reads at the same time sees all of it or nothing.
    ///
    /// An empty batch appends nothing; its expectations and its condition are decided all the same.
    ///
    /// A batch that [is to be appended once](Batch::is_once) is not appended when its messages are there already, together, by
    /// their message ids, within a window that the store states; it is told where, as
    /// [`repeated`](BatchAppended::repeated), and nothing else is asked. Of many at the same time, one is appended.
    ///
    /// # Errors
    /// [`AppendFailure`], with the batch.
    fn append_batch(&self, batch: Batch<'_>) -> impl Future<Output = Result<BatchAppended, RefusedBatch>> + Send;

    /// Appends one message on terms: as [`append_batch`](Self::append_batch) of one.
    ///
    /// # Errors
    /// [`AppendFailure`], with the message.
    fn append<'m>(
        &self,
        stream: &'m str,
        message: Message<'m>,
        options: AppendOptions<'m>,
    ) -> impl Future<Output = Result<Appended, RefusedMessage>> + Send {
        async move {
            let batch = Batch::one(stream, message, options);
            self.append_batch(batch).await.map(one).map_err(refused_one)
        }
    }

    /// Reads what is selected, as of one instant between this call and the first item: whatever is appended meanwhile, a
    /// batch is there as a whole or not at all, and there are no gaps. What truncation removes meanwhile may be left out,
    /// from the beginning.
    ///
    /// A stream that was never written, and bounds outside of what is there, read as empty. An error is the last item.
    ///
    /// # Errors
    /// [`ReadFailure`], as an item.
    fn read(&self, select: Select) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<Self>;

    /// Follows what takes effect, from a position or from now on: every envelope once, in order, the past first. Between
    /// envelopes it tells where it stands: [`Followed`]. What was removed before it was met is told as
    /// [`Followed::Truncated`]. Ends when the store was closed and everything has been read.
    ///
    /// What comes "from now on" is decided at this call, not at the first poll.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    fn follow(&self, follow: Follow) -> impl Stream<Item = Result<Followed, ReadFailure>> + Send + Unpin + use<Self>;

    /// The position of the last envelope, kept or not; [`Position::NONE`] when there has been none.
    ///
    /// # Errors
    /// [`ReadFailure`].
    fn end(&self) -> impl Future<Output = Result<Position, ReadFailure>> + Send;

    /// What is known of a stream, as of one instant; none when it was never written.
    ///
    /// # Errors
    /// [`ReadFailure`].
    fn stream_info(&self, stream: &str) -> impl Future<Output = Result<Option<StreamInfo>, ReadFailure>> + Send;

    /// The streams that have been written, in the order of their first envelopes, those that truncation emptied included.
    ///
    /// # Errors
    /// [`ReadFailure`].
    fn streams(&self) -> impl Future<Output = Result<Vec<Box<str>>, ReadFailure>> + Send;

    /// What it knows of itself, without looking at its envelopes one by one. While others append, each number is of its own
    /// instant.
    ///
    /// # Errors
    /// [`ReadFailure`].
    fn statistics(&self) -> impl Future<Output = Result<Statistics, ReadFailure>> + Send;

    /// Removes every envelope before `position`; a position after the end removes all. Returns the first position that is
    /// left. Positions and revisions go on as if nothing had been removed. Needs truncation.
    ///
    /// # Errors
    /// [`TruncateFailure`].
    fn truncate_before(&self, position: Position) -> impl Future<Output = Result<Position, TruncateFailure>> + Send;

    /// Closes the store: from now on every append is refused with [`AppendFailure::Closed`]. An append at the same time took
    /// effect before, or is refused. What is there stays readable. Idempotent.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A refused batch, and why.
pub type RefusedBatch = Rejected<Batch<'static>, AppendFailure>;

/// A refused message, and why.
pub type RefusedMessage = Rejected<Message<'static>, AppendFailure>;

/// The result of a batch of one message as that of the message.
fn one(appended: BatchAppended) -> Appended {
    let place = Appended::new(appended.last, appended.revisions.last().copied().unwrap_or_default());
    Appended { failures: appended.failures, repeated: appended.repeated, ..place }
}

/// The refusal of a batch of one message as that of the message.
fn refused_one(refused: RefusedBatch) -> RefusedMessage {
    match refused.rejected.into_messages().next() {
        Some(rejected) => Rejected { error: refused.error, rejected },
        None => panic!("a store gives back the batch that it refuses"),
    }
}
