//! Writes that are seen at once, kept until their outcome is known, and sent in order.
//!
//! The state is an [`Optimistic`] in a cell that is swapped ([`Watched`]). The replica tells it, on the thread that delivers,
//! what is confirmed and which operations that contains; who proposes and who sends change it too. What waits is two futures
//! that the user polls: a proposal waits for the queue alone, so it works without the authority; sending waits for the authority.
//!
//! An operation is pushed to the queue, then shown, then sent, then answered, then settled in the queue. Whatever is interrupted
//! anywhere is found in the queue and sent again: so the authority may meet an operation twice, and knows it by its id.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_core::Stream;
use thiserror::Error;

use super::confirms::{Confirmations, Confirms};
use super::operation::OperationId;
use super::optimistic::{Intent, Mark, Optimistic, Rejection};
use super::queue::{IntentQueue, QueueFailure};
use super::reconciler::Reconciler;
use super::shared::guarded;
use super::watched::{Look, Watched};
use crate::delivery::message_of;
use crate::store::BackendError;
use crate::sync::StdArc;

/// Proposals for the value of a key: shown before they are confirmed, taken back when they are rejected, kept across restarts.
///
/// A proposal is an [`Intent`] with an [`OperationId`]. [`propose`](Self::propose) puts it into the queue, then shows it: the
/// value is the replica's with everything pending on top, in order. [`send`](Self::send) gives what is pending to the authority,
/// one after the other. Once the replica's value contains an operation it is not pending any more, whether an update said so, or
/// the authority did: what is lost on the way, repeated or late neither hides it nor shows it twice (but for the one case at
/// [`Update::operations`](super::Update::operations): a snapshot that does not say what it contains, before the answer).
///
/// **The authority must know operations by their ids.** One whose answer was lost is sent again, after an error and after a
/// restart: the authority then answers where it was included, or that it was rejected, and does nothing else.
///
/// Each news folds all that is pending onto the value anew, on the thread that brings it. After the replica was disposed of,
/// nothing is confirmed any more; proposals are taken, shown and sent all the same.
///
/// A clone is another handle. Any number of threads may read, propose and watch at once.
///
/// ```
/// # use annals::sourcing::{Event, Recorded};
/// # use annals::store::BackendError;
/// # use annals::{Name, Payload};
/// use annals::replica::{Answer, Intent, Replica, StreamQueue, Update, Writes};
/// use annals::store::block_on;
/// use annals::{Bus, Log};
///
/// #[derive(Clone)]
/// struct Sold(u8);
///
/// impl Intent<u64> for Sold {
///     fn apply(&self, stock: &mut u64) {
///         *stock = stock.saturating_sub(self.0.into());
///     }
/// }
/// # impl Event for Sold {
/// #     fn name(&self) -> Name<'static> { const { Name::from_static("Sold") } }
/// #     fn encode(&self) -> Result<Payload<'_>, BackendError> { Ok(vec![self.0].into()) }
/// #     fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
/// #         Ok(recorded.payload.first().copied().map(Sold))
/// #     }
/// # }
///
/// let (bus, log) = (Bus::new(), Log::new());
/// // With a durable store, what was proposed before a restart is pending again.
/// let (writes, confirmations) = block_on(Writes::load(StreamQueue::new(log, "till-3")))?;
/// let replica = Replica::builder(|stock: &u64| Ok::<_, String>(*stock)).confirms(confirmations);
/// let replica = block_on(replica.seed(Update::new(0, 10)).start(&bus, "apples"))?;
///
/// block_on(writes.propose("till-3/1", Sold(4)))?;
/// assert_eq!((writes.get().as_deref(), replica.get().as_deref()), (Some(&6), Some(&10)));
///
/// // The authority carries it out, publishes, and answers.
/// block_on(writes.send(|id, sold| {
///     bus.publish("apples", Update::new(1, 10 - u64::from(sold.0)).operation(id));
///     async { Ok(Answer::included(1)) }
/// }))?;
/// assert_eq!((writes.get().as_deref(), replica.get().as_deref()), (Some(&6), Some(&6)));
/// assert!(writes.shown().pending.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writes<T, I, Q>(StdArc<Inner<T, I, Q>>);

struct Inner<T, I, Q> {
    state: StdArc<Watched<State<T, I>>>,
    queue: Q,
    limit: usize,
}

struct State<T, I> {
    optimistic: Optimistic<T, I>,
    /// How many values the replica had had with the one that is confirmed.
    applied: u64,
    era: u64,
    /// Proposals that are on their way into the queue.
    proposing: usize,
    is_sending: bool,
    /// How often something was changed that is shown.
    changes: u64,
}

/// What the authority made of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It was carried out, now or when it was sent before.
    #[non_exhaustive]
    Included {
        /// The first value that contains it, or any later one.
        sequence: u64,
    },
    /// It was not carried out, and will not be.
    #[non_exhaustive]
    Rejected {
        /// Why.
        reason: StdArc<str>,
    },
}

impl Answer {
    /// The operation is contained in the value of this sequence.
    pub fn included(sequence: u64) -> Self {
        Self::Included { sequence }
    }

    /// The operation is not carried out.
    pub fn rejected(reason: impl Into<StdArc<str>>) -> Self {
        Self::Rejected { reason: reason.into() }
    }
}

/// What there is to see, all of it at the same instant.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shown<T> {
    /// The confirmed value with everything that is pending; none when nothing has been confirmed yet.
    pub value: Option<StdArc<T>>,
    /// The last value of the replica.
    pub confirmed: Option<StdArc<T>>,
    /// The sequence of the confirmed value.
    pub sequence: Option<u64>,
    /// What the confirmed value does not contain yet, in the order in which it was proposed.
    pub pending: Vec<OperationId>,
    /// What was rejected last.
    pub last_rejection: Option<Rejection>,
}

/// A proposal that was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProposeFailure {
    /// An operation of this id was proposed before.
    #[error("operation {id} was proposed before")]
    #[non_exhaustive]
    Repeated {
        /// Which.
        id: OperationId,
    },
    /// As many operations as there may be are pending, or wait for their outcome to be written down.
    #[error("{limit} operations are pending, which is the limit")]
    #[non_exhaustive]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The queue failed. Unless it says that the proposal was not kept, it may be found after a restart, or when it is
    /// proposed again.
    #[error(transparent)]
    Queue(#[from] QueueFailure),
}

/// What keeps operations from being sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// Another is sending.
    #[error("operations are being sent already")]
    Busy,
    /// Nobody knows whether the authority carried the operation out: it stays pending.
    #[error("operation {id} was not answered: {source}")]
    #[non_exhaustive]
    Unanswered {
        /// Which.
        id: OperationId,
        /// What was answered before it.
        answered: Vec<(OperationId, Answer)>,
        /// Why.
        source: BackendError,
    },
    /// The queue did not write down the outcome of an operation. It is known, and written down by the next send.
    #[error("the outcome of an operation was not written down: {source}")]
    #[non_exhaustive]
    NotSettled {
        /// What was answered.
        answered: Vec<(OperationId, Answer)>,
        /// Why.
        source: QueueFailure,
    },
}

/// How many operations may be pending unless said otherwise.
const LIMIT: usize = 1_024;

impl<T, I, Q> Writes<T, I, Q>
where
    T: Clone + Send + Sync + 'static,
    I: Intent<T> + Send + Sync + 'static,
    Q: IntentQueue<I>,
{
    /// Takes what is in the queue as pending, in order. At most 1,024 operations may be pending at once.
    ///
    /// What it is to be shown on top of comes from the replica that is built with the
    /// [`Confirmations`](super::ReplicaBuilder::confirms); there is nothing to see before.
    ///
    /// # Errors
    /// [`QueueFailure`].
    pub async fn load(queue: Q) -> Result<(Self, Confirmations<T>), QueueFailure> {
        Self::load_limited(queue, LIMIT).await
    }

    /// As [`load`](Self::load), with another limit of what may be pending. What is in the queue is taken even beyond it.
    ///
    /// # Errors
    /// [`QueueFailure`].
    pub async fn load_limited(queue: Q, limit: usize) -> Result<(Self, Confirmations<T>), QueueFailure> {
        let mut optimistic = Optimistic::new();
        for queued in queue.load().await? {
            optimistic.propose(queued.place, queued.id, StdArc::new(queued.intent));
        }
        let state = State { optimistic, applied: 0, era: 0, proposing: 0, is_sending: false, changes: 0 };
        let state = Watched::new(state);
        let confirmations = Confirmations::new(state.clone());
        Ok((Self(StdArc::new(Inner { state, queue, limit })), confirmations))
    }

    /// Puts an operation into the queue, then shows it. Waits for nobody but the queue.
    ///
    /// Of two proposals, one made after the other was ready, the second is applied and sent after the first. Dropped before it
    /// is ready, nobody knows whether it is in the queue: it is found after a restart, or when it is proposed again.
    ///
    /// # Errors
    /// [`ProposeFailure`].
    pub async fn propose(&self, id: impl Into<OperationId> + Send, intent: I) -> Result<(), ProposeFailure> {
        let id = id.into();
        let _room = self.reserve(&id)?;
        let pushed = self.0.queue.push(&id, &intent).await?;
        if pushed.is_repeated {
            return self.recover(id).await;
        }
        // False when somebody has recovered it meanwhile: it is there all the same.
        self.show(pushed.place, &id, &StdArc::new(intent));
        Ok(())
    }

    /// It is in the queue, or was: of an earlier proposal whose end its caller did not see.
    async fn recover(&self, id: OperationId) -> Result<(), ProposeFailure> {
        let left = self.0.queue.load().await?.into_iter().find(|queued| queued.id == id);
        let is_new = left.is_some_and(|queued| self.show(queued.place, &id, &StdArc::new(queued.intent)));
        if is_new { Ok(()) } else { Err(ProposeFailure::Repeated { id }) }
    }

    fn show(&self, place: u64, id: &OperationId, intent: &StdArc<I>) -> bool {
        self.0.state.change(|state| {
            let mut next = state.clone();
            next.optimistic.propose(place, id.clone(), intent.clone()).then(|| next.shown_anew())
        })
    }

    /// Room for one more, held until it is dropped.
    fn reserve(&self, id: &OperationId) -> Result<Held<'_, T, I>, ProposeFailure> {
        let limit = self.0.limit;
        let mut refused = None;
        let is_reserved = self.0.state.change_unseen(|state| {
            refused = state.refuses(id, limit);
            refused.is_none().then(|| State { proposing: state.proposing + 1, ..state.clone() })
        });
        match refused {
            Some(failure) if !is_reserved => Err(failure),
            _ => Ok(Held { state: &self.0.state, release: |state| state.proposing -= 1 }),
        }
    }

    /// Sends what is pending to the authority, one operation after the other, in the order in which they were proposed, and
    /// writes down in the queue what was answered. Ready when all that was pending when it began is answered, with the answers.
    ///
    /// `authority` is given an operation, and answers; it knows operations by their ids (see [`Writes`]). An error leaves the
    /// operation pending, and what comes after it unsent: send again, when there is hope. A panic is such an error. Operations
    /// that an update has echoed meanwhile are not sent.
    ///
    /// Dropped before it is ready, it has sent a part; the operation under way is sent again by the next.
    ///
    /// # Errors
    /// [`SendFailure`], with what was answered before.
    pub async fn send<F>(
        &self,
        mut authority: impl FnMut(OperationId, StdArc<I>) -> F + Send,
    ) -> Result<Vec<(OperationId, Answer)>, SendFailure>
    where
        F: Future<Output = Result<Answer, BackendError>> + Send,
    {
        let _sending = self.begin_to_send()?;
        let last = self.0.state.read(|state| state.optimistic.pending().last().map(|pending| pending.place));
        let mut answered = Vec::new();
        loop {
            if let Err(source) = self.settle().await {
                return Err(SendFailure::NotSettled { answered, source });
            }
            let Some((id, intent, era)) = self.next(last) else { return Ok(answered) };
            match caught(|| authority(id.clone(), intent)).await {
                Ok(answer) => {
                    self.answer(&id, &answer, era);
                    answered.push((id, answer));
                }
                Err(source) => return Err(SendFailure::Unanswered { id, answered, source }),
            }
        }
    }

    fn begin_to_send(&self) -> Result<Held<'_, T, I>, SendFailure> {
        let begins = self
            .0
            .state
            .change_unseen(|state| (!state.is_sending).then(|| State { is_sending: true, ..state.clone() }));
        if begins {
            Ok(Held { state: &self.0.state, release: |state| state.is_sending = false })
        } else {
            Err(SendFailure::Busy)
        }
    }

    /// The next one to send, up to this place, and the era in which it is sent: an answer speaks of no later one.
    fn next(&self, last: Option<u64>) -> Option<(OperationId, StdArc<I>, u64)> {
        self.0.state.read(|state| {
            let next = state.optimistic.next().filter(|next| Some(next.place) <= last)?;
            Some((next.id.clone(), next.intent.clone(), state.era))
        })
    }

    fn answer(&self, id: &OperationId, answer: &Answer, era: u64) {
        self.0.state.change(|state| {
            let mut next = state.clone();
            let is_news = match answer {
                Answer::Included { sequence } => next.optimistic.include(id, Mark::new(era, *sequence)),
                Answer::Rejected { reason } => next.optimistic.reject(id, reason.clone()),
            };
            is_news.then(|| next.shown_anew())
        });
    }

    /// Writes down whose outcome is known.
    async fn settle(&self) -> Result<(), QueueFailure> {
        while let Some(id) = self.0.state.read(|state| state.optimistic.decided().next().cloned()) {
            self.0.queue.settle(&id).await?;
            self.0.state.change_unseen(|state| {
                let mut next = state.clone();
                next.optimistic.written_down(&id);
                Some(next)
            });
        }
        Ok(())
    }

    /// The confirmed value with everything that is pending; none when nothing has been confirmed yet. Wait-free.
    pub fn get(&self) -> Option<StdArc<T>> {
        self.0.state.read(|state| state.optimistic.view().cloned())
    }

    /// Everything there is to see, as of one instant. Wait-free but for the copy of the ids.
    pub fn shown(&self) -> Shown<T> {
        self.0.state.read(State::show)
    }

    /// Watches it: what there is to see now, and then once for each change. What changes while nobody looks is told as one
    /// change. Has no end.
    pub fn watch(&self) -> impl Stream<Item = Shown<T>> + Send + Unpin + use<T, I, Q> {
        self.0.state.watch(|state| Look { change: state.changes, is_last: false, shown: state.show() })
    }
}

impl<T: Clone, I: Intent<T>> State<T, I> {
    /// Something was changed that is shown.
    fn shown_anew(self) -> Self {
        Self { changes: self.changes + 1, ..self }
    }

    fn refuses(&self, id: &OperationId, limit: usize) -> Option<ProposeFailure> {
        if self.optimistic.keeps(id) {
            return Some(ProposeFailure::Repeated { id: id.clone() });
        }
        (self.optimistic.kept() + self.proposing >= limit).then_some(ProposeFailure::Full { limit })
    }

    fn show(&self) -> Shown<T> {
        Shown {
            value: self.optimistic.view().cloned(),
            confirmed: self.optimistic.confirmed().cloned(),
            sequence: self.optimistic.mark().map(|mark| mark.sequence),
            pending: self.optimistic.pending().iter().map(|pending| pending.id.clone()).collect(),
            last_rejection: self.optimistic.last_rejection().cloned(),
        }
    }
}

impl<T: Clone + Send + Sync, I: Intent<T> + Send + Sync> Confirms<T> for Watched<State<T, I>> {
    fn contains(&self, operations: &[OperationId], mark: Mark) {
        self.change(|state| {
            let is_pending = |id: &&OperationId| state.optimistic.is_pending(id);
            let own: Vec<_> = operations.iter().filter(is_pending).collect();
            let mut next = (!own.is_empty()).then(|| state.clone())?;
            let news = own.into_iter().filter(|id| next.optimistic.include(id, mark)).count();
            (news > 0).then(|| next.shown_anew())
        });
    }

    fn stands(&self, replica: &Reconciler<T>) {
        self.change(|state| {
            let era = replica.era();
            let confirmed = replica.confirmed().filter(|(_, _, applied)| *applied > state.applied);
            let Some((value, mark, applied)) = confirmed else {
                return (era > state.era).then(|| State { era, ..state.clone() });
            };
            let mut next = State { applied, era, ..state.clone() };
            next.optimistic.confirm(value.clone(), mark);
            Some(next.shown_anew())
        });
    }
}

/// Something of the state's that is given back when this is dropped.
struct Held<'w, T: Clone, I: Intent<T>> {
    state: &'w Watched<State<T, I>>,
    release: fn(&mut State<T, I>),
}

impl<T: Clone, I: Intent<T>> Drop for Held<'_, T, I> {
    fn drop(&mut self) {
        self.state.change_unseen(|state| {
            let mut next = state.clone();
            (self.release)(&mut next);
            Some(next)
        });
    }
}

/// What the user's future comes to. A panic, when it is made, polled or dropped, is an error.
async fn caught<R, F: Future<Output = Result<R, BackendError>>>(make: impl FnOnce() -> F) -> Result<R, BackendError> {
    let as_error = |said: StdArc<str>| BackendError::from(format!("it panicked: {said}"));
    let mut future = Box::pin(guarded(make).map_err(as_error)?);
    let output = poll_fn(|context| match guarded(|| future.as_mut().poll(context)) {
        Ok(polled) => polled,
        Err(said) => std::task::Poll::Ready(Err(as_error(said))),
    })
    .await;
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        drop(message_of(payload));
    }
    output
}

impl<T, I> Clone for State<T, I> {
    fn clone(&self) -> Self {
        Self { optimistic: self.optimistic.clone(), ..*self }
    }
}

impl<T> Clone for Shown<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            confirmed: self.confirmed.clone(),
            pending: self.pending.clone(),
            last_rejection: self.last_rejection.clone(),
            ..*self
        }
    }
}

impl<T, I, Q> Clone for Writes<T, I, Q> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, I, Q> fmt::Debug for Writes<T, I, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.0.state.read(|state| state.optimistic.pending().len());
        f.debug_struct("Writes").field("pending", &pending).finish_non_exhaustive()
    }
}
