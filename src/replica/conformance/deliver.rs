//! Who gets what is published, and how.

use super::{Notes, Run, Transport, Update, noting, publish, same, settle, subscribe};

pub(super) async fn clauses<T: Transport<String>>(run: &mut Run<impl AsyncFn() -> T>) {
    run.clause("an update arrives as it was published", async |transport| {
        let notes = Notes::new();
        let noted = notes.clone();
        let _all = subscribe(&*transport, "key", move |update| noted.add(update.clone())).await?;
        let published = [
            Update::new(0, String::new()),
            Update::new(u64::MAX, "a value \u{e9}\0\n".to_owned()).schema("2.1"),
            Update::new(1, "x".repeat(10_000)).schema("no schema at all"),
            Update::new(2, "x".to_owned()).with_operations(["a/1", "b \u{e9}"].map(Into::into)),
        ];
        for update in &published {
            let failed = |failure| format!("a publish failed: {failure}");
            transport.publish("key", update.clone()).await.map_err(failed)?;
        }
        notes.until(|all| all.len() >= published.len()).await;
        same("what arrives", notes.all().as_slice(), &published)
    })
    .await;

    run.clause(
        "the subscribers of a key get what is published to it, in the order of their subscriptions",
        async |it| {
            let notes = Notes::new();
            let _first = noting(&*it, "key", 'a', &notes).await?;
            let _other = noting(&*it, "other", 'o', &notes).await?;
            let _second = noting(&*it, "key", 'b', &notes).await?;
            let _third = noting(&*it, "key", 'c', &notes).await?;
            publish(&*it, "key", 1).await?;
            let got = settle(&*it, "key", &notes, &['a', 'b', 'c']).await?;
            same("what arrives", got, vec![('a', 1), ('b', 1), ('c', 1)])?;
            publish(&*it, "other", 2).await?;
            same("what arrives of another key", settle(&*it, "other", &notes, &['o']).await?, vec![('o', 2)])
        },
    )
    .await;

    run.clause("updates arrive in the order in which they were published", async |transport| {
        let notes = Notes::new();
        let _one = noting(&*transport, "key", 'a', &notes).await?;
        for sequence in 0..200 {
            publish(&*transport, "key", sequence).await?;
        }
        let should: Vec<_> = (0..200).map(|sequence| ('a', sequence)).collect();
        same("what arrives", settle(&*transport, "key", &notes, &['a']).await?, should)
    })
    .await;

    run.clause("nothing is left out or put in order by its sequence", async |transport| {
        let notes = Notes::new();
        let _one = noting(&*transport, "key", 'a', &notes).await?;
        for sequence in [5, 5, 3, 9, 0] {
            publish(&*transport, "key", sequence).await?;
        }
        let got = settle(&*transport, "key", &notes, &['a']).await?;
        same("what arrives", got, vec![('a', 5), ('a', 5), ('a', 3), ('a', 9), ('a', 0)])
    })
    .await;

    run.clause("nothing is kept for who subscribes later", async |transport| {
        let notes = Notes::new();
        let _early = noting(&*transport, "key", 'a', &notes).await?;
        publish(&*transport, "key", 1).await?;
        // When this has arrived, it is delivered to nobody else.
        same("what arrives", settle(&*transport, "key", &notes, &['a']).await?, vec![('a', 1)])?;
        let _late = noting(&*transport, "key", 'b', &notes).await?;
        same("what arrives late", settle(&*transport, "key", &notes, &['a', 'b']).await?, vec![])
    })
    .await;

    run.clause("without subscribers a publish does nothing", async |transport| {
        publish(&*transport, "key", 1).await?;
        same("the count of keys", transport.key_count(), 0)?;
        same("the count of failures", transport.failed_count(), 0)
    })
    .await;

    run.clause_at_once("a publish that is ready has called the handlers", async |transport| {
        let notes = Notes::new();
        let _one = noting(&*transport, "key", 'a', &notes).await?;
        publish(&*transport, "key", 1).await?;
        same("what has arrived", notes.all(), vec![('a', 1)])
    })
    .await;
}
