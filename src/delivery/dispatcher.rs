//! Who delivers what was appended without waiting for its delivery: a thread of the log's own, started with the first such
//! append, ended with the log.
//!
//! It is told positions, not envelopes: the log is the queue. Neighbouring positions are kept as one span, so that a fast
//! appender costs no memory; others take 16 bytes each until they are delivered.

use std::ops::Range;

use super::deliver::Delivery;
use super::waiting::Waiters;
use crate::log::{Envelope, Log};
use crate::model::{Failure, HandlerError, Position};
use crate::sync::{Arc, AtomicU32, CopyOnWrite, Ordering, turn, wait};

/// How many spans are copied at most when one is added.
const SPANS: usize = 64;

pub(crate) struct Dispatcher {
    mailbox: Arc<Mailbox>,
    started: AtomicU32,
}

struct Mailbox {
    pending: CopyOnWrite<Pending>,
    waiters: Waiters,
    stopped: AtomicU32,
}

/// What is to be delivered, the latest spans first. While there is something, it keeps the log.
#[derive(Clone)]
struct Pending {
    log: Log,
    /// Indexes of envelopes, in the order in which they were added.
    spans: Vec<Range<u64>>,
    older: Option<Arc<Pending>>,
}

impl Dispatcher {
    pub(crate) fn new() -> Self {
        let mailbox = Mailbox { pending: CopyOnWrite::new(), waiters: Waiters::new(), stopped: AtomicU32::new(0) };
        Self { mailbox: Arc::new(mailbox), started: AtomicU32::new(0) }
    }

    /// Has the envelopes of one append delivered. Lock-free, but for starting the thread.
    pub(crate) fn add(&self, log: &Log, envelopes: &[Envelope]) {
        let (Some(first), Some(last)) = (envelopes.first(), envelopes.last()) else { return };
        let span = first.position().get() - 1..last.position().get();
        self.mailbox.pending.change(|old| Some(Some(Pending::with(old, log, span.clone()))));
        // Relaxed: who starts the thread is found out by the swap alone.
        if self.started.swap(1, Ordering::Relaxed) == 0 {
            let mailbox = self.mailbox.clone();
            if !wait::spawn("annals", move || mailbox.run()) {
                // No thread to be had: this one does the work, and the next append tries again.
                self.started.store(0, Ordering::Relaxed);
                self.mailbox.deliver_pending();
                return;
            }
        }
        self.mailbox.waiters.wake_all();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // Relaxed: nothing comes with it; the fences of `Waiters` see to it that the thread sees it or is woken.
        self.mailbox.stopped.store(1, Ordering::Relaxed);
        self.mailbox.waiters.wake_all();
    }
}

impl Pending {
    fn with(old: Option<&Self>, log: &Log, span: Range<u64>) -> Self {
        let Some(old) = old else { return Self { log: log.clone(), spans: vec![span], older: None } };
        if old.spans.len() >= SPANS {
            return Self { log: log.clone(), spans: vec![span], older: Some(Arc::new(old.clone())) };
        }
        let mut next = old.clone();
        match next.spans.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => next.spans.push(span),
        }
        next
    }

    /// All spans, in the order of the log.
    fn all(&self) -> Vec<Range<u64>> {
        let (mut all, mut at) = (Vec::new(), Some(self));
        while let Some(pending) = at {
            all.extend_from_slice(&pending.spans);
            at = pending.older.as_deref();
        }
        all.sort_unstable_by_key(|span| span.start);
        all
    }
}

impl Mailbox {
    fn run(&self) {
        loop {
            self.deliver_pending();
            // Relaxed: as in `drop`.
            let stopped = || self.stopped.load(Ordering::Relaxed) != 0;
            if stopped() {
                return;
            }
            self.waiters.block(None, || stopped() || self.pending.load().get().is_some());
        }
    }

    fn deliver_pending(&self) {
        let taken = self.pending.take();
        let Some(pending) = taken.get() else { return };
        let (log, spans) = (pending.log.clone(), pending.all());
        drop(taken);
        for index in spans.into_iter().flatten() {
            // Later only when there is no thread to be had, and a handler appends.
            turn::take(
                || deliver(&log, index),
                || {
                    let log = log.clone();
                    Box::new(move || deliver(&log, index))
                },
            );
        }
    }
}

fn deliver(log: &Log, index: u64) {
    let delivery = Delivery::of(log);
    let position = Position::new(index + 1);
    match log.get(position) {
        Some(envelope) => drop(delivery.deliver(log, &[envelope])),
        None => delivery.report(&Failure::new(position, None, HandlerError::Removed(1))),
    }
}
