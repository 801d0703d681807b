//! A number that goes up and down and is only ever shown.

use std::sync::atomic::{AtomicU64, Ordering};

/// Nothing depends on it, so it is the standard library's in models too: none of their interleavings is about it.
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, amount: u64) {
        // Relaxed, here and below: nothing is published by a statistic.
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes away what was added before.
    pub(crate) fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
