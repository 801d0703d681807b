//! Telling `tracing` and `metrics` what happens, for those who asked for the features. Nothing here is called by an append
//! that goes well.

use crate::model::Failure;

/// A delivery failed.
#[cfg(feature = "tracing")]
pub(crate) fn failed(failure: &Failure) {
    tracing::warn!(
        position = failure.position().get(),
        subscription = failure.subscription(),
        error = %failure.error(),
        "a delivery failed"
    );
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn failed(_: &Failure) {}

/// A sequential subscription does not go on after a failure.
#[cfg(feature = "tracing")]
pub(crate) fn halted(name: Option<&str>, position: u64, parked: bool) {
    tracing::warn!(position, subscription = name, parked, "a subscription does not go on");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn halted(_: Option<&str>, _: u64, _: bool) {}

/// Somebody subscribed, or unsubscribed.
#[cfg(feature = "tracing")]
pub(crate) fn subscribed(number: u64, name: Option<&str>, begins: bool) {
    tracing::debug!(number, subscription = name, begins, "a subscription begins or ends");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn subscribed(_: u64, _: Option<&str>, _: bool) {}

/// The log was closed.
#[cfg(feature = "tracing")]
pub(crate) fn closed(end: u64) {
    tracing::info!(end, "a log was closed");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn closed(_: u64) {}

#[cfg(feature = "metrics")]
impl crate::log::Log {
    /// Tells the recorder of the `metrics` crate what [`metrics`](Self::metrics) says, as of now: call it as often as it is
    /// to be looked at. Counters `annals_appended`, `annals_conflicts`, `annals_helped`, `annals_lost_swaps`,
    /// `annals_delivered`, `annals_failed`, gauge `annals_subscribers`, each with the label `log`; and gauge
    /// `annals_subscription_lag` with the label `subscription`, too.
    pub fn record_metrics(&self, log: &str) {
        let now = self.metrics();
        let log = || log.to_owned();
        metrics::counter!("annals_appended", "log" => log()).absolute(now.appended);
        metrics::counter!("annals_conflicts", "log" => log()).absolute(now.conflicts);
        metrics::counter!("annals_helped", "log" => log()).absolute(now.helped);
        metrics::counter!("annals_lost_swaps", "log" => log()).absolute(now.lost_swaps);
        metrics::counter!("annals_delivered", "log" => log()).absolute(now.delivered);
        metrics::counter!("annals_failed", "log" => log()).absolute(now.failed);
        metrics::gauge!("annals_subscribers", "log" => log()).set(as_gauge(now.subscribers));
        for subscription in now.subscriptions {
            metrics::gauge!("annals_subscription_lag", "log" => log(), "subscription" => String::from(subscription.name))
                .set(as_gauge(subscription.lag));
        }
    }
}

/// Gauges are floating: exact up to 2^53.
#[cfg(feature = "metrics")]
#[allow(clippy::cast_precision_loss, reason = "as said above")]
fn as_gauge(number: u64) -> f64 {
    number as f64
}
