//! What all models share: how to run one, and how to say what it must have seen.
#![cfg(loom)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use annals::{Appender, Envelope, Feed, Log, Message, Name, Stream, Subscription};

/// Runs `model` in every interleaving with at most `bound` preemptions. Each execution notes what it came to; the set of
/// notes must be exactly `expected`: a checker that skips interleavings, or a model that cannot fail, shows here.
///
/// `ANNALS_LOOM_BOUND` adds to the bound; `ANNALS_LOOM_BOUND=all` takes it away.
pub fn explore<T: Ord + Debug + Clone + Send + 'static>(
    name: &str,
    bound: usize,
    expected: impl IntoIterator<Item = T>,
    model: impl Fn(Notes<T>) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound = match std::env::var("ANNALS_LOOM_BOUND") {
        Ok(all) if all == "all" => None,
        Ok(more) => Some(bound + more.parse::<usize>().expect("ANNALS_LOOM_BOUND is a number or `all`")),
        Err(_) => Some(bound),
    };
    let notes = Notes::default();
    let executions = Arc::new(Mutex::new(0u64));
    let started = Instant::now();
    let (seen, count) = (notes.clone(), executions.clone());
    builder.check(move || {
        annals::model_checking::empty_quarantine();
        *count.lock().unwrap() += 1;
        model(seen.clone());
    });
    let seen = notes.0.lock().unwrap().clone();
    let count = *executions.lock().unwrap();
    println!("{name}: {count} executions, {:.1} s, saw {seen:?}", started.elapsed().as_secs_f64());
    assert_eq!(seen, expected.into_iter().collect(), "{name}: what was seen is not what can happen");
}

/// What the executions of a model came to. Kept outside of loom.
pub struct Notes<T>(Arc<Mutex<BTreeSet<T>>>);

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Ord> Notes<T> {
    /// This execution came to `note`.
    pub fn note(&self, note: T) {
        self.0.lock().unwrap().insert(note);
    }
}

/// A log with segments of two slots and no clock.
pub fn log() -> Log {
    Log::builder().segment_slots(2).no_clock().build().unwrap()
}

/// The same, freeing what is unlinked as soon as it may.
pub fn reclaiming_log() -> Log {
    let log = log();
    annals::model_checking::arm_reclamation(&log);
    log
}

/// Positions and revisions are dense, and what the log says is what the streams say (L1, L2).
pub fn check_whole(log: &Log, streams: &[&Stream]) {
    let mut next = vec![0; streams.len()];
    for (at, envelope) in log.read().iter().enumerate() {
        assert_eq!(envelope.position(), at as u64 + 1);
        let stream = streams.iter().position(|stream| stream.id() == envelope.stream()).unwrap();
        assert_eq!(envelope.revision(), next[stream]);
        next[stream] += 1;
    }
    for (stream, next) in streams.iter().zip(next) {
        assert_eq!(stream.read().iter().count() as u64, next);
        assert_eq!(stream.revision().map_or(0, |revision| revision.get() + 1), next);
    }
}

/// An event.
pub fn event(name: &'static str) -> Message<'static> {
    Message::event(Name::from_static(name), "").unwrap()
}

/// An appender that has appended once: it has its memory, and takes no part in counting the handles to the log.
pub fn warm(stream: &Stream) -> Appender {
    let mut appender = stream.log().appender();
    appender.append(stream, event("e")).unwrap();
    appender
}

/// Appends `count` events, before the threads of a model start.
pub fn fill(stream: &Stream, count: u64) {
    let mut appender = stream.log().appender();
    for _ in 0..count {
        appender.append(stream, event("e")).unwrap();
    }
}

/// The same, with what delivery needs: it is made by a cell of `std` that loom does not look into, so not by two threads.
pub fn watched_log() -> Log {
    let log = log();
    log.on_failure(|_| {});
    log
}

/// What a handler got, in the order in which it was called. Kept outside of loom.
#[derive(Clone, Default)]
pub struct Got(Arc<Mutex<Vec<u64>>>);

impl Got {
    /// A handler that keeps positions.
    pub fn handler(&self) -> impl Fn(&Envelope) + Send + Sync + use<> {
        let got = self.clone();
        move |envelope: &Envelope| got.add(envelope)
    }

    pub fn add(&self, envelope: &Envelope) {
        self.0.lock().unwrap().push(envelope.position().get());
    }

    /// In the order of the calls.
    pub fn list(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }

    /// In the order of the log: observers are called in no order among threads.
    pub fn sorted(&self) -> Vec<u64> {
        let mut list = self.list();
        list.sort_unstable();
        list
    }
}

/// What one may touch at a time, and only after all that the others did: anything else fails the model.
#[derive(Clone, Default)]
pub struct Witness(Arc<Touched>);

struct Touched(loom::cell::UnsafeCell<()>);

impl Default for Touched {
    fn default() -> Self {
        Self(loom::cell::UnsafeCell::new(()))
    }
}

// SAFETY: nothing is in it; loom checks every access.
unsafe impl Send for Touched {}
// SAFETY: as above.
unsafe impl Sync for Touched {}

impl Witness {
    pub fn touch(&self) {
        self.0.0.with_mut(|_| {});
    }
}

/// No handler failed: loom's complaints are panics, and those of handlers stay in delivery.
pub fn check_no_failure(log: &Log) {
    assert_eq!(log.metrics().failed, 0, "a handler failed, or loom did in it");
}

/// A thread that appends so often.
pub fn appending(stream: &Stream, count: u64) -> loom::thread::JoinHandle<()> {
    let stream = stream.clone();
    loom::thread::spawn(move || fill(&stream, count))
}

/// An observer that keeps what it gets.
pub fn observe(feed: Feed, got: Got) -> Subscription {
    feed.observe(got.handler()).unwrap()
}

/// A sequential subscription that keeps what it gets. Its handler is never called by two, nor before what the last call did is to be seen (L10).
pub fn subscribe(feed: Feed, got: Got) -> Subscription {
    let witness = Witness::default();
    feed.subscribe(move |envelope: &Envelope| {
        witness.touch();
        got.add(envelope);
        witness.touch();
    })
    .unwrap()
}
