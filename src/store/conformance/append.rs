//! What appends promise.

use std::pin::Pin;

use super::at_once::{all, give_way};
use super::{Found, Run, append, append_all, append_batch, holds, message, names, read, same};
use crate::log::{AppendOptions, Batch, Envelope};
use crate::model::{Condition, Expected, Item, Kind, Message, Position, Query, Revision, Timestamp};
use crate::store::{AppendFailure, Capability, EventStore, Select};

const MANY: usize = 16;

pub(super) async fn clauses<S: EventStore, F: AsyncFn() -> S>(run: &mut Run<F>) {
    run.clause("a message is read as it was appended", as_given).await;
    run.clause("revisions begin at 0 and have no gaps", revisions).await;
    run.clause("positions increase, and are those that appends tell", positions).await;
    run.clause_if(&[Capability::DensePositions], "positions are 1, 2, 3 and so on", dense).await;
    run.clause("a batch has consecutive revisions and one time", batch).await;
    run.clause_if(&[Capability::ManyStreams], "a batch may be over several streams", many_streams).await;
    run.clause("a batch is seen as a whole or not at all", whole_batches).await;
    run.clause("an empty batch appends nothing, and is decided all the same", empty_batch).await;
    run.clause("expectations are decided exactly", expectations).await;
    run.clause("a conflict tells what was expected, what is, and what was missed", conflicts).await;
    run.clause_if(&[Capability::ManyStreams], "a batch may guard a stream that it does not write to", guard).await;
    run.clause("two expectations of one stream must be the same", ambiguous).await;
    run.clause("a refused append leaves nothing behind, and is given back", refused_leaves_nothing).await;
    run.clause("a stream id must be a name", invalid_stream).await;
    run.clause("of many who expect the same, one appends", race).await;
    run.clause("of many appends at once none is lost", nothing_lost).await;
    run.clause_if(&[Capability::Conditions], "a condition is decided exactly", conditions).await;
    run.clause_if(&[Capability::Conditions], "of a condition every part is decided", condition_parts).await;
    run.clause_if(&[Capability::Conditions], "of many under the same condition, one appends", condition_race).await;
    run.clause_without(Capability::Conditions, "conditions are refused where there are none", no_conditions).await;
    run.clause_without(Capability::ManyStreams, "several streams are refused where they cannot be", one_stream).await;
}

fn refused<T, R>(result: Result<T, crate::log::Rejected<R, AppendFailure>>) -> Result<AppendFailure, String> {
    match result {
        Ok(_) => Err("an append was stored that had to be refused".into()),
        Err(refused) => Ok(refused.error),
    }
}

/// Every attribute, of a message with all of them and of one with none.
async fn as_given<S: EventStore>(store: S) -> Found {
    let full = Message::builder("Full")
        .kind(Kind::Command)
        .payload("payload")
        .own_time(Timestamp::from_nanos(-7))
        .request_id("request")
        .correlation_id("correlation")
        .causation_id("causation")
        .session_id("session")
        .message_id("message")
        .tag("one")
        .tag("two")
        .header("key", "value\n")
        .build()
        .map_err(|invalid| invalid.to_string())?;
    let mut payload = b"bytes".to_vec();
    let bare = Message::event("Bare", &payload[..]).map_err(|invalid| invalid.to_string())?;
    for message in [full, bare] {
        let appended = store.append("stream-1", message, AppendOptions::new()).await;
        appended.map_err(|refused| refused.to_string())?;
    }
    payload.fill(0);
    let read = read(&store, Select::all()).await?;
    let [full, bare] = &read[..] else { return Err(format!("{} were read, should be 2", read.len())) };
    same("the stream", (full.stream(), full.category()), ("stream-1", "stream"))?;
    same("the kind", (full.kind(), bare.kind()), (Kind::Command, Kind::Event))?;
    same("the name", (full.name(), bare.name()), ("Full", "Bare"))?;
    same("the payload", (full.payload(), bare.payload()), (&b"payload"[..], &b"bytes"[..]))?;
    same("its own time", (full.own_time(), bare.own_time()), (Some(Timestamp::from_nanos(-7)), None))?;
    let ids = [full.request_id(), full.correlation_id(), full.causation_id(), full.session_id(), full.message_id()];
    same("the ids", ids, ["request", "correlation", "causation", "session", "message"].map(Some))?;
    let ids = [bare.request_id(), bare.correlation_id(), bare.causation_id(), bare.session_id(), bare.message_id()];
    same("the absent ids", ids, [None; 5])?;
    same("the tags", full.tags().collect::<Vec<_>>(), vec!["one", "two"])?;
    same("the headers", full.headers().collect::<Vec<_>>(), vec![("key", "value\n")])
}

async fn revisions<S: EventStore>(store: S) -> Found {
    for (stream, revision) in [("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 1)] {
        same("the revision", append(&store, stream, "M").await?.revision, Revision::new(revision))?;
    }
    for (stream, count) in [("a", 3), ("b", 2)] {
        let read = read(&store, Select::stream(stream)).await?;
        same("what is read", read.iter().map(|it| it.revision().get()).collect(), (0..count).collect::<Vec<_>>())?;
    }
    Ok(())
}

async fn positions<S: EventStore>(store: S) -> Found {
    let mut told = Vec::new();
    for stream in ["a", "b", "a", "c"] {
        told.push(append(&store, stream, "M").await?.position);
    }
    holds("the first position is 0", told[0] > Position::NONE)?;
    holds(&format!("positions do not increase: {told:?}"), told.is_sorted_by(|one, next| one < next))?;
    same("what is read", read(&store, Select::all()).await?.iter().map(Envelope::position).collect::<Vec<_>>(), told)
}

async fn dense<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "M"), ("b", "M")]).await?;
    let batch = Batch::new().add("a", message("M")).add("a", message("M"));
    let appended = append_batch(&store, batch).await?;
    same("the batch's place", (appended.first.get(), appended.last.get()), (3, 4))?;
    drop(refused(store.append("a", message("M"), Expected::NoStream.into()).await)?);
    same("the position after a refusal", append(&store, "a", "M").await?.position.get(), 5)?;
    let read = read(&store, Select::all()).await?;
    same("what is read", read.iter().map(|it| it.position().get()).collect(), (1..=5).collect::<Vec<_>>())
}

async fn batch<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    let messages = ["B1", "B2", "B3"].map(message);
    let batch = messages.into_iter().fold(Batch::new(), |batch, message| batch.add("a", message));
    let appended = append_batch(&store, batch).await?;
    same("the revisions told", appended.revisions.to_vec(), [1, 2, 3].map(Revision::new).to_vec())?;
    let read = read(&store, Select::stream("a").from_revision(1)).await?;
    same("what is read", read.iter().map(Envelope::name).collect(), vec!["B1", "B2", "B3"])?;
    same("the first position", Some(appended.first), read.first().map(Envelope::position))?;
    same("the last position", Some(appended.last), read.last().map(Envelope::position))?;
    holds("the batch has several times", read.iter().all(|it| it.time() == read[0].time()))
}

async fn many_streams<S: EventStore>(store: S) -> Found {
    append(&store, "b", "M").await?;
    let batch = Batch::new().add("a", message("A")).add("b", message("B")).add("a", message("C"));
    let appended = append_batch(&store, batch).await?;
    same("the revisions told", appended.revisions.to_vec(), [0, 1, 1].map(Revision::new).to_vec())?;
    same(
        "the order",
        names(&store, Select::all().from(appended.first)).await?,
        ["A", "B", "C"].map(String::from).to_vec(),
    )?;
    let half = Batch::new().add("c", message("D")).add("a", message("E")).expect("a", Expected::exactly(0));
    drop(refused(store.append_batch(half).await)?);
    same("what is there of a refused batch", names(&store, Select::stream("c")).await?, vec![])
}

/// Reads while batches are appended: of a batch of four there are four or none.
async fn whole_batches<S: EventStore>(store: S) -> Found {
    let batch = || (0..4).fold(Batch::new(), |batch, _| batch.add("a", message("M")));
    let appending = async {
        for _ in 0..4 {
            append_batch(&store, batch()).await?;
        }
        Ok(())
    };
    let reading = async {
        let mut read_last = 0;
        while read_last < 16 {
            for select in [Select::all(), Select::stream("a")] {
                read_last = read(&store, select).await?.len();
                holds(&format!("{read_last} of batches of four are read"), read_last.is_multiple_of(4))?;
            }
            give_way().await;
        }
        Ok(())
    };
    let both: [Pin<Box<dyn Future<Output = Found> + '_>>; 2] = [Box::pin(reading), Box::pin(appending)];
    all(both).await.into_iter().collect()
}

async fn empty_batch<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    append_batch(&store, Batch::new()).await?;
    append_batch(&store, Batch::new().expect("a", Expected::exactly(0))).await?;
    let refusal = refused(store.append_batch(Batch::new().expect("a", Expected::NoStream)).await)?;
    holds(&format!("the refusal is {refusal}"), refusal.conflict().is_some())?;
    same("what is there", names(&store, Select::all()).await?.len(), 1)
}

/// Every expectation, of a stream that was never written and of one at revision 1; by an append and by a batch.
async fn expectations<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("at-1", "M"), ("at-1", "M")]).await?;
    let expectations = [
        Expected::Any,
        Expected::NoStream,
        Expected::Exists,
        Expected::exactly(0),
        Expected::exactly(1),
        Expected::exactly(2),
    ];
    for (at, expected) in expectations.into_iter().enumerate() {
        for (stream, actual) in [(format!("never-{at}"), None), ("at-1".to_owned(), Some(Revision::new(1)))] {
            let admitted = expected.admits(actual);
            let empty = Batch::new().expect(&*stream, expected);
            let by_batch = store.append_batch(empty).await;
            same(&format!("{expected:?} of a stream at {actual:?}, by batch"), by_batch.is_ok(), admitted)?;
            if admitted && actual.is_some() {
                continue; // It stays at revision 1.
            }
            let by_append = store.append(&stream, message("M"), expected.into()).await;
            same(&format!("{expected:?} of a stream at {actual:?}"), by_append.is_ok(), admitted)?;
            let there = !read(&store, Select::stream(&*stream)).await?.is_empty();
            same("whether the stream is there", there, admitted || actual.is_some())?;
        }
    }
    let next = store.append("at-1", message("M"), Expected::exactly(1).into()).await;
    same("the revision after all that", next.map(|it| it.revision.get()).map_err(|it| it.to_string()), Ok(2))
}

async fn conflicts<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "Seen"), ("b", "Other"), ("a", "Missed1"), ("a", "Missed2")]).await?;
    let refusal = refused(store.append("a", message("M"), Expected::exactly(0).into()).await)?;
    append(&store, "a", "Later").await?;
    let Some(conflict) = refusal.conflict() else { return Err(format!("the refusal is {refusal}")) };
    same("the stream", &*conflict.stream, "a")?;
    same("what was expected", conflict.expected, Expected::exactly(0))?;
    same("what is", conflict.actual, Some(Revision::new(2)))?;
    same(
        "what was missed",
        names(&store, conflict.missed()).await?,
        ["Missed1", "Missed2"].map(String::from).to_vec(),
    )?;
    let refusal = refused(store.append("never", message("M"), Expected::exactly(3).into()).await)?;
    let Some(conflict) = refusal.conflict() else { return Err(format!("the refusal is {refusal}")) };
    same("what is of a stream that was never written", conflict.actual, None)?;
    same("what was missed of it", names(&store, conflict.missed()).await?, vec![])
}

async fn guard<S: EventStore>(store: S) -> Found {
    append(&store, "guarded", "M").await?;
    let batch = |expected| Batch::new().add("written", message("W")).expect("guarded", expected);
    drop(refused(store.append_batch(batch(Expected::NoStream)).await)?);
    append_batch(&store, batch(Expected::exactly(0))).await?;
    same("what was written", names(&store, Select::stream("written")).await?.len(), 1)?;
    same("what was guarded", names(&store, Select::stream("guarded")).await?.len(), 1)
}

async fn ambiguous<S: EventStore>(store: S) -> Found {
    let batch = || Batch::new().add("a", message("M")).expect("a", Expected::NoStream);
    let refusal = refused(store.append_batch(batch().expect("a", Expected::Exists)).await)?;
    holds(&format!("the refusal is {refusal}"), matches!(refusal, AppendFailure::AmbiguousExpectation { .. }))?;
    append_batch(&store, batch().expect("a", Expected::NoStream)).await.map(drop)
}

async fn refused_leaves_nothing<S: EventStore>(store: S) -> Found {
    append(&store, "a", "M").await?;
    let before = append(&store, "a", "M").await?.position;
    let given = Message::builder("Refused").payload("payload").tag("tag").session_id("s").build();
    let given = given.map_err(|invalid| invalid.to_string())?;
    let Err(single) = store.append("new", given.clone(), Expected::Exists.into()).await else {
        return Err("an append was stored that had to be refused".into());
    };
    same("the message given back", &single.rejected, &given)?;
    let batch = Batch::new().add("new", given.clone()).add("new", message("M")).expect("new", Expected::exactly(0));
    let Err(batch) = store.append_batch(batch).await else {
        return Err("a batch was stored that had to be refused".into());
    };
    same("the messages given back", batch.rejected.into_messages().collect(), vec![given, message("M")])?;
    same("what is there", read(&store, Select::all()).await?.len(), 2)?;
    same("the end", store.end().await.map_err(|failure| failure.to_string())?, before)?;
    same("the streams", store.streams().await.map_err(|failure| failure.to_string())?, vec!["a".into()])
}

async fn invalid_stream<S: EventStore>(store: S) -> Found {
    for id in ["", "a\nb", &"x".repeat(256)] {
        let refusal = refused(store.append(id, message("M"), AppendOptions::new()).await)?;
        holds(&format!("the refusal is {refusal}"), matches!(refusal, AppendFailure::InvalidStream(_)))?;
    }
    same("what is there", read(&store, Select::all()).await?.len(), 0)
}

async fn race<S: EventStore>(store: S) -> Found {
    append(&store, "seat", "M").await?;
    let racing = all((0..MANY).map(|_| store.append("seat", message("Taken"), Expected::exactly(0).into()))).await;
    same("how many appended", racing.iter().filter(|result| result.is_ok()).count(), 1)?;
    for refused in racing.into_iter().filter_map(Result::err) {
        let actual = refused.error.conflict().map(|conflict| conflict.actual);
        same("what is, by a conflict", actual, Some(Some(Revision::new(1))))?;
    }
    same("what is there", read(&store, Select::stream("seat")).await?.len(), 2)
}

async fn nothing_lost<S: EventStore>(store: S) -> Found {
    let streams: Vec<_> = (0..4).map(|n| format!("stream-{n}")).collect();
    let appends = streams.iter().cycle().take(MANY).map(|stream| append(&store, stream, "M"));
    for appended in all(appends).await {
        appended?;
    }
    let read_all = read(&store, Select::all()).await?;
    same("what is there", read_all.len(), MANY)?;
    holds("positions are given twice", read_all.is_sorted_by(|one, next| one.position() < next.position()))?;
    for stream in &streams {
        let read = read(&store, Select::stream(&**stream)).await?;
        same("a stream", read.iter().map(|it| it.revision().get()).collect(), (0..4).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn seat() -> Result<Message<'static>, String> {
    Message::builder("SeatTaken").tag("seat:1").build().map_err(|invalid| invalid.to_string())
}

fn seat_is_free() -> Result<Condition, String> {
    let item = Item::new().name("SeatTaken").and_then(|item| item.tag("seat:1"));
    Ok(Condition::none(Query::all().or(item.map_err(|invalid| invalid.to_string())?)))
}

async fn conditions<S: EventStore>(store: S) -> Found {
    let free = seat_is_free()?;
    append(&store, "a", "Other").await?;
    let first = store.append("b", seat()?, (&free).into()).await.map_err(|refused| refused.to_string())?;
    let batch = Batch::new().add("c", seat()?).add("c", message("M")).condition(free.clone());
    for refusal in
        [refused(store.append("c", seat()?, (&free).into()).await)?, refused(store.append_batch(batch).await)?]
    {
        let AppendFailure::ConditionFailed(failed) = &refusal else { return Err(format!("the refusal is {refusal}")) };
        same("the condition", &failed.condition, &free)?;
        same("what matches it", failed.position, first.position)?;
        same("what was missed", names(&store, failed.missed()).await?, vec!["SeatTaken".to_owned()])?;
    }
    same("what is there of the refused", read(&store, Select::stream("c")).await?.len(), 0)?;
    let later = free.after(first.position);
    let second = store.append("c", seat()?, (&later).into()).await;
    holds("a condition after a position was refused for what is before it", second.is_ok())?;
    drop(refused(store.append("c", seat()?, (&later).into()).await)?);
    Ok(())
}

async fn condition_parts<S: EventStore>(store: S) -> Found {
    let other = Query::name("Other").map_err(|error| error.to_string())?;
    let first = append(&store, "a", "Other").await?.position;
    let both = seat_is_free()?.and(Condition::none(other.clone()).after(first));
    let taken = store.append("b", seat()?, (&both).into()).await.map_err(|refused| refused.to_string())?;
    let AppendFailure::ConditionFailed(failed) = refused(store.append("b", seat()?, (&both).into()).await)? else {
        return Err("the refusal is not that of a condition".into());
    };
    same("what matches the first part", failed.position, taken.position)?;
    let both = seat_is_free()?.after(taken.position).and(Condition::none(other));
    let AppendFailure::ConditionFailed(failed) = refused(store.append("b", seat()?, (&both).into()).await)? else {
        return Err("the refusal is not that of a condition".into());
    };
    same("what matches the second part", failed.position, first)?;
    same("what was missed", names(&store, failed.missed()).await?, vec!["Other".to_owned()])
}

async fn condition_race<S: EventStore>(store: S) -> Found {
    let (free, seat) = (seat_is_free()?, seat()?);
    let streams: Vec<_> = (0..MANY).map(|n| format!("booking-{n}")).collect();
    let racing = all(streams.iter().map(|stream| store.append(stream, seat.clone(), (&free).into()))).await;
    same("how many appended", racing.iter().filter(|result| result.is_ok()).count(), 1)?;
    same("what is there", read(&store, Select::all()).await?.len(), 1)
}

async fn no_conditions<S: EventStore>(store: S) -> Found {
    let refusal = refused(store.append("a", message("M"), (&seat_is_free()?).into()).await)?;
    same("the refusal", refusal.to_string(), AppendFailure::Unsupported(Capability::Conditions).to_string())?;
    same("what is there", read(&store, Select::all()).await?.len(), 0)
}

async fn one_stream<S: EventStore>(store: S) -> Found {
    let batch = Batch::new().add("a", message("M")).add("b", message("M"));
    let refusal = refused(store.append_batch(batch).await)?;
    same("the refusal", refusal.to_string(), AppendFailure::Unsupported(Capability::ManyStreams).to_string())?;
    same("what is there", read(&store, Select::all()).await?.len(), 0)
}
