//! What calls a handler: a cursor over the store, and nothing else.
//!
//! Events in order, one at a time. One that fails is tried again as the handler's policy says, then parked, and the next one comes.
//! What is to be handled again comes between two others. There is no runtime in here: the worker goes on while it is polled.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::checkpoints::{Checkpoint, Checkpoints};
use super::handler::{Handler, Handling, Parked};
use super::progress::Progress;
use super::reading::one;
use crate::delivery::{Followed, Place, message_of};
use crate::log::Envelope;
use crate::model::{Failure, HandlerError, Position};
use crate::store::{EventStore, Follow, ReadFailure, Select};
use crate::sync::{StdArc, within};

/// After so many events others of its runtime have their turn.
const TOGETHER: u32 = 64;

pub(super) struct Worker<S, C> {
    pub(super) store: StdArc<S>,
    pub(super) checkpoints: StdArc<C>,
    pub(super) handler: StdArc<Handler>,
    pub(super) progress: StdArc<Progress>,
    /// A checkpoint is saved after so many events.
    pub(super) every: u32,
    /// So many events may be parked.
    pub(super) at_most: usize,
}

/// What there is to do.
enum Step {
    Meet(Followed),
    Again(Parked),
    Failed(ReadFailure),
    StoreClosed,
    Closing,
}

/// How an event was handled.
enum Went {
    Well,
    Badly(Parked),
    /// Not to the end: the service was closed during a pause.
    Nowhere,
}

/// Why a worker ends.
const SERVICE: &str = "the service was closed";
const STORE: &str = "the store was closed";
const DROPPED: &str = "what it ran on has dropped it";

/// Says why it ended when nobody else has: the worker was dropped, before it was polled or after.
struct Ending(StdArc<Progress>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(DROPPED);
    }
}

impl<S: EventStore, C: Checkpoints> Worker<S, C> {
    /// Handles what comes after the progress so far, until the service or the store is closed.
    pub(super) fn run(self) -> impl Future<Output = ()> + Send {
        let (ending, following) = (Ending(self.progress.clone()), self.following());
        async move {
            let reason = self.work(following).await;
            ending.0.end(&reason);
        }
    }

    async fn work(&self, mut following: impl Stream<Item = Result<Followed, ReadFailure>> + Unpin) -> String {
        let (mut place, mut unsaved, mut together) = (Place::new(&self.progress.worker), 0, 0);
        let ended = loop {
            let step = poll_fn(|context| self.step(&mut following, &mut place, context)).await;
            let before = self.progress.position();
            let changed = match step {
                Step::Meet(Followed::Envelope(envelope)) => self.meet(&envelope).await,
                Step::Meet(Followed::Truncated { missed }) => {
                    self.progress.count_missed(missed);
                    Ok(false)
                }
                Step::Meet(Followed::CaughtUp(position)) => {
                    // There may be nothing left to be met.
                    self.progress.pass(position.max(before));
                    Ok(false)
                }
                Step::Meet(Followed::FellBehind { .. }) => Ok(false),
                Step::Meet(Followed::Unreadable(failure)) => Err(failure.to_string()),
                Step::Again(parked) => self.again(&parked).await,
                Step::Failed(failure) => Err(failure.to_string()),
                Step::StoreClosed => Err(STORE.to_owned()),
                Step::Closing => Err(SERVICE.to_owned()),
            };
            match changed {
                Ok(changed) => unsaved += u32::from(changed),
                Err(reason) => break reason,
            }
            if unsaved >= self.every {
                unsaved = 0;
                self.save().await;
            }
            together += 1;
            if together == TOGETHER {
                together = 0;
                yield_now().await;
            }
        };
        if unsaved > 0 {
            self.save().await;
        }
        ended
    }

    /// The next thing to do. Who asks for something does so before it wakes: registered first, then looked.
    fn step(
        &self,
        following: &mut (impl Stream<Item = Result<Followed, ReadFailure>> + Unpin),
        place: &mut Place<'_>,
        context: &mut Context<'_>,
    ) -> Poll<Step> {
        place.register(context);
        if self.progress.is_closing() {
            return Poll::Ready(Step::Closing);
        }
        if let Some(parked) = self.progress.to_do_again() {
            return Poll::Ready(Step::Again(parked));
        }
        Pin::new(following).poll_next(context).map(|item| match item {
            Some(Ok(followed)) => Step::Meet(followed),
            Some(Err(failure)) => Step::Failed(failure),
            None => Step::StoreClosed,
        })
    }

    /// What it goes through: everything after its progress so far, so that its position tells what it has passed over, too.
    fn following(&self) -> impl Stream<Item = Result<Followed, ReadFailure>> + Send + Unpin + use<S, C> {
        self.store.follow(Follow::all().after(self.progress.position()))
    }

    /// Handles an event, or parks it. Whether there is anything to save; why it goes no further.
    async fn meet(&self, envelope: &Envelope) -> Result<bool, String> {
        if !self.handler.handles(envelope.name()) {
            self.progress.pass(envelope.position());
            return Ok(false);
        }
        match self.handle(envelope, 0).await {
            Went::Well => self.progress.count_handled(),
            Went::Badly(parked) => {
                if !self.progress.park(&parked, self.at_most) {
                    return Err(format!("{} events are parked, and {}", self.at_most, parked.failure));
                }
            }
            Went::Nowhere => return Err(SERVICE.to_owned()),
        }
        self.progress.pass(envelope.position());
        Ok(true)
    }

    /// Handles again what was parked; as `meet`.
    async fn again(&self, parked: &Parked) -> Result<bool, String> {
        let position = parked.position();
        let Some(envelope) = self.read(position).await? else {
            let gone = Failure::new(position, Some(self.progress.name()), HandlerError::Removed(1));
            self.progress.stays_parked(&Parked::new(gone, parked.calls));
            return Ok(true);
        };
        match self.handle(&envelope, parked.calls).await {
            Went::Well => {
                self.progress.count_handled();
                self.progress.unpark(position);
            }
            Went::Badly(still) => self.progress.stays_parked(&still),
            Went::Nowhere => return Err(SERVICE.to_owned()),
        }
        Ok(true)
    }

    async fn read(&self, position: Position) -> Result<Option<Envelope>, String> {
        let read = self.store.read(Select::all().from(position).to(position));
        one(read).await.map_err(|failure| failure.to_string())
    }

    /// Calls the handler, as often as its policy says. `before` calls have failed already.
    async fn handle(&self, envelope: &Envelope, before: u32) -> Went {
        let mut calls = 0;
        loop {
            let Err(error) = self.call(envelope).await else { return Went::Well };
            calls += 1;
            if calls >= self.handler.retry.calls() {
                let failure = Failure::new(envelope.position(), Some(self.progress.name()), error);
                return Went::Badly(Parked::new(failure, before.saturating_add(calls)));
            }
            if self.is_closed_while(calls).await {
                return Went::Nowhere;
            }
            self.progress.count_retry();
        }
    }

    /// Calls the handler. A panic, in making its future, polling or dropping it, stays here.
    async fn call(&self, envelope: &Envelope) -> Result<(), HandlerError> {
        let mut handling: Option<Handling> = match guarded(|| (self.handler.call)(envelope.clone())) {
            Ok(handling) => Some(handling),
            Err(panicked) => return Err(panicked),
        };
        let polled = poll_fn(|context| {
            let Some(future) = &mut handling else { unreachable!("polled until it is ready") };
            match guarded(|| future.as_mut().poll(context)) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(HandlerError::Failed)),
                Err(panicked) => Poll::Ready(Err(panicked)),
            }
        });
        let result = polled.await;
        // Its own things are in there.
        guarded(|| drop(handling.take())).and(result)
    }

    /// Pauses before another call. Whether the service was closed meanwhile.
    async fn is_closed_while(&self, calls: u32) -> bool {
        let Ok(mut pause) = guarded(|| self.handler.retry.pause(calls)) else { return self.progress.is_closing() };
        let mut place = Place::new(&self.progress.worker);
        poll_fn(|context| {
            place.register(context);
            if self.progress.is_closing() {
                return Poll::Ready(true);
            }
            let Some(pause) = &mut pause else { return Poll::Ready(false) };
            match guarded(|| pause.as_mut().poll(context)) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(())) | Err(_) => Poll::Ready(false),
            }
        })
        .await
    }

    async fn save(&self) {
        let (position, parked) = (self.progress.position(), self.progress.parked());
        let saved = self.checkpoints.save(&self.handler.name, &Checkpoint { position, parked }).await;
        self.progress.saved(saved.map_err(|error| error.to_string().into()));
    }
}

/// Runs what is the user's, marked as the inside of a handler.
fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, HandlerError> {
    catch_unwind(AssertUnwindSafe(|| within::run(run))).map_err(|payload| HandlerError::Panicked(message_of(payload)))
}

/// Lets others of the runtime have their turn.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
