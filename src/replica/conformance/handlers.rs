//! What handlers may do, and how they may fail.

use std::panic::resume_unwind;

use super::{MARK, Noted, Notes, Run, Transport, holds, noting, publish, same, settle, subscribe, update};
use crate::store::block_on;
use crate::sync::{CopyOnWrite, StdArc};

/// A subscription that a handler may end, or put there.
struct Held<S>(CopyOnWrite<S>);

impl<S> Held<S> {
    fn none() -> StdArc<Self> {
        StdArc::new(Self(CopyOnWrite::new()))
    }

    fn put(&self, subscription: S) {
        let mut subscription = Some(subscription);
        self.0.change(|there| match there {
            None => subscription.take().map(Some),
            Some(_) => None,
        });
    }

    fn end(&self) {
        drop(self.0.take());
    }
}

/// What is published from within a handler; a failure shows as what does not arrive.
fn publish_within(transport: &impl Transport<String>, key: &str, sequence: u64) {
    drop(block_on(transport.publish(key, update(sequence))));
}

pub(super) async fn clauses<T: Transport<String>>(run: &mut Run<impl AsyncFn() -> T>) {
    changing(run).await;
    publishing(run).await;

    run.clause("a handler that panics harms nobody, and is counted", async |transport| {
        let notes = Notes::new();
        let _first = noting(&*transport, "key", 'a', &notes).await?;
        let noted = notes.clone();
        let _panics = subscribe(&*transport, "key", move |update| match update.sequence {
            1 => resume_unwind(Box::new("a handler of the suite panics")),
            sequence => noted.add(('p', sequence)),
        })
        .await?;
        let _last = noting(&*transport, "key", 'b', &notes).await?;
        publish(&*transport, "key", 1).await?;
        publish(&*transport, "key", 2).await?;
        let got = settle(&*transport, "key", &notes, &['a', 'p', 'b']).await?;
        same("what arrives", got, vec![('a', 1), ('b', 1), ('a', 2), ('p', 2), ('b', 2)])?;
        same("the count of failures", transport.failed_count(), 1)
    })
    .await;
}

/// Handlers that change who is subscribed.
async fn changing<T: Transport<String>>(run: &mut Run<impl AsyncFn() -> T>) {
    run.clause("who is removed during a delivery still gets it, and nothing later", async |transport| {
        let (notes, second) = (Notes::new(), Held::none());
        let (noted, ends) = (notes.clone(), second.clone());
        let _first = subscribe(&*transport, "key", move |update| {
            noted.add(('a', update.sequence));
            ends.end();
        })
        .await?;
        second.put(noting(&*transport, "key", 'b', &notes).await?);
        let _last = noting(&*transport, "key", 'c', &notes).await?;
        publish(&*transport, "key", 1).await?;
        publish(&*transport, "key", 2).await?;
        let got = settle(&*transport, "key", &notes, &['a', 'c']).await?;
        same("what arrives", got, vec![('a', 1), ('b', 1), ('c', 1), ('a', 2), ('c', 2)])
    })
    .await;

    run.clause("who is added during a delivery gets only what is published later", async |transport| {
        let (notes, added) = (Notes::new(), Held::none());
        let (noted, adds, to) = (notes.clone(), added.clone(), transport.clone());
        let _first = subscribe(&*transport, "key", move |update| {
            noted.add(('a', update.sequence));
            if update.sequence == 1
                && let Ok(subscription) = block_on(noting(&*to, "key", 'b', &noted))
            {
                adds.put(subscription);
            }
        })
        .await?;
        publish(&*transport, "key", 1).await?;
        same("what arrives", settle(&*transport, "key", &notes, &['a', 'b']).await?, vec![('a', 1)])?;
        publish(&*transport, "key", 2).await?;
        let got = settle(&*transport, "key", &notes, &['a', 'b']).await?;
        added.end();
        same("what arrives then", got, vec![('a', 2), ('b', 2)])
    })
    .await;

    run.clause("a handler may end its own subscription", async |transport| {
        let (notes, own) = (Notes::new(), Held::none());
        let (noted, ends) = (notes.clone(), own.clone());
        let once = move |update: &super::Update<String>| {
            noted.add(('a', update.sequence));
            ends.end();
        };
        own.put(subscribe(&*transport, "key", once).await?);
        let _other = noting(&*transport, "key", 'b', &notes).await?;
        publish(&*transport, "key", 1).await?;
        publish(&*transport, "key", 2).await?;
        let got = settle(&*transport, "key", &notes, &['b']).await?;
        same("what arrives", got, vec![('a', 1), ('b', 1), ('b', 2)])
    })
    .await;
}

/// Handlers that publish.
async fn publishing<T: Transport<String>>(run: &mut Run<impl AsyncFn() -> T>) {
    run.clause("what a handler publishes is delivered after what is being delivered", async |transport| {
        let notes: Notes<Noted> = Notes::new();
        let (noted, to) = (notes.clone(), transport.clone());
        let first = subscribe(&*transport, "key", move |update| {
            noted.add(('a', update.sequence));
            if update.sequence == 1 {
                publish_within(&*to, "key", 2);
                publish_within(&*to, "other", 3);
            }
        })
        .await?;
        let _second = noting(&*transport, "key", 'b', &notes).await?;
        let _other = noting(&*transport, "other", 'o', &notes).await?;
        publish(&*transport, "key", 1).await?;
        notes.until(|all| all.len() >= 5).await;
        let (other, got): (Vec<_>, Vec<_>) = notes.take().into_iter().partition(|note| note.0 == 'o');
        drop(first);
        same("what arrives", got, vec![('a', 1), ('b', 1), ('a', 2), ('b', 2)])?;
        same("what arrives of another key", other, vec![('o', 3)])
    })
    .await;

    run.clause("handlers that publish on and on are never called one inside the other", async |transport| {
        const LAST: u64 = 100;
        let notes = Notes::new();
        let (noted, to) = (notes.clone(), transport.clone());
        let chain = subscribe(&*transport, "key", move |update| {
            // Delivered twice, each would lead to two.
            let is_first = !noted.all().contains(&('(', update.sequence));
            noted.add(('(', update.sequence));
            if is_first && update.sequence < LAST {
                publish_within(&*to, "key", update.sequence + 1);
            }
            noted.add((')', update.sequence));
        })
        .await?;
        publish(&*transport, "key", 1).await?;
        notes.until(|all| all.contains(&(')', LAST))).await;
        let got = notes.take();
        drop(chain);
        let should: Vec<_> = (1..=LAST).flat_map(|sequence| [('(', sequence), (')', sequence)]).collect();
        holds("a handler is called while another call of it goes on, or not at all", got == should)?;
        holds("the mark is none of them", LAST < MARK)
    })
    .await;
}
