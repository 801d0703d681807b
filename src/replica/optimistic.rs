//! What somebody sees who does not wait for the authority: the confirmed value, and on top of it what was proposed and is not
//! confirmed yet.
//!
//! No clock, no thread, no queue: the same messages in the same order lead to the same view.
//!
//! An operation leaves the pending ones in one of two ways: it was rejected, or the confirmed value contains it. The latter
//! is known by its *mark*, the sequence of the first value that is known to contain it: an update that carries its id told
//! it (the echo), or the authority's answer did, whichever came first. It leaves when the confirmed value has reached the mark,
//! not before: so an echo that could not be applied, because of a gap, neither hides the operation nor shows it twice when
//! the refetch has brought it. Until then each view shows it once: folded, or contained.
//!
//! There is one case in which nobody can know: a value beyond an operation arrives, without saying that it contains it,
//! before the answer does. Then the view shows the operation twice until the answer is there. So snapshots should name the last
//! operations that they contain ([`Update::operations`](super::Update::operations)): the authority remembers them anyway, to
//! recognise repetitions. To hold the value back instead would freeze a client that is offline.
//!
//! Marks grow by [`Mark::era`] first: when a source counts anew, sequences of before mean nothing, and what was contained before
//! is contained in whatever comes.

use std::collections::VecDeque;

use super::operation::OperationId;
use super::shared::guarded;
use crate::sync::StdArc;

/// A change that somebody wants of a value.
///
/// ```
/// use annals::replica::Intent;
///
/// struct Add(u64);
///
/// impl Intent<u64> for Add {
///     fn apply(&self, value: &mut u64) {
///         *value += self.0;
///     }
/// }
/// ```
pub trait Intent<T> {
    /// Makes the change, as the authority would; nothing, when it would reject it.
    ///
    /// Called again and again, on whatever thread has news: the same value must lead to the same result. One that panics is
    /// left out of the view that was being made, and stays pending.
    fn apply(&self, value: &mut T);
}

/// A sequence, and how often its source had begun to count anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mark {
    /// How often the source had begun to count anew.
    pub era: u64,
    /// The sequence.
    pub sequence: u64,
}

impl Mark {
    /// A sequence of this era.
    pub fn new(era: u64, sequence: u64) -> Self {
        Self { era, sequence }
    }
}

/// A proposal that the confirmed value does not contain yet.
#[non_exhaustive]
pub struct PendingIntent<I> {
    /// Its place in the order of proposals.
    pub place: u64,
    /// What it is known by.
    pub id: OperationId,
    /// What is wanted.
    pub intent: StdArc<I>,
    /// The first value that is known to contain it; none until the authority, or an echo, has told.
    pub mark: Option<Mark>,
}

/// An operation that the authority did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// Which.
    pub id: OperationId,
    /// What the authority said.
    pub reason: StdArc<str>,
}

/// The confirmed value, and what is pending on top of it.
pub struct Optimistic<T, I> {
    confirmed: Option<StdArc<T>>,
    /// Of the confirmed value.
    mark: Option<Mark>,
    /// In the order of their places.
    pending: Vec<PendingIntent<I>>,
    /// Operations whose outcome is known, and that somebody still has to write down.
    decided: VecDeque<OperationId>,
    view: Option<StdArc<T>>,
    last_rejection: Option<Rejection>,
}

impl<T: Clone, I: Intent<T>> Optimistic<T, I> {
    /// No value, and nothing pending.
    pub fn new() -> Self {
        Self {
            confirmed: None,
            mark: None,
            pending: Vec::new(),
            decided: VecDeque::new(),
            view: None,
            last_rejection: None,
        }
    }

    /// Somebody proposes an operation: behind those with lower places. False, and nothing, when one of this id is
    /// [kept](Self::keeps).
    pub fn propose(&mut self, place: u64, id: OperationId, intent: StdArc<I>) -> bool {
        if self.keeps(&id) {
            return false;
        }
        let at = self.pending.partition_point(|other| other.place <= place);
        self.pending.insert(at, PendingIntent { place, id, intent, mark: None });
        self.fold();
        true
    }

    /// This is the last value. Nothing, when there is a newer one. Whether it was taken.
    pub fn confirm(&mut self, value: StdArc<T>, mark: Mark) -> bool {
        if self.mark.is_some_and(|there| mark < there) {
            return false;
        }
        self.confirmed = Some(value);
        self.mark = Some(mark);
        self.leave();
        self.fold();
        true
    }

    /// The value of this mark contains the operation; maybe one before does. Whether that was news.
    pub fn include(&mut self, id: &OperationId, mark: Mark) -> bool {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == *id) else { return false };
        if pending.mark.is_some_and(|known| known <= mark) {
            return false;
        }
        if pending.mark.replace(mark).is_none() {
            self.decided.push_back(id.clone());
        }
        if self.leave() {
            self.fold();
        }
        true
    }

    /// The authority does not carry the operation out: the view is as if it had not been proposed. Nothing, when the operation
    /// is not pending, or is known to be contained. Whether that was news.
    pub fn reject(&mut self, id: &OperationId, reason: impl Into<StdArc<str>>) -> bool {
        let is_it = |pending: &PendingIntent<I>| pending.id == *id && pending.mark.is_none();
        let Some(at) = self.pending.iter().position(is_it) else { return false };
        self.pending.remove(at);
        self.decided.push_back(id.clone());
        self.last_rejection = Some(Rejection { id: id.clone(), reason: reason.into() });
        self.fold();
        true
    }

    /// What is known to be contained is not pending any more. Whether any was.
    fn leave(&mut self) -> bool {
        let (before, reached) = (self.pending.len(), self.mark);
        self.pending.retain(|pending| pending.mark.is_none() || pending.mark > reached);
        self.pending.len() < before
    }

    /// The confirmed value with what is pending, without what panics on it.
    fn fold(&mut self) {
        let mut left_out = Vec::new();
        self.view = loop {
            match self.fold_without(&left_out) {
                Ok(view) => break view,
                Err(at) => left_out.push(at),
            }
        };
    }

    /// The place of the first that panics is an error: what it has half changed is thrown away.
    fn fold_without(&self, left_out: &[usize]) -> Result<Option<StdArc<T>>, usize> {
        let Some(confirmed) = &self.confirmed else { return Ok(None) };
        if self.pending.len() == left_out.len() {
            return Ok(Some(confirmed.clone()));
        }
        let Ok(mut value) = guarded(|| T::clone(confirmed)) else { return Ok(Some(confirmed.clone())) };
        for (at, pending) in self.pending.iter().enumerate().filter(|(at, _)| !left_out.contains(at)) {
            guarded(|| pending.intent.apply(&mut value)).map_err(|_| at)?;
        }
        Ok(Some(StdArc::new(value)))
    }
}

impl<T, I> Optimistic<T, I> {
    /// What is shown: the confirmed value with everything that is pending; none when there is no confirmed value.
    pub fn view(&self) -> Option<&StdArc<T>> {
        self.view.as_ref()
    }

    /// The last value that the authority is known to have made.
    pub fn confirmed(&self) -> Option<&StdArc<T>> {
        self.confirmed.as_ref()
    }

    /// Of the confirmed value.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// What the confirmed value does not contain yet, in the order in which it was proposed.
    pub fn pending(&self) -> &[PendingIntent<I>] {
        &self.pending
    }

    /// The first operation of which nobody knows the outcome: the next one to send.
    pub fn next(&self) -> Option<&PendingIntent<I>> {
        self.pending.iter().find(|pending| pending.mark.is_none())
    }

    /// Operations whose outcome is known, until [`written_down`](Self::written_down).
    pub fn decided(&self) -> impl ExactSizeIterator<Item = &OperationId> {
        self.decided.iter()
    }

    /// The outcome of this operation was written down.
    pub fn written_down(&mut self, id: &OperationId) {
        self.decided.retain(|other| other != id);
    }

    /// What was rejected last.
    pub fn last_rejection(&self) -> Option<&Rejection> {
        self.last_rejection.as_ref()
    }

    /// Whether an operation of this id is pending.
    pub fn is_pending(&self, id: &OperationId) -> bool {
        self.pending.iter().any(|pending| pending.id == *id)
    }

    /// Whether an operation of this id is pending, or its outcome is to be written down.
    pub fn keeps(&self, id: &OperationId) -> bool {
        self.is_pending(id) || self.decided.contains(id)
    }

    /// How many operations it keeps: those that are pending, and those whose outcome is to be written down.
    pub fn kept(&self) -> usize {
        self.pending.len() + self.decided.iter().filter(|id| !self.is_pending(id)).count()
    }
}

impl<T: Clone, I: Intent<T>> Default for Optimistic<T, I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, I> Clone for Optimistic<T, I> {
    fn clone(&self) -> Self {
        Self {
            confirmed: self.confirmed.clone(),
            mark: self.mark,
            pending: self.pending.clone(),
            decided: self.decided.clone(),
            view: self.view.clone(),
            last_rejection: self.last_rejection.clone(),
        }
    }
}

impl<I> Clone for PendingIntent<I> {
    fn clone(&self) -> Self {
        Self { place: self.place, id: self.id.clone(), intent: self.intent.clone(), mark: self.mark }
    }
}
