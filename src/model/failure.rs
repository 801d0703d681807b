//! What went wrong in a handler.

use std::fmt;
use std::ops::Deref;

use super::number::Position;
use crate::sync::Arc;

/// A delivery that failed. The append that it was for stands.
#[derive(Clone)]
pub struct Failure(Arc<Facts>);

struct Facts {
    position: Position,
    subscription: Option<Box<str>>,
    error: HandlerError,
}

/// How a handler failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// It panicked, with this message.
    #[error("the handler panicked: {0}")]
    Panicked(Box<str>),
    /// It returned an error.
    #[error("the handler failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Retention removed so many envelopes before they could be delivered.
    #[error("{0} envelopes were removed before they were delivered")]
    Removed(u64),
    /// What the log is kept on could not be read: the envelope is delivered later, or never.
    #[error("the envelope could not be read: {0}")]
    Unreadable(Box<str>),
}

impl Failure {
    pub(crate) fn new(position: Position, subscription: Option<&str>, error: HandlerError) -> Self {
        Self(Arc::new(Facts { position, subscription: subscription.map(Into::into), error }))
    }

    /// Which envelope.
    pub fn position(&self) -> Position {
        self.0.position
    }

    /// The name of the subscription, when it has one.
    pub fn subscription(&self) -> Option<&str> {
        self.0.subscription.as_deref()
    }

    /// What went wrong.
    pub fn error(&self) -> &HandlerError {
        &self.0.error
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subscription() {
            Some(name) => write!(f, "subscription {name:?}, position {}: {}", self.0.position, self.0.error),
            None => write!(f, "position {}: {}", self.0.position, self.0.error),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("position", &self.0.position)
            .field("subscription", &self.0.subscription)
            .field("error", &self.0.error)
            .finish()
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.error)
    }
}

/// The deliveries of one append that failed: mostly none, which takes no memory. A slice of [`Failure`].
#[derive(Clone, Default)]
pub struct Failures(Option<Arc<Vec<Failure>>>);

impl Failures {
    pub(crate) const NONE: Self = Self(None);
}

impl From<Vec<Failure>> for Failures {
    fn from(failures: Vec<Failure>) -> Self {
        Self(if failures.is_empty() { None } else { Some(Arc::new(failures)) })
    }
}

impl Deref for Failures {
    type Target = [Failure];

    fn deref(&self) -> &[Failure] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
