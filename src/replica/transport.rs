//! One interface over every transport of updates.

use std::future::{Future, ready};

use thiserror::Error;

use super::update::Update;
use crate::delivery::{Bus, BusSubscription};
use crate::store::BackendError;

/// Carries updates from who publishes to a key to those who subscribed to it. Keeps nothing.
///
/// - A publish goes to those who are subscribed to the key as its delivery begins in their process, in the order of their
///   subscriptions. One who is removed by an earlier handler during the delivery still gets it; one who is added does not.
/// - What one thread publishes to one key, one after the other, arrives in that order, and each subscriber gets it once.
///   Nothing is looked at, left out, or put in order by its sequence.
/// - Handlers may publish, subscribe and unsubscribe. What they publish is delivered after what is being delivered: everybody
///   sees 1 then 2. A publish, or a subscription to a key that has one, that a handler waits for with its thread must become
///   ready before the handler has returned.
/// - A handler that panics harms nobody: the others are called, the publisher is told nothing, and it is
///   [counted](Self::failed_count), as is a message that could not be decoded, which no handler gets.
///
/// `annals::replica::conformance` (feature `testing`) tells whether it is so. [`Bus`] is the transport inside a process: its
/// futures are ready at once, and a publish has called the handlers when it is ready.
///
/// ```
/// use annals::Bus;
/// use annals::replica::{Transport, Update};
/// use annals::store::block_on;
///
/// async fn greet(transport: &impl Transport<String>) -> Result<(), Box<dyn std::error::Error>> {
///     let _hears = transport.subscribe("greeting", |update| println!("{}: {}", update.sequence, update.value)).await?;
///     transport.publish("greeting", Update::new(0, "hello".to_owned())).await?;
///     Ok(())
/// }
///
/// block_on(greet(&Bus::new())).unwrap();
/// ```
pub trait Transport<V: Send + 'static>: Send + Sync + 'static {
    /// What ends a subscription.
    type Subscription: TransportSubscription;

    /// Whether the handlers in this process have been called when a publish is ready. (From within a handler: when the
    /// outermost publish is.) Always the same for one transport.
    fn delivers_at_once(&self) -> bool;

    /// Gives an update to the subscribers of a key. Without any, nothing happens.
    ///
    /// The future does nothing until it is polled; of one that is dropped before it is ready nobody knows whether it was
    /// published.
    ///
    /// # Errors
    /// [`PublishFailure`].
    fn publish(&self, key: &str, update: Update<V>) -> impl Future<Output = Result<(), PublishFailure>> + Send;

    /// Calls `handler` with every update that is published to the key after this is ready, until the subscription ends. On
    /// whatever thread delivers; several at once when several publish.
    ///
    /// # Errors
    /// [`SubscribeFailure`]. Then the handler is not called any more.
    fn subscribe(
        &self,
        key: &str,
        handler: impl Fn(&Update<V>) + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Self::Subscription, SubscribeFailure>> + Send;

    /// How many keys have subscribers in this process: those of subscriptions that were not ended.
    fn key_count(&self) -> usize;

    /// How many calls of handlers panicked, and how many messages could not be decoded, in this process.
    fn failed_count(&self) -> u64;
}

/// A subscription to a key of a [`Transport`]. Dropping it unsubscribes.
pub trait TransportSubscription: Send + Sync + 'static {
    /// No delivery that begins from now on calls the handler; those that have begun may. Does not wait. Again it does nothing,
    /// whoever has subscribed to the key since.
    fn unsubscribe(&self);
}

/// An update that was not published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishFailure {
    /// The transport has no place for such a key.
    #[error("the transport has no place for key {key:?}")]
    #[non_exhaustive]
    InvalidKey {
        /// Which.
        key: Box<str>,
    },
    /// The transport was closed.
    #[error("the transport is closed")]
    Closed,
    /// The transport failed, or the codec. Whether the update was published is for the transport to say.
    #[error("the transport failed: {0}")]
    Backend(#[source] BackendError),
}

/// A subscription that did not begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubscribeFailure {
    /// The transport has no place for such a key.
    #[error("the transport has no place for key {key:?}")]
    #[non_exhaustive]
    InvalidKey {
        /// Which.
        key: Box<str>,
    },
    /// The transport was closed.
    #[error("the transport is closed")]
    Closed,
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Backend(#[source] BackendError),
}

impl PublishFailure {
    /// A key that is none, for a transport to report.
    pub fn invalid_key(key: &str) -> Self {
        Self::InvalidKey { key: key.into() }
    }
}

impl SubscribeFailure {
    /// A key that is none, for a transport to report.
    pub fn invalid_key(key: &str) -> Self {
        Self::InvalidKey { key: key.into() }
    }
}

/// The transport inside a process. Any text is a key, nothing fails, and what is published is lent to the handlers, not copied.
impl<V: Send + 'static> Transport<V> for Bus<Update<V>> {
    type Subscription = BusSubscription<Update<V>>;

    fn delivers_at_once(&self) -> bool {
        true
    }

    async fn publish(&self, key: &str, update: Update<V>) -> Result<(), PublishFailure> {
        // What failed is counted by the bus.
        drop(Bus::publish(self, key, update));
        Ok(())
    }

    fn subscribe(
        &self,
        key: &str,
        handler: impl Fn(&Update<V>) + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Self::Subscription, SubscribeFailure>> + Send {
        ready(Ok(Bus::subscribe(self, key, handler)))
    }

    fn key_count(&self) -> usize {
        Bus::key_count(self)
    }

    fn failed_count(&self) -> u64 {
        Bus::failed_count(self)
    }
}

impl<V: Send + 'static> TransportSubscription for BusSubscription<Update<V>> {
    fn unsubscribe(&self) {
        BusSubscription::unsubscribe(self);
    }
}
