//! What a log has done, in numbers.

use super::deliver::{DELIVERED, Delivery, FAILED};
use super::keyed::Topic;
use super::member::Member;
use crate::log::{HELPED, LOST, Log, REFUSED, Stream};
use crate::model::Position;
use crate::sync::Arc;

/// What a log has done since it was made. Each number was right at some instant of the call that returned it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Envelopes appended.
    pub appended: u64,
    /// Appends refused because of an expectation or a condition.
    pub conflicts: u64,
    /// Appends that a thread finished for another one, which had not got to it.
    pub helped: u64,
    /// Tries to append that another append was faster than.
    pub lost_swaps: u64,
    /// Calls of handlers that went well.
    pub delivered: u64,
    /// Deliveries that failed.
    pub failed: u64,
    /// Subscribers, of streams included; followers are not counted.
    pub subscribers: u64,
    /// Subscriptions that have a name and are sequential.
    pub subscriptions: Vec<SubscriptionMetrics>,
}

/// How far a named subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionMetrics {
    /// Its name.
    pub name: Box<str>,
    /// Position of the last envelope that it has passed.
    pub position: Position,
    /// How far that is behind the end of the log. Of a subscription to a stream, appends to other streams count.
    pub lag: u64,
    /// Envelopes that its handler took.
    pub delivered: u64,
    /// Envelopes that its handler failed at, and gaps by retention.
    pub failed: u64,
    /// It waits, because its handler failed, to be told to go on.
    pub parked: bool,
}

impl Log {
    /// What the log has done. Takes a look at each named subscription; costs appends nothing.
    pub fn metrics(&self) -> Metrics {
        let core = self.core();
        let mut metrics = Metrics {
            conflicts: core.tally.sum(REFUSED),
            helped: core.tally.sum(HELPED),
            lost_swaps: core.tally.sum(LOST),
            subscribers: self.subscriber_count(),
            ..Metrics::default()
        };
        if let Some(delivery) = core.watcher::<Delivery>() {
            metrics.delivered = delivery.tally.sum(DELIVERED);
            metrics.failed = delivery.tally.sum(FAILED);
            let names = delivery.names.load();
            metrics.subscriptions = names.get().into_iter().flatten().map(|it| it.metrics()).collect();
        }
        // Last: no subscription is further than the end.
        let end = self.end().get();
        metrics.appended = end - core.start;
        for subscription in &mut metrics.subscriptions {
            subscription.lag = end.saturating_sub(subscription.position.get());
        }
        metrics
    }

    /// How many subscriptions there are, to the log and to its streams. Followers hold nothing that could leak, and are not
    /// counted.
    pub fn subscriber_count(&self) -> u64 {
        let Some(delivery) = self.core().watcher::<Delivery>() else { return 0 };
        let mut count = delivery.all.len();
        delivery.streams.for_each(|topic| count += topic.set.len());
        count as u64
    }
}

impl Stream {
    /// How many subscriptions to this stream there are; those to the whole log are not counted.
    pub fn subscriber_count(&self) -> u64 {
        let Some(delivery) = self.log().core().watcher::<Delivery>() else { return 0 };
        let count = |topic: &Arc<Topic<Arc<Member>>>| topic.set.len() as u64;
        delivery.streams.with(self.id(), count).unwrap_or(0)
    }
}
