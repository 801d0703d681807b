//! Which envelopes a subscription gets.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::log::Envelope;
use crate::model::Query;

/// A filter of the user's.
type Filter = dyn Fn(&Envelope) -> bool + Send + Sync;

/// Everything, unless a query or a filter leaves it out.
#[derive(Default)]
pub(crate) struct Selection {
    pub(crate) query: Option<Query>,
    pub(crate) filter: Option<Box<Filter>>,
}

impl Selection {
    pub(crate) fn is_everything(&self) -> bool {
        self.query.is_none() && self.filter.is_none()
    }

    /// Whether it selects an envelope. A filter that panics does not.
    #[inline]
    pub(crate) fn selects(&self, envelope: &Envelope) -> bool {
        self.query.as_ref().is_none_or(|query| envelope.matches(query))
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| catch_unwind(AssertUnwindSafe(|| filter(envelope))).unwrap_or(false))
    }
}
