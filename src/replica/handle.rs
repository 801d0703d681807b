//! The face of a replica.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};

use super::builder::ReplicaBuilder;
use super::change::Change;
use super::reconciler::{Input, Reconciler};
use super::shared::Shared;
use super::snapshot::{Snapshot, Status};
use super::watch::{Place, Watch, What};
use crate::store::BackendError;
use crate::sync::{CopyOnWrite, StdArc};

/// The last value of a key, kept up to date by what is published to it: by any [`Transport`](super::Transport).
///
/// What is lost on the way shows as a gap, and leads to a refetch; what is repeated, or late, is ignored: the value never goes
/// backwards. What it does, and why, is at the head of [`replica`](super).
///
/// A clone is another handle to the same replica. When the last one is dropped the replica is disposed of. Any number of
/// threads may read, watch, and publish to the key at once.
///
/// ```
/// use annals::Bus;
/// use annals::replica::{Replica, Update};
/// use annals::store::block_on;
///
/// let bus = Bus::new();
/// let replica = block_on(Replica::builder(|cents: &u64| Ok::<_, String>(*cents)).start(&bus, "price"))?;
/// bus.publish("price", Update::new(4, 1_250));
/// assert_eq!(replica.get().as_deref(), Some(&1_250));
/// bus.publish("price", Update::new(3, 1_200));
/// assert_eq!(replica.snapshot().statistics.ignored, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Replica<T>(StdArc<Owned<T>>);

/// What handles own. What receives and refetches has a share of what is shared, and none of this.
struct Owned<T> {
    shared: StdArc<Shared<T>>,
    /// Ends the subscription when it is dropped.
    subscription: CopyOnWrite<Box<dyn Any + Send + Sync>>,
}

impl<T> Owned<T> {
    fn dispose(&self) {
        self.shared.tell(&Input::Dispose);
        drop(self.subscription.take());
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.dispose();
    }
}

impl<T: Send + Sync + 'static> Replica<T> {
    /// Sets up a replica of what `parse` makes of the values that are published: the gate that every value has to pass.
    ///
    /// It is called once for each value, on the thread that delivers or refetches it, by several at once when several
    /// deliver. An error, or a panic, means that the value does not parse.
    ///
    /// What `parse` makes is dropped by whoever replaces it, or has read it last: to drop it must not panic.
    pub fn builder<V: Send + 'static, E: Into<BackendError>>(
        parse: impl Fn(&V) -> Result<T, E> + Send + Sync + 'static,
    ) -> ReplicaBuilder<V, T> {
        Self::patching(move |value: &V| parse(value).map(Change::whole))
    }

    /// As [`builder`](Self::builder), for a key to which patches are published as well: what makes a value of the one before.
    ///
    /// A patch is applied when it is the next one; otherwise it is late, or a gap, whatever [`OnGap`](super::OnGap) says. One that
    /// does not fit the value is a value that does not parse. Seeds, and what refetches bring, have to be whole.
    ///
    /// ```
    /// use annals::Bus;
    /// use annals::replica::{Change, Replica, Update};
    /// use annals::store::block_on;
    ///
    /// let bus = Bus::new();
    /// let words = Replica::patching(|word: &String| {
    ///     let word = word.clone();
    ///     Ok::<_, String>(Change::patch(move |before: &String| Ok::<_, String>(format!("{before} {word}"))))
    /// });
    /// let words = block_on(words.start(&bus, "words"))?;
    /// bus.publish("words", Update::new(8, "nothing to append to".to_owned()));
    /// assert_eq!((words.get(), words.snapshot().statistics.gaps), (None, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn patching<V: Send + 'static, E: Into<BackendError>>(
        parse: impl Fn(&V) -> Result<Change<T>, E> + Send + Sync + 'static,
    ) -> ReplicaBuilder<V, T> {
        ReplicaBuilder::new(StdArc::new(move |value: &V| parse(value).map_err(Into::into)))
    }
}

impl<T> Replica<T> {
    pub(super) fn new(shared: StdArc<Shared<T>>, subscription: Box<dyn Any + Send + Sync>) -> Self {
        let kept = CopyOnWrite::new();
        let mut subscription = Some(subscription);
        // Nobody else has the cell, so this is asked once.
        kept.change(|_| subscription.take().map(Some));
        Self(StdArc::new(Owned { shared, subscription: kept }))
    }

    /// The last good value; none when there has been none. Wait-free.
    ///
    /// Of two reads, one after the other, the second never gets an older value, whatever is received in between (unless
    /// somebody [rebased](Self::rebase)).
    pub fn get(&self) -> Option<StdArc<T>> {
        self.0.shared.read(|state| state.value().cloned())
    }

    /// The value and all that is known about it, as of one instant. Wait-free.
    pub fn snapshot(&self) -> Snapshot<T> {
        self.0.shared.read(Reconciler::snapshot)
    }

    /// How the value stands to what was published. Wait-free.
    pub fn status(&self) -> Status {
        self.0.shared.read(Reconciler::status)
    }

    /// Watches value and metadata: the snapshot of now, and then one for each change of it. What changes while nobody looks is
    /// told as one change. Statistics alone are no change.
    pub fn watch(&self) -> Watch<T> {
        Watch::new(self.0.shared.clone(), What::Everything)
    }

    /// Watches the value: as [`watch`](Self::watch), but only when a value was applied.
    pub fn watch_value(&self) -> Watch<T> {
        Watch::new(self.0.shared.clone(), What::Value)
    }

    /// Asks for a refetch. One that is in flight already is that refetch; it may have been read before this call. Without
    /// anybody to refetch nothing happens. Lock-free; does not wait.
    pub fn refetch(&self) {
        self.0.shared.tell(&Input::Refetch);
    }

    /// The source has begun to count anew: from now on sequences so far mean nothing, and the next value is the baseline,
    /// whatever its sequence. The value stands until then, the status is stale. What is being refetched is dropped, and
    /// refetched again.
    ///
    /// Only a caller can know this. A source that counts anew by itself looks like one whose updates are all late: they are
    /// ignored, and counted. Lock-free; does not wait.
    pub fn rebase(&self) {
        self.0.shared.tell(&Input::Rebase);
    }

    /// Ready when no refetch is in flight; at once when there is none, and after the replica was disposed of.
    ///
    /// Polls nothing but itself: the [`Refetcher`](super::Refetcher) has to be polled elsewhere, by another task or thread,
    /// or this is never ready. What is published meanwhile may lead to more refetches; this is ready between two of them
    /// only if it is polled then.
    pub fn when_idle(&self) -> impl Future<Output = ()> + Send + use<T>
    where
        T: Send + Sync,
    {
        let (shared, mut place) = (self.0.shared.clone(), Place::new(self.0.shared.clone()));
        poll_fn(move |context| place.poll(context, || shared.read(|state| state.refetching().is_none().then_some(()))))
    }

    /// Ends it: no value is applied from now on, the subscription is ended, watchers come to their end, and a refetch that
    /// lands later is ignored. The last good value can still be read; the status is stale. Idempotent; lock-free; does not
    /// wait for a delivery that has begun, whose value is not applied.
    pub fn dispose(&self) {
        self.0.dispose();
    }
}

impl<T> Clone for Replica<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Replica<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replica").field(&self.snapshot()).finish()
    }
}
