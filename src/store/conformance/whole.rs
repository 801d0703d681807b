//! What is promised of the whole: what a store knows of itself, truncation, closing.

use super::{Found, Run, append, append_all, append_batch, holds, message, names, read, read_some, same};
use crate::log::{AppendOptions, Batch, StreamInfo};
use crate::model::{Expected, Kind, Message, Position, Revision};
use crate::store::{AppendFailure, Capability, EventStore, Select, Statistics, TruncateFailure};

pub(super) async fn clauses<S: EventStore, F: AsyncFn() -> S>(run: &mut Run<F>) {
    run.clause("the end is the position of the last envelope", end).await;
    run.clause("a stream's info tells its revision, count and bounds", stream_info).await;
    run.clause("streams are listed in the order of their first envelopes", streams).await;
    run.clause("statistics count what is there", statistics).await;
    run.clause_if(&[Capability::Kinds], "statistics count commands and events", kinds).await;
    run.clause_if(
        &[Capability::Truncation],
        "truncation removes what is before a position, and nothing else",
        truncate,
    )
    .await;
    run.clause_if(&[Capability::Truncation], "positions and revisions go on after a truncation", goes_on).await;
    run.clause_if(&[Capability::Truncation], "truncation beyond the end removes everything", truncate_all).await;
    run.clause_without(Capability::Truncation, "truncation is refused where there is none", no_truncation).await;
    run.clause("a closed store refuses appends and can be read", close).await;
}

fn text(failure: impl std::fmt::Display) -> String {
    failure.to_string()
}

async fn info(store: &impl EventStore, stream: &str) -> Result<Option<StreamInfo>, String> {
    store.stream_info(stream).await.map_err(text)
}

async fn known(store: &impl EventStore) -> Result<Statistics, String> {
    store.statistics().await.map_err(text)
}

async fn end<S: EventStore>(store: S) -> Found {
    same("the end of the empty store", store.end().await.map_err(text)?, Position::NONE)?;
    for stream in ["a", "b", "a"] {
        let appended = append(&store, stream, "M").await?;
        same("the end", store.end().await.map_err(text)?, appended.position)?;
    }
    Ok(())
}

async fn stream_info<S: EventStore>(store: S) -> Found {
    same("of a stream that was never written", info(&store, "a").await?, None)?;
    append_all(&store, &[("b", "M"), ("a", "M"), ("b", "M"), ("a", "M")]).await?;
    let batch = Batch::new().add("a", message("M")).add("a", message("M"));
    append_batch(&store, batch).await?;
    let [first, .., last]: [_; 4] = read_some(&store, Select::stream("a")).await?;
    let Some(info) = info(&store, "a").await? else { return Err("there is no info".into()) };
    same("the revision and the count", (info.revision, info.messages), (Revision::new(3), 4))?;
    same("the bounds", (info.first, info.last), (Some(first.position()), Some(last.position())))?;
    same("where it was created", info.created, first.position())?;
    same("when it was created and updated", (info.created_at, info.updated_at), (first.time(), last.time()))
}

async fn streams<S: EventStore>(store: S) -> Found {
    same("of the empty store", store.streams().await.map_err(text)?, vec![])?;
    append_all(&store, &[("c", "M"), ("a", "M"), ("c", "M")]).await?;
    drop(store.append("refused", message("M"), Expected::exactly(7).into()).await);
    let asked = read(&store, Select::stream("asked")).await?;
    same("what was never written", asked.len(), 0)?;
    append_all(&store, &[("b", "M"), ("a", "M")]).await?;
    same("the streams", store.streams().await.map_err(text)?, ["c", "a", "b"].map(Into::into).to_vec())
}

async fn statistics<S: EventStore>(store: S) -> Found {
    let empty = known(&store).await?;
    same("of the empty store", (empty.messages, empty.streams, empty.end), (0, 0, Position::NONE))?;
    same("its times", (empty.oldest, empty.newest), (None, None))?;
    append_all(&store, &[("a", "M"), ("b", "M"), ("a", "M")]).await?;
    drop(store.append("a", message("M"), Expected::NoStream.into()).await);
    let (known, read) = (known(&store).await?, read_some::<3>(&store, Select::all()).await?);
    same("the counts", (known.messages, known.streams), (3, 2))?;
    same("the end", known.end, read[2].position())?;
    same("the times", (known.oldest, known.newest), (read[0].time(), read[2].time()))
}

async fn kinds<S: EventStore>(store: S) -> Found {
    for kind in [Kind::Command, Kind::Event, Kind::Event, Kind::Command, Kind::Event] {
        let message = Message::builder("M").kind(kind).build().map_err(text)?;
        store.append("a", message, AppendOptions::new()).await.map_err(text)?;
    }
    let counts = |known: Statistics| (known.messages, known.commands, known.events);
    same("the counts", counts(known(&store).await?), (5, Some(2), Some(3)))?;
    if store.capabilities().has(Capability::Truncation) {
        let second = read_some::<5>(&store, Select::all()).await?[1].position();
        store.truncate_before(second).await.map_err(text)?;
        same("the counts after a truncation", counts(known(&store).await?), (4, Some(1), Some(3)))?;
    }
    Ok(())
}

async fn truncate<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "One"), ("b", "Two"), ("a", "Three"), ("b", "Four")]).await?;
    let all: [_; 4] = read_some(&store, Select::all()).await?;
    let third = all[2].position();
    same("the first that is left", store.truncate_before(third).await.map_err(text)?, third)?;
    same("what is left", names(&store, Select::all()).await?, ["Three", "Four"].map(String::from).to_vec())?;
    same("what is left of a stream", names(&store, Select::stream("a")).await?, vec!["Three".to_owned()])?;
    same("a truncation before that", store.truncate_before(all[1].position()).await.map_err(text)?, third)?;
    let Some(info) = info(&store, "a").await? else { return Err("there is no info".into()) };
    same("the revision and the count", (info.revision, info.messages), (Revision::new(1), 1))?;
    same("the bounds", (info.first, info.last), (Some(third), Some(third)))?;
    same("where it was created", info.created, all[0].position())?;
    let known = known(&store).await?;
    same("what is counted", (known.messages, known.streams), (2, 2))?;
    same("the times", (known.oldest, known.newest), (all[2].time(), all[3].time()))
}

async fn goes_on<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    let last = append(&store, "a", "M").await?.position;
    store.truncate_before(last.next()).await.map_err(text)?;
    drop(store.append("a", message("M"), Expected::NoStream.into()).await);
    let next = store.append("a", message("M"), Expected::exactly(1).into()).await.map_err(text)?;
    same("the next revision", next.revision, Revision::new(2))?;
    holds("positions begin again", next.position > last)?;
    same("what is there", read(&store, Select::all()).await?.len(), 1)?;
    same("the streams", store.streams().await.map_err(text)?, vec!["a".into()])
}

async fn truncate_all<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "M"), ("b", "M")]).await?;
    let end = store.end().await.map_err(text)?;
    let first = store.truncate_before(Position::MAX).await.map_err(text)?;
    holds(&format!("the first that is left is {first}, the end {end}"), first > end)?;
    same("what is there", names(&store, Select::all()).await?, vec![])?;
    same("the end", store.end().await.map_err(text)?, end)?;
    let known = known(&store).await?;
    same("what is counted", (known.messages, known.streams), (0, 2))?;
    same("the times", (known.oldest, known.newest), (None, None))
}

async fn no_truncation<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    let refusal = store.truncate_before(Position::MAX).await;
    holds("it was not refused", matches!(refusal, Err(TruncateFailure::Unsupported(Capability::Truncation))))?;
    same("what is there", names(&store, Select::all()).await?.len(), 1)
}

async fn close<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    store.close().await;
    store.close().await;
    let Err(single) = store.append("a", message("M"), AppendOptions::new()).await else {
        return Err("an append was stored".into());
    };
    let Err(batch) = store.append_batch(Batch::new().add("a", message("M"))).await else {
        return Err("a batch was stored".into());
    };
    for error in [single.error, batch.error] {
        holds(&format!("the refusal is {error}"), matches!(error, AppendFailure::Closed))?;
    }
    same("what is there", names(&store, Select::all()).await?.len(), 1)
}
