//! Events are stored, and handled.
//!
//! A service is a store and handlers with names. Each handler is a cursor over the store: it gets the events that it is for in the
//! order of the store, one at a time, whoever appended them. Handlers do not wait for each other. Nothing of an event is kept
//! beside the store: how far a handler is says what it has handled.
//!
//! It begins with the first use: checkpoints are loaded, and each handler's work is spawned, once, however many come at once.

use std::fmt;

use super::aggregate::Aggregate;
use super::aggregates::Aggregates;
use super::checkpoints::{Checkpoints, NoCheckpoints};
use super::error::{DispatchError, NoSuchHandler, StartError};
use super::first_use::FirstUse;
use super::handler::{Handler, Parked};
use super::new_event::NewEvent;
use super::progress::{HandlerStatus, Progress};
use super::service_builder::{ServiceBuilder, Spawn, Start};
use super::worker::Worker;
use crate::log::{AppendOptions, Appended, Log};
use crate::model::{Failure, Failures, Position};
use crate::store::EventStore;
use crate::sync::{CopyOnWrite, StdArc, within};

/// How far an event has come when its dispatch is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Consistency {
    /// It is stored. Handlers get it soon.
    #[default]
    Eventual,
    /// It is stored, and each handler that it is for has handled it.
    Strong,
}

/// A store and handlers for its events.
///
/// An event is stored first, then handled: a handler that reads the store finds it. Where no handler is for it, it is stored
/// all the same. Handlers get what others append to the store, too.
///
/// A clone is another handle to the same service. When the last one is dropped, it is closed.
///
/// ```
/// use annals::sourcing::{Consistency, NewEvent, Service};
/// use annals::store::block_on;
/// use annals::{Envelope, Log, Message};
///
/// let service = Service::builder(Log::new())
///     .handler("greeter", ["SignedUp"], |event: Envelope| async move {
///         println!("welcome, {}", event.stream());
///         Ok::<_, std::io::Error>(())
///     })
///     .build()?;
/// let event = NewEvent::new("user-ada", Message::event("SignedUp", "")?);
/// block_on(service.dispatch(event, Consistency::Strong))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Who wants to be called inside the append itself subscribes to the log ([`Feed::subscribe`](crate::Feed::subscribe)): that is
/// the instant bus of what is in one process.
///
/// What a handler appends or dispatches comes after what it handles. It may not wait for handlers itself, which it might be one of:
/// a strong dispatch inside of one is refused.
pub struct Service<S = Log, C = NoCheckpoints>(StdArc<Owned<S, C>>);

/// What handles own. Workers have shares of what is in it, not of it.
pub(super) struct Owned<S, C> {
    pub(super) store: StdArc<S>,
    pub(super) checkpoints: StdArc<C>,
    pub(super) handlers: Vec<StdArc<Handler>>,
    pub(super) start: Start,
    pub(super) every: u32,
    pub(super) at_most: usize,
    pub(super) spawn: Spawn,
    pub(super) first: FirstUse,
    pub(super) state: CopyOnWrite<State>,
}

/// Which handlers work, and whether it was closed: one word for both, so that none begins after the end.
#[derive(Clone, Default)]
pub(super) struct State {
    handlers: Vec<StdArc<Progress>>,
    is_closed: bool,
}

impl Service {
    /// A service for a store.
    pub fn builder<S: EventStore>(store: S) -> ServiceBuilder<S> {
        ServiceBuilder::new(StdArc::new(store))
    }

    /// A service for a store that others use, too.
    pub fn shared<S: EventStore>(store: StdArc<S>) -> ServiceBuilder<S> {
        ServiceBuilder::new(store)
    }
}

impl<S: EventStore, C: Checkpoints> Service<S, C> {
    pub(super) fn new(owned: Owned<S, C>) -> Self {
        Self(StdArc::new(owned))
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.0.store
    }

    /// The aggregates of one type in its store.
    pub fn aggregates<A: Aggregate>(&self) -> Aggregates<A, S> {
        Aggregates::shared(self.0.store.clone())
    }

    /// Loads checkpoints and sets the handlers to work, unless that was done. Each other call here does it first; after this
    /// one it is done.
    ///
    /// # Errors
    /// [`StartError`]. Then nothing has begun, and the next call tries again.
    pub async fn start(&self) -> Result<(), StartError> {
        self.0.first.ensure(|| self.0.begin()).await?;
        if self.0.state.load().get().is_some_and(|state| state.is_closed) { Err(StartError::Closed) } else { Ok(()) }
    }

    /// Stores an event; with [`Consistency::Strong`] waits until it is handled.
    ///
    /// Each handler that it is for is then done with it, retries included: so it takes as long as the slowest of them, and what
    /// they have to do before.
    ///
    /// # Errors
    /// [`DispatchError`]. Where it was stored, the error says so, and has what each handler failed with.
    pub async fn dispatch(&self, event: NewEvent<'_>, consistency: Consistency) -> Result<Appended, DispatchError> {
        let is_strong = consistency == Consistency::Strong;
        if is_strong && within::is_set() {
            return Err(DispatchError::InsideHandler);
        }
        self.start().await?;
        let NewEvent { stream, message, expected } = event;
        let name: Box<str> = message.name().into();
        let options = AppendOptions::new().expected(expected);
        let appended = self.0.store.append(&stream, message, options).await.map_err(|refused| refused.error)?;
        if !is_strong {
            return Ok(appended);
        }
        let failures = self.outcomes(appended.position, |handler| handler.handles(&name)).await;
        if failures.is_empty() { Ok(appended) } else { Err(DispatchError::Unhandled { appended, failures }) }
    }

    /// Waits until every handler has passed a position: to read what they have written. What the event there failed with, by
    /// handler; what came before it, and was parked, is in [`parked`](Self::parked).
    ///
    /// # Errors
    /// [`DispatchError`], of the kinds that are about waiting.
    pub async fn handled(&self, position: impl Into<Position>) -> Result<Failures, DispatchError> {
        if within::is_set() {
            return Err(DispatchError::InsideHandler);
        }
        self.start().await?;
        Ok(self.outcomes(position.into(), |_| true).await)
    }

    /// How those handlers that are asked for went about the event at a position. They work at the same time: that they are
    /// waited for one after the other takes as long as the slowest.
    async fn outcomes(&self, position: Position, asked: impl Fn(&Handler) -> bool) -> Failures {
        let mut failures: Vec<Failure> = Vec::new();
        for (handler, progress) in self.0.handlers.iter().zip(self.0.handlers_at_work()) {
            if asked(handler) {
                failures.extend(progress.outcome(position).await);
            }
        }
        failures.into()
    }

    /// What each handler has done so far, in the order in which they were given; nothing before the first use. Wait-free.
    pub fn status(&self) -> Vec<HandlerStatus> {
        self.0.handlers_at_work().iter().map(|progress| progress.status()).collect()
    }

    /// What a handler failed to handle, in the order of failing.
    ///
    /// # Errors
    /// [`NoSuchHandler`]. Before the first use, too.
    pub fn parked(&self, handler: &str) -> Result<Vec<Parked>, NoSuchHandler> {
        Ok(self.0.progress_of(handler)?.parked())
    }

    /// Has a handler handle again what is parked now, before it goes on; ready when it has. What is still parked then.
    ///
    /// The order of such events is that of the store among themselves; what was handled meanwhile came before them.
    ///
    /// # Errors
    /// [`DispatchError`], of the kinds that are about waiting.
    pub async fn replay(&self, handler: &str) -> Result<Vec<Parked>, DispatchError> {
        if within::is_set() {
            return Err(DispatchError::InsideHandler);
        }
        self.start().await?;
        let progress = self.0.progress_of(handler)?;
        progress.ask_again();
        progress.done_again().await;
        Ok(progress.parked())
    }

    /// Gives up a parked event. Whether it was parked.
    ///
    /// # Errors
    /// [`NoSuchHandler`]. Before the first use, too.
    pub fn discard(&self, handler: &str, position: impl Into<Position>) -> Result<bool, NoSuchHandler> {
        Ok(self.0.progress_of(handler)?.unpark(position.into()))
    }

    /// Ends it: handlers finish the call that they are in, save where they are, and begin no other. Ready when they have, at once
    /// inside a handler. Events that are stored stay for the next service. Idempotent.
    pub async fn close(&self) {
        self.0.close();
        if within::is_set() {
            return;
        }
        for progress in self.0.handlers_at_work() {
            progress.over().await;
        }
    }
}

impl<S: EventStore, C: Checkpoints> Owned<S, C> {
    /// Everything that may fail comes first: then nothing has begun.
    async fn begin(&self) -> Result<(), StartError> {
        let end = self.store.end().await?;
        let mut workers = Vec::new();
        for handler in &self.handlers {
            let failed = |source| StartError::Checkpoint { handler: handler.name.clone(), source };
            let (position, parked) = match self.checkpoints.load(&handler.name).await.map_err(failed)? {
                Some(checkpoint) => (checkpoint.position, checkpoint.parked),
                None if self.start == Start::Beginning => (Position::NONE, Vec::new()),
                None => (end, Vec::new()),
            };
            workers.push(self.worker(handler, StdArc::new(Progress::new(&handler.name, position, &parked))));
        }
        let all: Vec<_> = workers.iter().map(|worker| worker.progress.clone()).collect();
        let begins = self.state.change(|state| {
            let is_closed = state.is_some_and(|state| state.is_closed);
            (!is_closed).then(|| Some(State { handlers: all.clone(), is_closed }))
        });
        if !begins {
            return Err(StartError::Closed);
        }
        for worker in workers {
            if !(self.spawn)(Box::pin(worker.run())) {
                // Those that have begun end; what the service comes to is that of one that could not start.
                for progress in &all {
                    progress.close();
                }
                return Err(StartError::NotSpawned);
            }
        }
        Ok(())
    }

    fn worker(&self, handler: &StdArc<Handler>, progress: StdArc<Progress>) -> Worker<S, C> {
        Worker {
            store: self.store.clone(),
            checkpoints: self.checkpoints.clone(),
            handler: handler.clone(),
            progress,
            every: self.every,
            at_most: self.at_most,
        }
    }
}

impl<S, C> Owned<S, C> {
    fn handlers_at_work(&self) -> Vec<StdArc<Progress>> {
        self.state.load().get().map(|state| state.handlers.clone()).unwrap_or_default()
    }

    fn progress_of(&self, handler: &str) -> Result<StdArc<Progress>, NoSuchHandler> {
        let found = self.handlers_at_work().into_iter().find(|progress| progress.name() == handler);
        found.ok_or_else(|| NoSuchHandler { name: handler.into() })
    }

    fn close(&self) {
        self.state.change(|state| Some(Some(State { is_closed: true, ..state.cloned().unwrap_or_default() })));
        self.handlers_at_work().iter().for_each(|progress| progress.close());
    }
}

impl<S, C> Drop for Owned<S, C> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<S, C> Clone for Service<S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, C> fmt::Debug for Service<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.handlers.iter().map(|handler| &handler.name).collect();
        f.debug_struct("Service").field("handlers", &names).finish_non_exhaustive()
    }
}
