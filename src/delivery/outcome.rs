//! Calling what users gave us.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::HandlerError;

/// What a handler may return: nothing, or a [`Result`] whose error says what went wrong.
pub trait Outcome {
    /// Whether it went well.
    ///
    /// # Errors
    /// What the handler returned as its error.
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.map_err(Into::into)
    }
}

/// Calls a handler. A panic stays here.
#[inline]
pub(crate) fn call(
    handler: impl FnOnce() -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<(), HandlerError> {
    match catch_unwind(AssertUnwindSafe(handler)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(HandlerError::Failed(error)),
        Err(payload) => Err(HandlerError::Panicked(message_of(payload))),
    }
}

/// What a panic said. Dropping what it carried may panic once more: that stays here, too.
#[cold]
pub(crate) fn message_of(payload: Box<dyn std::any::Any + Send>) -> Box<str> {
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).into(),
        (_, Some(text)) => text.as_str().into(),
        _ => "of no text".into(),
    };
    if catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err() {
        // Nothing more to do: its owner made it so.
    }
    message
}
