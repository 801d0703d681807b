//! One subscriber of a key, as the sets have it.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::delivery::door::Ticket;
use crate::delivery::outcome::{Outcome, message_of};
use crate::delivery::set;
use crate::sync::{Arc, StdArc, counted};

type Called<V> = dyn Fn(&V) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

/// What the user gave us, ready to be called.
pub(super) struct Handler<V: 'static>(Arc<Called<V>>);

/// Three words and a number: from a set to a handler it is one step.
pub(super) struct Member<V: 'static> {
    handler: Arc<Called<V>>,
    /// Behind the handler, and so dropped after it: the last ticket goes when the handler has gone.
    ticket: Arc<Ticket>,
    number: u64,
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

impl<V: 'static> Handler<V> {
    pub(super) fn new<R: Outcome>(handler: impl Fn(&V) -> R + Send + Sync + 'static) -> Self {
        let handler = Isolated(Some(handler));
        let made: StdArc<Called<V>> = StdArc::new(move |value: &V| {
            let isolated = &handler;
            isolated.0.as_ref().map_or(Ok(()), |handler| handler(value).into_result())
        });
        Self(counted(made))
    }
}

impl<V: 'static> Member<V> {
    pub(super) fn new(number: u64, handler: Handler<V>, ticket: Ticket) -> Self {
        Self { handler: handler.0, ticket: Arc::new(ticket), number }
    }

    #[inline]
    pub(super) fn call(&self, value: &V) -> Result<(), Box<dyn Error + Send + Sync>> {
        (self.handler)(value)
    }

    #[cold]
    pub(super) fn is_closed(&self) -> bool {
        self.ticket.door().is_closed()
    }
}

impl<V: 'static> Clone for Member<V> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), ticket: self.ticket.clone(), number: self.number }
    }
}

impl<V: 'static> set::Member for Member<V> {
    fn number(&self) -> u64 {
        self.number
    }
}
