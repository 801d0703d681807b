//! What handles events, and what happens when it fails.

use std::fmt;
use std::pin::Pin;

use crate::log::Envelope;
use crate::model::{Failure, Position};
use crate::store::BackendError;
use crate::sync::StdArc;

/// What a handler's call comes to.
pub(super) type Handling = Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send>>;
type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handler of a service.
pub(super) struct Handler {
    pub(super) name: Box<str>,
    /// The names of its events.
    pub(super) events: Vec<Box<str>>,
    pub(super) call: Box<dyn Fn(Envelope) -> Handling + Send + Sync>,
    pub(super) retry: Retry,
}

impl Handler {
    pub(super) fn handles(&self, name: &str) -> bool {
        self.events.iter().any(|event| **event == *name)
    }
}

/// How often a handler is called for an event that it fails to handle, and what is waited for in between.
///
/// ```
/// use std::time::Duration;
///
/// use annals::sourcing::Retry;
///
/// // Each handler has a thread of its own, unless the service was given something that spawns: so a pause may sleep.
/// let retry = Retry::times(3).pausing(|before| async move {
///     std::thread::sleep(Duration::from_millis(10 << before));
/// });
/// assert_eq!(retry.calls(), 3);
/// ```
#[derive(Clone)]
pub struct Retry {
    calls: u32,
    pause: Option<StdArc<dyn Fn(u32) -> Pause + Send + Sync>>,
}

impl Retry {
    /// So many calls in all, at least one, without pauses. What fails in the last one is parked.
    #[must_use]
    pub fn times(calls: u32) -> Self {
        Self { calls: calls.max(1), pause: None }
    }

    /// Waits, before another call, for what `pause` makes of the number of calls so far. A service that is closed does not wait
    /// any longer.
    #[must_use]
    pub fn pausing<P: Future<Output = ()> + Send + 'static>(
        self,
        pause: impl Fn(u32) -> P + Send + Sync + 'static,
    ) -> Self {
        Self { pause: Some(StdArc::new(move |calls| Box::pin(pause(calls)))), ..self }
    }

    /// How many calls in all.
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// What to wait for after so many calls.
    pub(super) fn pause(&self, calls: u32) -> Option<Pause> {
        self.pause.as_ref().map(|pause| pause(calls))
    }
}

impl Default for Retry {
    /// One call.
    fn default() -> Self {
        Self::times(1)
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("calls", &self.calls).field("pauses", &self.pause.is_some()).finish()
    }
}

/// An event that a handler failed to handle, for good or until it is [replayed](super::Service::replay).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parked {
    /// Where the event is, which handler, and how it failed last. Of one that was parked by an earlier process the error is a
    /// text.
    pub failure: Failure,
    /// How many calls failed, in all.
    pub calls: u32,
    /// It is to be handled again.
    pub(super) again: bool,
}

impl Parked {
    pub(super) fn new(failure: Failure, calls: u32) -> Self {
        Self { failure, calls, again: false }
    }

    /// Where the event is.
    pub fn position(&self) -> Position {
        self.failure.position()
    }
}
