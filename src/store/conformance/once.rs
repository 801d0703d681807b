//! What appends promise that are to happen once.

use super::at_once::all;
use super::{Found, Run, append, append_batch, holds, message, names, same};
use crate::log::{AppendOptions, Appended, Batch};
use crate::model::{Expected, Message};
use crate::store::{AppendFailure, Capability, EventStore, Select};

const MANY: usize = 16;

pub(super) async fn clauses<S: EventStore, F: AsyncFn() -> S>(run: &mut Run<F>) {
    run.clause_if(&[Capability::Once], "what is appended once is told where it is", repeated).await;
    run.clause_if(&[Capability::Once], "a batch is repeated as a whole or refused", repeated_batch).await;
    run.clause_if(&[Capability::Once], "what is appended once needs a message id", unnamed).await;
    run.clause_if(&[Capability::Once], "of many of one message id, one appends", race).await;
    run.clause_without(Capability::Once, "appending once is refused where it cannot be", none).await;
}

fn known_as(id: &'static str) -> Result<Message<'static>, String> {
    Message::builder("Known").message_id(id).build().map_err(|invalid| invalid.to_string())
}

fn batch(ids: &[&'static str]) -> Result<Batch<'static>, String> {
    ids.iter().try_fold(Batch::new().once(), |batch, id| Ok(batch.add("a", known_as(id)?)))
}

async fn append_once(store: &impl EventStore, id: &'static str, expected: Expected) -> Result<Appended, String> {
    let appended = store.append("a", known_as(id)?, AppendOptions::new().expected(expected).once()).await;
    appended.map_err(|refused| format!("an append was refused: {refused}"))
}

async fn repeated<S: EventStore>(store: S) -> Found {
    append(&store, "b", "Other").await?;
    let first = append_once(&store, "one", Expected::NoStream).await?;
    let other = append_once(&store, "two", Expected::Any).await?;
    same("whether a new one is a repeat", (first.repeated, other.repeated), (false, false))?;
    let again = append_once(&store, "one", Expected::NoStream).await?;
    same("whether a repeat is one", again.repeated, true)?;
    same("where it is", (again.position, again.revision), (first.position, first.revision))?;
    same("what is there", names(&store, Select::all()).await?.len(), 3)
}

async fn repeated_batch<S: EventStore>(store: S) -> Found {
    append(&store, "a", "Other").await?;
    let first = append_batch(&store, batch(&["one", "two"])?).await?;
    let again = append_batch(&store, batch(&["one", "two"])?).await?;
    same("whether each is a repeat", (first.repeated, again.repeated), (false, true))?;
    same("where it is", (again.first, again.last), (first.first, first.last))?;
    same("the revisions", again.revisions, first.revisions)?;
    for other in [&["one", "three"][..], &["two"], &["three", "two"]] {
        let expected_repeat = other == ["two"];
        match store.append_batch(batch(other)?).await {
            Ok(appended) => same(&format!("whether {other:?} is a repeat"), appended.repeated, expected_repeat)?,
            Err(refused) => {
                let partly = matches!(refused.error, AppendFailure::PartlyRepeated { .. });
                holds(&format!("the refusal of {other:?} is {refused}"), partly && !expected_repeat)?;
            }
        }
    }
    same("what is there", names(&store, Select::all()).await?.len(), 3)
}

async fn unnamed<S: EventStore>(store: S) -> Found {
    let Err(refused) = store.append("a", message("M"), AppendOptions::new().once()).await else {
        return Err("an append was stored that had to be refused".into());
    };
    holds(&format!("the refusal is {refused}"), matches!(refused.error, AppendFailure::MissingMessageId))?;
    same("what is there", names(&store, Select::all()).await?.len(), 0)
}

async fn race<S: EventStore>(store: S) -> Found {
    let racing = all((0..MANY).map(|_| append_once(&store, "one", Expected::Any))).await;
    let told: Vec<_> = racing.into_iter().collect::<Result<_, _>>()?;
    same("how many appended", told.iter().filter(|appended| !appended.repeated).count(), 1)?;
    holds("they are told different places", told.iter().all(|appended| appended.position == told[0].position))?;
    same("what is there", names(&store, Select::all()).await?.len(), 1)
}

async fn none<S: EventStore>(store: S) -> Found {
    let Err(refused) = store.append("a", known_as("one")?, AppendOptions::new().once()).await else {
        return Err("an append was stored that had to be refused".into());
    };
    same("the refusal", refused.error.to_string(), AppendFailure::Unsupported(Capability::Once).to_string())?;
    same("what is there", names(&store, Select::all()).await?.len(), 0)
}
