//! One subscriber of a key, as the sets have it.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::delivery::door::Ticket;
use crate::delivery::outcome::{Outcome, message_of};
use crate::delivery::set;
use crate::sync::{Arc, StdArc, counted};

/// Two words, as small as can be: a delivery goes through them one by one.
pub(super) struct Member<V: 'static>(Arc<dyn Subscriber<V>>);

/// What a member is, whatever its handler is.
trait Subscriber<V>: Send + Sync {
    fn call(&self, value: &V) -> Result<(), Box<dyn Error + Send + Sync>>;
    fn number(&self) -> u64;
    fn is_closed(&self) -> bool;
}

struct Subscribed<F> {
    handler: Isolated<F>,
    number: u64,
    /// Behind the handler, and so dropped after it: the door opens when the handler has gone.
    ticket: Ticket,
}

/// Drops what is in it, and keeps its panic, too: it is dropped wherever the last set goes, in a publish of anybody's.
struct Isolated<F>(Option<F>);

impl<F> Drop for Isolated<F> {
    fn drop(&mut self) {
        let handler = self.0.take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(handler))) {
            drop(message_of(payload));
        }
    }
}

impl<V, R: Outcome, F: Fn(&V) -> R + Send + Sync> Subscriber<V> for Subscribed<F> {
    #[inline]
    fn call(&self, value: &V) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.handler.0.as_ref().map_or(Ok(()), |handler| handler(value).into_result())
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn is_closed(&self) -> bool {
        self.ticket.door().is_closed()
    }
}

impl<V: 'static> Member<V> {
    pub(super) fn new<R: Outcome>(
        number: u64,
        handler: impl Fn(&V) -> R + Send + Sync + 'static,
        ticket: Ticket,
    ) -> Self {
        let made: StdArc<dyn Subscriber<V>> =
            StdArc::new(Subscribed { handler: Isolated(Some(handler)), number, ticket });
        Self(counted(made))
    }

    #[inline]
    pub(super) fn call(&self, value: &V) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.call(value)
    }

    #[cold]
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl<V: 'static> Clone for Member<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: 'static> set::Member for Member<V> {
    fn number(&self) -> u64 {
        self.0.number()
    }
}
