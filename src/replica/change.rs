//! What an update does to the value of a replica: replaces it, or makes another one out of it.

use std::fmt;

use super::shared::{guarded, reason};
use crate::store::BackendError;
use crate::sync::StdArc;

/// What the parse gate makes of what is published, when not all of it is a whole value: see
/// [`Replica::patching`](super::Replica::patching).
pub enum Change<T> {
    /// The value as it is from now on.
    Whole(StdArc<T>),
    /// What makes it of the value before: applied to that one, or not at all.
    Patch(Patch<T>),
}

impl<T> Change<T> {
    /// A whole value.
    pub fn whole(value: T) -> Self {
        Self::Whole(StdArc::new(value))
    }

    /// What makes a value of the one before: see [`Patch::new`].
    pub fn patch<E: Into<BackendError>>(apply: impl Fn(&T) -> Result<T, E> + Send + Sync + 'static) -> Self {
        Self::Patch(Patch::new(apply))
    }
}

/// What makes a value of the one before it.
pub struct Patch<T>(StdArc<Apply<T>>);

type Apply<T> = dyn Fn(&T) -> Result<T, BackendError> + Send + Sync;

impl<T> Patch<T> {
    /// The patch that is this function. An error, or a panic, means that it does not fit the value, which stands then.
    ///
    /// It is called again when another update was faster: the same value must lead to the same result.
    pub fn new<E: Into<BackendError>>(apply: impl Fn(&T) -> Result<T, E> + Send + Sync + 'static) -> Self {
        Self(StdArc::new(move |before: &T| apply(before).map_err(Into::into)))
    }

    /// The value after it, or why there is none.
    pub(super) fn apply(&self, before: &T) -> Result<StdArc<T>, StdArc<str>> {
        match guarded(|| (self.0)(before)) {
            Ok(Ok(after)) => Ok(StdArc::new(after)),
            Ok(Err(error)) => Err(reason(&*error)),
            Err(panicked) => Err(panicked),
        }
    }
}

impl<T> Clone for Change<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Whole(value) => Self::Whole(value.clone()),
            Self::Patch(patch) => Self::Patch(patch.clone()),
        }
    }
}

impl<T> Clone for Patch<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Patch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patch").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Change<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => f.debug_tuple("Whole").field(value).finish(),
            Self::Patch(patch) => f.debug_tuple("Patch").field(patch).finish(),
        }
    }
}
