//! How subscriptions end, and what they leave behind.

use super::{Noted, Notes, Run, Transport, TransportSubscription, noting, publish, same, settle, subscribe};

/// Notes that it is dropped.
struct Gone(Notes<Noted>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.add(('g', 0));
    }
}

pub(super) async fn clauses<T: Transport<String>>(run: &mut Run<impl AsyncFn() -> T>) {
    run.clause("who unsubscribed gets nothing any more", async |transport| {
        let notes = Notes::new();
        let first = noting(&*transport, "key", 'a', &notes).await?;
        let _second = noting(&*transport, "key", 'b', &notes).await?;
        publish(&*transport, "key", 1).await?;
        same("what arrives", settle(&*transport, "key", &notes, &['a', 'b']).await?, vec![('a', 1), ('b', 1)])?;
        first.unsubscribe();
        publish(&*transport, "key", 2).await?;
        same("what arrives then", settle(&*transport, "key", &notes, &['b']).await?, vec![('b', 2)])
    })
    .await;

    run.clause("a subscription that is dropped is ended", async |transport| {
        let notes = Notes::new();
        let first = noting(&*transport, "key", 'a', &notes).await?;
        let _second = noting(&*transport, "key", 'b', &notes).await?;
        drop(first);
        publish(&*transport, "key", 1).await?;
        same("what arrives", settle(&*transport, "key", &notes, &['b']).await?, vec![('b', 1)])
    })
    .await;

    run.clause("a handle that is used up ends no later subscription", async |transport| {
        let notes = Notes::new();
        let first = noting(&*transport, "key", 'a', &notes).await?;
        first.unsubscribe();
        let _second = noting(&*transport, "key", 'b', &notes).await?;
        first.unsubscribe();
        drop(first);
        publish(&*transport, "key", 1).await?;
        same("what arrives", settle(&*transport, "key", &notes, &['b']).await?, vec![('b', 1)])?;
        same("the count of keys", transport.key_count(), 1)
    })
    .await;

    run.clause("keys are counted while they have subscribers", async |transport| {
        let notes = Notes::new();
        let mut counts = vec![transport.key_count()];
        let first = noting(&*transport, "one", 'a', &notes).await?;
        counts.push(transport.key_count());
        let second = noting(&*transport, "one", 'b', &notes).await?;
        counts.push(transport.key_count());
        let third = noting(&*transport, "two", 'c', &notes).await?;
        counts.push(transport.key_count());
        drop(first);
        counts.push(transport.key_count());
        drop(second);
        counts.push(transport.key_count());
        publish(&*transport, "one", 1).await?;
        third.unsubscribe();
        counts.push(transport.key_count());
        same("the count of keys", counts, vec![0, 1, 1, 2, 2, 1, 0])
    })
    .await;

    run.clause("a key that was left can be subscribed to again", async |transport| {
        let notes = Notes::new();
        drop(noting(&*transport, "key", 'a', &notes).await?);
        let _again = noting(&*transport, "key", 'b', &notes).await?;
        publish(&*transport, "key", 2).await?;
        same("what arrives", settle(&*transport, "key", &notes, &['b']).await?, vec![('b', 2)])?;
        same("the count of keys", transport.key_count(), 1)
    })
    .await;

    run.clause("the handler of a subscription that was ended is dropped", async |transport| {
        let notes = Notes::new();
        let gone = Gone(notes.clone());
        let handler = move |_: &_| _ = &gone;
        let subscription = subscribe(&*transport, "key", handler).await?;
        publish(&*transport, "key", 1).await?;
        same("what is gone", notes.all(), vec![])?;
        drop(subscription);
        notes.until(|all| !all.is_empty()).await;
        Ok(())
    })
    .await;
}
