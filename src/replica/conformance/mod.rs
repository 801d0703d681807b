//! The contract of [`Transport`] as tests, one for each clause, against any implementation.
//!
//! Needs no runtime: [`check`] is a future like any other. Each clause gets a transport of its own from the factory, whose keys
//! nobody else may use. Deliveries may take their time: each clause waits for what has to arrive, and publishes a mark after
//! what must not; what comes after the mark it does not see. Races between threads are the implementation's to test.
//!
//! ```
//! use annals::Bus;
//! use annals::replica::conformance;
//! use annals::store::block_on;
//!
//! block_on(conformance::check(async || Bus::new())).assert();
//! ```

mod deliver;
mod handlers;
mod notes;
mod subscriptions;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use self::notes::Notes;
use super::shared::guarded;
use super::transport::{Transport, TransportSubscription};
use super::update::Update;
use crate::store::conformance::{Found, holds, patience, same};
use crate::sync::StdArc;

pub use crate::store::conformance::{Report, Violation};

struct Run<F> {
    make: F,
    patience: Duration,
    report: Report,
}

/// Holds a transport against the contract, clause by clause, each with a transport that `make` makes.
///
/// Does not stop at a violation. A clause that has not come to its end in 10 seconds is violated. Handlers of the suite panic,
/// without a word to the panic hook.
pub async fn check<T: Transport<String>>(make: impl AsyncFn() -> T) -> Report {
    check_within(Duration::from_secs(10), make).await
}

/// As [`check`], with another time for each clause.
pub async fn check_within<T: Transport<String>>(patience: Duration, make: impl AsyncFn() -> T) -> Report {
    let mut run = Run { make, patience, report: Report::default() };
    deliver::clauses(&mut run).await;
    subscriptions::clauses(&mut run).await;
    handlers::clauses(&mut run).await;
    run.report
}

impl<T: Transport<String>, F: AsyncFn() -> T> Run<F> {
    async fn clause<C: Future<Output = Found>>(&mut self, name: &'static str, clause: impl FnOnce(StdArc<T>) -> C) {
        let transport = StdArc::new((self.make)().await);
        self.judge(name, clause(transport)).await;
    }

    /// Tries a clause that only transports must keep that deliver at once.
    async fn clause_at_once<C: Future<Output = Found>>(
        &mut self,
        name: &'static str,
        clause: impl FnOnce(StdArc<T>) -> C,
    ) {
        let transport = StdArc::new((self.make)().await);
        if transport.delivers_at_once() {
            self.judge(name, clause(transport)).await;
        } else {
            self.report.skipped.push(name);
        }
    }

    async fn judge(&mut self, name: &'static str, clause: impl Future<Output = Found>) {
        let never = || Err(format!("it did not come to its end in {:?}", self.patience));
        match patience::within(self.patience, guarded_all(clause)).await.unwrap_or_else(never) {
            Ok(()) => self.report.held.push(name),
            Err(found) => self.report.violated.push(Violation { clause: name, found }),
        }
    }
}

/// A panic that reaches whoever publishes or subscribes is a violation, too.
async fn guarded_all(clause: impl Future<Output = Found>) -> Found {
    let mut clause = pin!(clause);
    poll_fn(|context| match guarded(|| clause.as_mut().poll(context)) {
        Ok(polled) => polled,
        Err(panicked) => Poll::Ready(Err(format!("the transport panicked: {panicked}"))),
    })
    .await
}

/// One who notes its name, and the sequence of what it gets.
type Noted = (char, u64);

/// The sequence of the update that is published after what must not arrive.
const MARK: u64 = 1_000_000;

async fn noting<T: Transport<String>>(
    transport: &T,
    key: &str,
    name: char,
    notes: &Notes<Noted>,
) -> Result<T::Subscription, String> {
    let notes = notes.clone();
    subscribe(transport, key, move |update| notes.add((name, update.sequence))).await
}

async fn subscribe<T: Transport<String>>(
    transport: &T,
    key: &str,
    handler: impl Fn(&Update<String>) + Send + Sync + 'static,
) -> Result<T::Subscription, String> {
    let subscribed = transport.subscribe(key, handler).await;
    subscribed.map_err(|failure| format!("a subscription failed: {failure}"))
}

fn update(sequence: u64) -> Update<String> {
    Update::new(sequence, sequence.to_string())
}

async fn publish(transport: &impl Transport<String>, key: &str, sequence: u64) -> Found {
    let published = transport.publish(key, update(sequence)).await;
    published.map_err(|failure| format!("a publish failed: {failure}"))
}

/// Publishes a mark, waits until all of `live` have noted it, and takes what was noted before. The mark has to reach these,
/// once, in this order, and nobody else.
async fn settle(
    transport: &impl Transport<String>,
    key: &str,
    notes: &Notes<Noted>,
    live: &[char],
) -> Result<Vec<Noted>, String> {
    publish(transport, key, MARK).await?;
    let is_mark = |note: &Noted| note.1 == MARK;
    notes.until(|all| live.iter().all(|name| all.contains(&(*name, MARK)))).await;
    let (marks, before): (Vec<_>, Vec<_>) = notes.take().into_iter().partition(is_mark);
    let got: Vec<char> = marks.into_iter().map(|(name, _)| name).collect();
    same("who gets what is published at last", got.as_slice(), live)?;
    Ok(before)
}
