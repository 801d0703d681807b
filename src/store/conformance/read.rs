//! What reads promise.

use super::{Found, Run, append, append_all, append_batch, holds, message, names, next, read, read_some, same};
use crate::log::{AppendOptions, Batch, Envelope};
use crate::model::{Item, Kind, Message, Position, Query, Revision, Timestamp};
use crate::store::{Capability, EventStore, Select};

pub(super) async fn clauses<S: EventStore, F: AsyncFn() -> S>(run: &mut Run<F>) {
    run.clause("what is absent reads as empty", absent).await;
    run.clause("an append that is ready is seen by every read", seen).await;
    run.clause("a read is as of one instant", one_instant).await;
    run.clause("reads select by bounds, queries and counts, both ways", selections).await;
    run.clause("every part of a query selects", queries).await;
    run.clause_if(&[Capability::Times], "times never decrease, and select", times).await;
    run.clause_without(Capability::Times, "without times nothing is selected by time", no_times).await;
    run.clause("an envelope stays as it is, whatever happens to the store", held).await;
}

async fn absent<S: EventStore>(store: S) -> Found {
    same("the empty store", names(&store, Select::all()).await?, vec![])?;
    append(&store, "a", "M").await?;
    for select in [
        Select::stream("never"),
        Select::stream(""),
        Select::stream("a").from_revision(1),
        Select::all().from(Position::MAX),
        Select::all().to(Position::NONE),
        Select::all().first(0),
        Select::all().last(0),
    ] {
        same(&format!("{select:?}"), names(&store, select).await?, vec![])?;
    }
    same("bounds beyond what is there", names(&store, Select::all().from(0).to(u64::MAX)).await?.len(), 1)
}

async fn seen<S: EventStore>(store: S) -> Found {
    for count in 1..=4 {
        let appended = append(&store, "a", "M").await?;
        same("what is there", read(&store, Select::all()).await?.len(), count)?;
        let last = read(&store, Select::stream("a").backwards().first(1)).await?;
        same("the last", last.first().map(Envelope::position), Some(appended.position))?;
    }
    Ok(())
}

/// What is appended after the first item was met is not met, nor in another stream's read.
async fn one_instant<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "One"), ("a", "Two")]).await?;
    for select in [Select::all(), Select::stream("a")] {
        let count = read(&store, select.clone()).await?.len();
        let mut reading = store.read(select);
        let mut met = usize::from(next(&mut reading).await.is_some());
        append_batch(&store, Batch::new().add("a", message("Later")).add("a", message("Later"))).await?;
        while let Some(item) = next(&mut reading).await {
            item.map_err(|failure| failure.to_string())?;
            met += 1;
        }
        same("what was met", met, count)?;
    }
    Ok(())
}

/// Twenty messages in three streams.
async fn fill(store: &impl EventStore) -> Result<[Envelope; 20], String> {
    const NAMES: [&str; 3] = ["Placed", "Paid", "Sent"];
    for n in 0..20usize {
        let kind = if n % 3 == 0 { Kind::Command } else { Kind::Event };
        let name = NAMES[n % 5 % 3];
        let message = Message::builder(name)
            .kind(kind)
            .tag(format!("tag:{}", n % 2))
            .correlation_id(format!("order-{}", n % 4))
            .request_id(format!("request-{}", n % 3))
            .message_id(format!("message-{n}"));
        let message = if n % 2 == 0 { message.session_id("even") } else { message };
        let message = message.build().map_err(|invalid| invalid.to_string())?;
        let stream = ["order-1", "order-2", "account-1"][n % 7 % 3];
        let appended = store.append(stream, message, AppendOptions::new()).await;
        appended.map_err(|refused| refused.to_string())?;
    }
    read_some(store, Select::all()).await
}

async fn is_picked(store: &impl EventStore, all: &[Envelope], select: Select) -> Found {
    let places = |envelopes: Vec<Envelope>| envelopes.iter().map(|it| it.position().get()).collect::<Vec<_>>();
    let should = places(select.pick(all.iter().cloned()));
    same(&format!("{select:?}"), places(read(store, select).await?), should)
}

/// Bounds of all kinds, with and without a query, forwards and backwards, first and last.
async fn selections<S: EventStore>(store: S) -> Found {
    let all = fill(&store).await?;
    let (fifth, twelfth) = (all[4].position(), all[11].position());
    let paid = Query::name("Paid").map_err(|invalid| invalid.to_string())?;
    let bounds = [
        Select::all(),
        Select::all().from(fifth).to(twelfth),
        Select::all().after(twelfth),
        Select::all().from(twelfth).to(fifth),
        Select::stream("order-1"),
        Select::stream("order-1").from_revision(2).to_revision(5),
        Select::stream("order-2").from(fifth).to(twelfth),
        Select::stream("order-1").from_revision(Revision::MAX),
        Select::all().from_revision(3).to_revision(3),
    ];
    for bounded in bounds {
        for matching in [bounded.clone(), bounded.clone().matching(paid.clone()), bounded.matching(Query::all())] {
            for counted in
                [matching.clone(), matching.clone().first(2), matching.clone().last(2), matching.last(5).first(3)]
            {
                is_picked(&store, &all, counted.clone()).await?;
                is_picked(&store, &all, counted.backwards()).await?;
            }
        }
    }
    Ok(())
}

/// One query for each thing that can be asked for, and some of several.
async fn queries<S: EventStore>(store: S) -> Found {
    let all = fill(&store).await?;
    let item = |item: Result<Item, crate::model::InvalidName>| item.map_err(|invalid| invalid.to_string());
    let items = [
        Item::new(),
        Item::new().kind(Kind::Command),
        item(Item::new().name("Placed"))?,
        item(Item::new().name("Placed").and_then(|item| item.name("Sent")))?,
        item(Item::new().tag("tag:1"))?,
        item(Item::new().tag("tag:1").and_then(|item| item.tag("tag:0")))?,
        item(Item::new().stream("order-2"))?,
        item(Item::new().category("order"))?,
        Item::new().correlation("order-3"),
        Item::new().correlation_prefix("order-"),
        Item::new().request("request-1"),
        Item::new().session("even"),
        Item::new().no_session(),
        Item::new().message_id("message-7"),
        item(Item::new().kind(Kind::Event).name("Paid"))?.correlation("order-1"),
    ];
    for item in &items {
        is_picked(&store, &all, Select::all().matching(Query::all().or(item.clone()))).await?;
    }
    let either = Query::all().or(items[1].clone()).or(items[11].clone());
    is_picked(&store, &all, Select::all().matching(either)).await?;
    let found = read(&store, Select::all().matching(Query::all().or(items[13].clone()))).await?;
    same("message-7", found.iter().map(Envelope::position).collect(), vec![all[7].position()])
}

async fn times<S: EventStore>(store: S) -> Found {
    let all = fill(&store).await?;
    let times: Vec<_> = all.iter().filter_map(Envelope::time).collect();
    same("how many have times", times.len(), all.len())?;
    holds(&format!("times decrease: {times:?}"), times.is_sorted())?;
    let (some, other) = (times[6], times[13]);
    for select in [
        Select::all().since(some),
        Select::all().until(some),
        Select::all().since(some).until(other),
        Select::stream("order-1").since(some).until(other).last(2),
        Select::all().since(Timestamp::MAX),
        Select::all().until(Timestamp::MIN),
    ] {
        is_picked(&store, &all, select.clone()).await?;
        is_picked(&store, &all, select.backwards()).await?;
    }
    Ok(())
}

async fn no_times<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    let by_time = [Select::all().since(Timestamp::MIN), Select::all().until(Timestamp::MAX)];
    for select in by_time {
        same("what is read", names(&store, select).await?, vec![])?;
    }
    Ok(())
}

async fn held<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "Held"), ("a", "Next")]).await?;
    let envelope = read(&store, Select::all().first(1)).await?.pop().ok_or("nothing was read")?;
    let kept = envelope.payload_bytes();
    if store.capabilities().has(Capability::Truncation) {
        store.truncate_before(Position::MAX).await.map_err(|failure| failure.to_string())?;
    }
    store.close().await;
    drop(store);
    same("its name and stream", (envelope.name(), envelope.stream()), ("Held", "a"))?;
    same("its payload", (envelope.payload(), &kept[..]), (&b"Held"[..], &b"Held"[..]))
}
