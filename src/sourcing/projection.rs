//! State that is made of the events of a whole store.
//!
//! A [`Projector`] folds, alone, on one thread at a time: called by a subscription before an append returns, or following at
//! its own pace. What it has come to it publishes as one value, state and position together, which is replaced as a whole: so
//! whoever reads a [`Projected`] never waits, sees nothing half done, and can wait until some position is in it.
//!
//! A projection is built anew beside the old one and put in its place: [`Projected::replace`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use thiserror::Error;

use super::error::DecodeFailure;
use super::event::Event;
use crate::delivery::{Followed, OnFailure, SubscribeError, Subscription, Waiter, Waiters};
use crate::log::{Envelope, Log};
use crate::model::{Position, Query};
use crate::store::{EventStore, Follow, ReadFailure};
use crate::sync::{Arc, CopyOnWrite, StdArc};

/// So many events are folded by a follower before it publishes what it has come to, while there are more.
const TOGETHER: u32 = 256;

/// A reducer over a whole store, or what a query selects of it.
///
/// The default is the state before the first event. It is cloned whenever it is published: after each event that is folded
/// before its append returns, and after up to 256 that are followed.
pub trait Projection: Clone + Default + Send + Sync + 'static {
    /// What happens: an enum over the events of several aggregates, say. Events of other types are passed over.
    type Event: Event;

    /// Of which envelopes it is made.
    fn query() -> Query {
        Query::all()
    }

    /// What an event makes of the state. The envelope says which stream it is of, and when it was recorded. Does not panic: what
    /// it had changed by then would stay changed.
    fn apply(&mut self, event: &Self::Event, envelope: &Envelope);
}

/// A projection as it is read. Cloning it makes another handle to the same one.
pub struct Projected<P>(StdArc<CopyOnWrite<Arc<Shared<P>>>>);

/// What folds for a [`Projected`]: one for each, so that nothing is folded twice.
pub struct Projector<P> {
    shared: Arc<Shared<P>>,
    query: Query,
    state: P,
    position: Position,
    changed: bool,
}

/// A state, and the position up to which everything is in it.
struct Current<P> {
    state: StdArc<P>,
    position: Position,
}

/// What the two halves share.
struct Shared<P> {
    current: CopyOnWrite<Current<P>>,
    waiters: Waiters,
}

/// A projection that does not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// An event could not be decoded. Following again begins with it.
    #[error(transparent)]
    Decode(#[from] DecodeFailure),
    /// Envelopes that the state would be made of were removed.
    #[error("{missed} envelopes after position {position} were removed before they were folded")]
    #[non_exhaustive]
    Removed {
        /// Up to where everything is in the state.
        position: Position,
        /// How many.
        missed: u64,
    },
}

/// A projection of nothing yet: what is read, and what folds.
///
/// ```
/// use annals::sourcing::{Event, Projection, Recorded, projection};
/// use annals::store::BackendError;
/// use annals::{Envelope, Log, Message, Name, Payload};
///
/// struct Named(String);
///
/// impl Event for Named {
///     fn name(&self) -> Name<'static> {
///         const { Name::from_static("Named") }
///     }
///     fn encode(&self) -> Result<Payload<'_>, BackendError> {
///         Ok(self.0.as_bytes().into())
///     }
///     fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
///         Ok(Some(Self(str::from_utf8(recorded.payload)?.to_owned())))
///     }
/// }
///
/// /// The longest name there is.
/// #[derive(Clone, Default)]
/// struct Longest(String);
///
/// impl Projection for Longest {
///     type Event = Named;
///     fn apply(&mut self, event: &Named, _: &Envelope) {
///         if event.0.len() > self.0.len() {
///             self.0.clone_from(&event.0);
///         }
///     }
/// }
///
/// let log = Log::new();
/// let (longest, projector) = projection::<Longest>();
/// let subscription = projector.inline(&log)?;
/// for name in ["Ada", "Grace", "Alan"] {
///     log.append("names", Named(name.to_owned()).message()?)?;
/// }
/// assert_eq!(longest.state().0, "Grace");
/// # drop(subscription);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn projection<P: Projection>() -> (Projected<P>, Projector<P>) {
    projection_from(P::default(), Position::NONE)
}

/// A projection of everything up to a position, whose state was kept.
pub fn projection_from<P: Projection>(state: P, position: impl Into<Position>) -> (Projected<P>, Projector<P>) {
    let position = position.into();
    let shared = Arc::new(Shared { current: CopyOnWrite::new(), waiters: Waiters::new() });
    shared.put(&StdArc::new(state.clone()), position);
    let slot = CopyOnWrite::new();
    slot.change(|_| Some(Some(shared.clone())));
    (Projected(StdArc::new(slot)), Projector { shared, query: P::query(), state, position, changed: false })
}

impl<P> Shared<P> {
    fn put(&self, state: &StdArc<P>, position: Position) {
        self.current.change(|_| Some(Some(Current { state: state.clone(), position })));
    }

    /// State and position; there are always both.
    fn get(&self) -> (StdArc<P>, Position) {
        match self.current.load().get() {
            Some(current) => (current.state.clone(), current.position),
            None => unreachable!("put there when it was made"),
        }
    }

    fn position(&self) -> Position {
        self.current.load().get().map_or(Position::NONE, |current| current.position)
    }
}

impl<P: Projection> Projected<P> {
    /// The state as it was published last. Wait-free; it stays as it is while somebody has it.
    pub fn state(&self) -> StdArc<P> {
        self.at().0
    }

    /// The state, and the position up to which everything is in it. Wait-free.
    pub fn at(&self) -> (StdArc<P>, Position) {
        self.shared().get()
    }

    /// The position up to which everything is in the state. Wait-free.
    pub fn position(&self) -> Position {
        self.shared().position()
    }

    /// Ready when everything up to `position` is in the state: to read what one has written. For a projection that does not
    /// go on, never; cancel it by dropping it.
    pub fn passed(&self, position: impl Into<Position>) -> Passed<P> {
        Passed { projected: self.clone(), position: position.into(), registered: None }
    }

    /// Blocks until everything up to `position` is in the state, or the time is over. Whether it is.
    pub fn wait_for(&self, position: impl Into<Position>, timeout: Duration) -> bool {
        let (position, until) = (position.into(), Instant::now().checked_add(timeout));
        loop {
            let shared = self.shared();
            let mut replaced = false;
            let ready = shared.waiters.block(until, || {
                replaced = !Arc::ptr_eq(&shared, &self.shared());
                replaced || shared.position() >= position
            });
            if !replaced {
                return ready;
            }
        }
    }

    /// Puts another projection in the place of this one, for all its handles: `fresh`, which was built beside it. From then on
    /// they read that, and those who wait for a position wait for it there. Lock-free.
    ///
    /// The position goes back when `fresh` is not as far: wait until it [has passed](Self::passed) this one's before. Whoever
    /// folded for the old one is to be ended.
    pub fn replace(&self, fresh: &Self) {
        let (old, fresh) = (self.shared(), fresh.shared());
        self.0.change(|_| Some(Some(fresh.clone())));
        old.waiters.wake_all();
    }

    fn shared(&self) -> Arc<Shared<P>> {
        match self.0.load().get() {
            Some(shared) => shared.clone(),
            None => unreachable!("put there when it was made"),
        }
    }
}

impl<P: Projection> Projector<P> {
    /// Folds what is appended to the log before the append returns: first the past, on this thread, then the present. An event
    /// that cannot be decoded parks the subscription ([`OnFailure::Park`]): it can be skipped.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn inline(mut self, log: &Log) -> Result<Subscription, SubscribeError> {
        let feed = log.feed().after(self.position).on_failure(OnFailure::Park);
        feed.subscribe(move |envelope: &Envelope| {
            let folded = self.fold(envelope);
            self.publish();
            folded
        })
    }

    /// Folds what is in the store and what comes, until the store is closed. To be spawned, or waited for by a thread of its
    /// own. After an error it can be called again.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub async fn follow(&mut self, store: &impl EventStore) -> Result<(), ProjectError> {
        let mut following = store.follow(Follow::all().after(self.position));
        let mut unpublished = 0;
        std::future::poll_fn(|context| {
            loop {
                let met = match Pin::new(&mut following).poll_next(context) {
                    Poll::Ready(Some(item)) => item.map_err(ProjectError::from).and_then(|item| self.meet(item)),
                    // It waits for more, or for nothing any more.
                    rest => {
                        self.publish();
                        return rest.map(|_| Ok(()));
                    }
                };
                unpublished += 1;
                if unpublished == TOGETHER || met.is_err() {
                    unpublished = 0;
                    self.publish();
                }
                if met.is_err() {
                    return Poll::Ready(met);
                }
            }
        })
        .await
    }

    fn meet(&mut self, item: Followed) -> Result<(), ProjectError> {
        match item {
            Followed::Envelope(envelope) => self.fold(&envelope)?,
            Followed::Truncated { missed } => return Err(ProjectError::Removed { position: self.position, missed }),
            Followed::CaughtUp(_) | Followed::FellBehind { .. } => {}
            Followed::Unreadable(failure) => return Err(ReadFailure::Backend(Box::new(failure)).into()),
        }
        Ok(())
    }

    fn fold(&mut self, envelope: &Envelope) -> Result<(), DecodeFailure> {
        if envelope.matches(&self.query)
            && let Some(event) = P::Event::of(envelope)?
        {
            self.state.apply(&event, envelope);
            self.changed = true;
        }
        self.position = envelope.position();
        Ok(())
    }

    fn publish(&mut self) {
        let (state, position) = self.shared.get();
        if position == self.position {
            return;
        }
        let state = if std::mem::take(&mut self.changed) { StdArc::new(self.state.clone()) } else { state };
        self.shared.put(&state, self.position);
        self.shared.waiters.wake_all();
    }
}

/// Waits until everything up to a position is in a state: see [`Projected::passed`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Passed<P> {
    projected: Projected<P>,
    position: Position,
    /// Where it is on the list, and on whose.
    registered: Option<Registered<P>>,
}

type Registered<P> = (Arc<Shared<P>>, Option<Arc<Waiter>>);

impl<P> Passed<P> {
    fn forget(&mut self) {
        if let Some((shared, Some(waiter))) = self.registered.take() {
            shared.waiters.forget(&waiter);
        }
    }
}

impl<P: Projection> Future for Passed<P> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let shared = this.projected.shared();
            if shared.position() >= this.position {
                this.forget();
                return Poll::Ready(());
            }
            if this.registered.as_ref().is_some_and(|(on, _)| !Arc::ptr_eq(on, &shared)) {
                this.forget();
            }
            let (_, place) = this.registered.get_or_insert_with(|| (shared.clone(), None));
            shared.waiters.register(place, context.waker(), || ());
            // Looked at after the registration, both: else a wake-up may be missed.
            if shared.position() < this.position && Arc::ptr_eq(&shared, &this.projected.shared()) {
                return Poll::Pending;
            }
        }
    }
}

impl<P> Drop for Passed<P> {
    fn drop(&mut self) {
        self.forget();
    }
}

impl<P> Clone for Projected<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Projection> fmt::Debug for Projected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projected").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for Projector<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projector").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<P> fmt::Debug for Passed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed").field("position", &self.position).finish_non_exhaustive()
    }
}
