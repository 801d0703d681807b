//! Setting up a replica.

use std::future::Future;

use super::confirms::Confirmations;
use super::handle::Replica;
use super::reconciler::{Input, OnGap, Rules};
use super::refetcher::{Refetched, Refetcher};
use super::shared::{Parse, Shared, came, whole};
use super::transport::{SubscribeFailure, Transport};
use super::update::{Schema, Update};
use crate::sync::StdArc;

/// A replica to be started: see [`Replica::builder`].
#[must_use = "a replica receives from when it is started"]
pub struct ReplicaBuilder<V: 'static, T> {
    parse: Parse<V, T>,
    rules: Rules,
    seed: Option<Update<V>>,
    confirms: Option<Confirmations<T>>,
}

impl<V: Send + 'static, T: Send + Sync + 'static> ReplicaBuilder<V, T> {
    pub(super) fn new(parse: Parse<V, T>) -> Self {
        Self { parse, rules: Rules::default(), seed: None, confirms: None }
    }

    /// Values should be of this schema. One with another major number is not applied, and leads to a refetch; another minor
    /// number does no harm; of one that does not say, or not so that it can be read, nothing is asked.
    pub fn schema(mut self, expected: Schema) -> Self {
        self.rules.schema = Some(expected);
        self
    }

    /// What to do with an update when one before it is missing. Unless set, refetch.
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.rules.on_gap = on_gap;
        self
    }

    /// The value to begin with. It is taken after the replica has subscribed; whatever its sequence, it is what updates are
    /// counted from, unless a newer one has come before it.
    pub fn seed(mut self, seed: Update<V>) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Tells [`Writes`](super::Writes) of each value, and of the operations that it contains: before whoever publishes it
    /// goes on.
    pub fn confirms(mut self, confirmations: Confirmations<T>) -> Self {
        self.confirms = Some(confirmations);
        self
    }

    /// Subscribes to the key, then takes the seed. Without refetches: after a gap, or what cannot be read, the value stands
    /// until the next one after it is published again, or [`OnGap::Apply`] allows another.
    ///
    /// The future does nothing until it is polled, and is dropped without a trace.
    ///
    /// # Errors
    /// [`SubscribeFailure`].
    pub async fn start(mut self, transport: &impl Transport<V>, key: &str) -> Result<Replica<T>, SubscribeFailure> {
        self.rules.refetches = false;
        self.subscribe(transport, key).await.map(|(replica, _, _)| replica)
    }

    /// As [`start`](Self::start), with somebody to ask how things stand when updates do not tell.
    ///
    /// `refetch` begins one: it is called by the [`Refetcher`], which has to be polled, and never twice at once. Its answer
    /// is a baseline as the seed is; nothing, and an error, leave the replica stale until the next update that asks for
    /// another. None is begun by the start: [`Replica::refetch`] asks for one.
    ///
    /// The source must not be behind what is published: who publishes an update stores it first. Otherwise what is refetched
    /// may be older than what was asked for, and the replica stays stale until the next update.
    ///
    /// # Errors
    /// [`SubscribeFailure`].
    pub async fn start_refetching<F: Future<Output = Refetched<V>> + Send + 'static>(
        mut self,
        transport: &impl Transport<V>,
        key: &str,
        mut refetch: impl FnMut() -> F + Send + 'static,
    ) -> Result<(Replica<T>, Refetcher<V, T>), SubscribeFailure> {
        self.rules.refetches = true;
        let (replica, shared, parse) = self.subscribe(transport, key).await?;
        let refetcher = Refetcher::new(shared, parse, Box::new(move || Box::pin(refetch())));
        Ok((replica, refetcher))
    }

    async fn subscribe(self, transport: &impl Transport<V>, key: &str) -> Result<Started<V, T>, SubscribeFailure> {
        let Self { parse, rules, seed, confirms } = self;
        let shared = Shared::new(rules, confirms.map(Confirmations::into_inner));
        let (receives, parses) = (shared.clone(), parse.clone());
        let receive = move |update: &Update<V>| _ = receives.tell(&came(&parses, update));
        let subscription = transport.subscribe(key, receive).await?;
        let replica = Replica::new(shared.clone(), Box::new(subscription));
        if let Some(seed) = seed {
            shared.tell(&Input::Seed(whole(&parse, &seed)));
        }
        Ok((replica, shared, parse))
    }
}

type Started<V, T> = (Replica<T>, StdArc<Shared<T>>, Parse<V, T>);

impl<V: 'static, T> std::fmt::Debug for ReplicaBuilder<V, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}
