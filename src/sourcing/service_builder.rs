//! What a service is made of.

use std::fmt;
use std::pin::Pin;

use super::checkpoints::{Checkpoints, NoCheckpoints};
use super::error::InvalidService;
use super::first_use::FirstUse;
use super::handler::{Handler, Retry};
use super::service::{Owned, Service};
use crate::log::Envelope;
use crate::model::Name;
use crate::store::{BackendError, EventStore, block_on};
use crate::sync::{CopyOnWrite, StdArc, wait};

/// So many events of one handler are parked at most, unless set otherwise.
const AT_MOST: usize = 256;

/// What one handler has to do: to be polled to its end.
pub type HandlerWork = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type Spawn = Box<dyn Fn(HandlerWork) -> bool + Send + Sync>;

/// Where a handler begins that has no checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Now,
    Beginning,
}

/// What a [`Service`] is made of.
#[must_use = "a builder does nothing until `build`"]
pub struct ServiceBuilder<S, C = NoCheckpoints> {
    store: StdArc<S>,
    checkpoints: C,
    handlers: Vec<Handler>,
    retry: Retry,
    start: Start,
    every: u32,
    at_most: usize,
    spawn: Spawn,
}

impl<S: EventStore> ServiceBuilder<S> {
    pub(super) fn new(store: StdArc<S>) -> Self {
        Self {
            store,
            checkpoints: NoCheckpoints,
            handlers: Vec::new(),
            retry: Retry::default(),
            start: Start::Now,
            every: 1,
            at_most: AT_MOST,
            spawn: Box::new(|work| wait::spawn("annals-handler", move || block_on(work))),
        }
    }
}

impl<S: EventStore, C: Checkpoints> ServiceBuilder<S, C> {
    /// A handler by its name, for events of these names. Several may be for the same events.
    ///
    /// It is called for one event at a time, in the order of the store. It fails when it says so, or panics.
    pub fn handler<E, F>(
        mut self,
        name: impl Into<Box<str>>,
        events: impl IntoIterator<Item = impl Into<Box<str>>>,
        handle: impl Fn(Envelope) -> F + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<BackendError>,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.handlers.push(Handler {
            name: name.into(),
            events: events.into_iter().map(Into::into).collect(),
            call: Box::new(move |envelope| {
                let handling = handle(envelope);
                Box::pin(async move { handling.await.map_err(Into::into) })
            }),
            retry: self.retry.clone(),
        });
        self
    }

    /// What happens when a handler fails, for those that are added after this. Without it: one call, then the event is parked.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Handlers without a checkpoint begin with the first event that is in the store. Without this: with those that come after
    /// the first use.
    pub fn from_beginning(mut self) -> Self {
        self.start = Start::Beginning;
        self
    }

    /// Handlers go on where they were when their last checkpoint was saved: after every so many events that they handled or
    /// parked, and when the service is closed. So after a crash each handles at most so many events again, and the one that it was at.
    pub fn checkpoints<D: Checkpoints>(self, checkpoints: D, every: u32) -> ServiceBuilder<S, D> {
        let Self { store, handlers, retry, start, at_most, spawn, .. } = self;
        ServiceBuilder { store, checkpoints, handlers, retry, start, every: every.max(1), at_most, spawn }
    }

    /// How many events of one handler may be parked. With one more it does not go on: nothing is lost, and
    /// [`HandlerStatus::ended`](super::HandlerStatus::ended) tells. Without this: 256.
    pub fn parked_at_most(mut self, at_most: usize) -> Self {
        self.at_most = at_most;
        self
    }

    /// Each handler's work is handed to this, with the first use, to be polled to its end: by a runtime. Without it, each gets a
    /// thread.
    pub fn spawn_with(mut self, spawn: impl Fn(HandlerWork) + Send + Sync + 'static) -> Self {
        self.spawn = Box::new(move |work| {
            spawn(work);
            true
        });
        self
    }

    /// The service. Nothing begins before it is used.
    ///
    /// # Errors
    /// [`InvalidService`].
    pub fn build(self) -> Result<Service<S, C>, InvalidService> {
        for (at, handler) in self.handlers.iter().enumerate() {
            if self.handlers[..at].iter().any(|other| other.name == handler.name) {
                return Err(InvalidService::HandlerTwice { name: handler.name.clone() });
            }
            if let Err((event, source)) = handler
                .events
                .iter()
                .try_for_each(|event| Name::new(&**event).map(drop).map_err(|source| (event, source)))
            {
                let (handler, event) = (handler.name.clone(), event.clone());
                return Err(InvalidService::EventName { handler, event, source });
            }
        }
        Ok(Service::new(Owned {
            store: self.store,
            checkpoints: StdArc::new(self.checkpoints),
            handlers: self.handlers.into_iter().map(StdArc::new).collect(),
            start: self.start,
            every: self.every,
            at_most: self.at_most,
            spawn: self.spawn,
            first: FirstUse::new(),
            state: CopyOnWrite::new(),
        }))
    }
}

impl<S, C> fmt::Debug for ServiceBuilder<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.handlers.iter().map(|handler| &handler.name).collect();
        f.debug_struct("ServiceBuilder").field("handlers", &names).finish_non_exhaustive()
    }
}
