//! What the features `tracing` and `metrics` tell.
#![cfg(all(feature = "tracing", feature = "metrics"))]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use annals::{Envelope, Log, Message};
use tracing::field::{Field, Visit};
use tracing::span;

/// Keeps the message of every event.
struct Listens(Arc<Mutex<Vec<String>>>);

struct Says(String);

impl Visit for Says {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for Listens {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut says = Says(String::new());
        event.record(&mut says);
        self.0.lock().unwrap().push(says.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn failures_and_ends_are_told_and_counters_are_recorded() {
    let heard = Arc::default();
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let numbers = recorder.snapshotter();
    tracing::subscriber::with_default(Listens(Arc::clone(&heard)), || {
        metrics::with_local_recorder(&recorder, || {
            let log = Log::new();
            let fails = log.feed().named("billing").subscribe(|_: &Envelope| Err::<(), _>("no")).unwrap();
            log.append("s", Message::event("E", "").unwrap()).unwrap();
            log.record_metrics("orders");
            drop(fails);
            log.close();
        });
    });
    let heard = heard.lock().unwrap().join("\n");
    for part in ["a delivery failed", "subscription=\"billing\"", "error=the handler failed: no", "begins=false"] {
        assert!(heard.contains(part), "{part} is not in:\n{heard}");
    }
    let numbers: BTreeMap<_, _> = numbers
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| (key.key().name().to_owned(), format!("{value:?}")))
        .collect();
    assert_eq!(numbers["annals_appended"], "Counter(1)");
    assert_eq!(numbers["annals_failed"], "Counter(1)");
    assert!(numbers["annals_subscription_lag"].contains("0.0"), "{numbers:?}");
}
