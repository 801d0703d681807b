//! What a replica tells those who show more than the confirmed value.
//!
//! First which operations a value contains, then the value itself: in this order, whoever delivers. So no value is shown
//! as confirmed by somebody who does not know yet what is in it.

use std::fmt;

use super::operation::OperationId;
use super::optimistic::Mark;
use super::reconciler::Reconciler;
use crate::sync::StdArc;

/// Who shows more than the confirmed value. Called by whoever delivers, by several at once.
pub(super) trait Confirms<T>: Send + Sync {
    /// The value of this mark contains these operations, whether it is applied or not.
    fn contains(&self, operations: &[OperationId], mark: Mark);

    /// The replica has changed to this, or to something later. Calls may come in any order.
    fn stands(&self, state: &Reconciler<T>);
}

/// The way of confirmed values from a replica to [`Writes`](super::Writes): for
/// [`ReplicaBuilder::confirms`](super::ReplicaBuilder::confirms) of one replica.
#[must_use = "nothing is confirmed without a replica"]
pub struct Confirmations<T>(StdArc<dyn Confirms<T>>);

impl<T> Confirmations<T> {
    pub(super) fn new(to: StdArc<dyn Confirms<T>>) -> Self {
        Self(to)
    }

    pub(super) fn into_inner(self) -> StdArc<dyn Confirms<T>> {
        self.0
    }
}

impl<T> fmt::Debug for Confirmations<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmations").finish_non_exhaustive()
    }
}
