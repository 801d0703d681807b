//! Stores with one fault each: the suite must find every fault, and every clause must find at least one.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use annals::store::{
    AppendFailure, Capabilities, Capability, EventStore, Follow, ReadFailure, RefusedBatch, Select, Statistics,
    TruncateFailure, block_on, conformance, iterate,
};
use annals::{Batch, BatchAppended, Condition, Envelope, Followed, Kind, Log, Message, Position, Revision, StreamInfo};
use futures_core::Stream;
use futures_util::{StreamExt, stream};

const FAULTS: [&str; 53] = [
    "loses ids",
    "loses appends",
    "stores twice",
    "ignores expectations",
    "ignores conditions",
    "decides the first part of a condition",
    "appends again what is there",
    "asks a repeat for its terms",
    "takes a part for the batch",
    "needs no message id",
    "looks before it appends",
    "splits batches",
    "keeps half of what it refuses",
    "ignores empty batches",
    "takes the first of two expectations",
    "decides before it appends",
    "forgets what it refused",
    "gives a number to what it refuses",
    "tells the wrong revision",
    "tells the wrong position",
    "tells no revision in a conflict",
    "tells another end in a conflict",
    "takes any stream id",
    "lists refused streams",
    "counts refused messages",
    "misses the first",
    "begins at 2",
    "fails on absent streams",
    "reads what comes later",
    "reads bounds exclusive",
    "ignores revisions",
    "ignores queries",
    "ignores the direction",
    "counts first before last",
    "counts before it filters",
    "reads times exclusive",
    "follows from the first poll",
    "follows from the beginning",
    "follows without query",
    "follows each twice",
    "follows the whole log only",
    "hides what was removed",
    "ends at once",
    "follows beyond the end",
    "lists streams by name",
    "counts what was removed",
    "forgets where streams began",
    "mixes kinds",
    "removes one too many",
    "removes nothing",
    "begins again",
    "appends after closing",
    "cannot be read after closing",
];

/// What a store says it cannot do, and does.
const DENIED: [Capability; 5] =
    [Capability::Conditions, Capability::ManyStreams, Capability::Once, Capability::Truncation, Capability::Times];

struct Broken {
    log: Log,
    fault: &'static str,
    denies: Option<Capability>,
    refused: Mutex<Vec<Box<str>>>,
}

type Read = Pin<Box<dyn Stream<Item = Result<Envelope, ReadFailure>> + Send>>;
type Following = Pin<Box<dyn Stream<Item = Result<Followed, ReadFailure>> + Send>>;

impl Broken {
    fn new(fault: &'static str, denies: Option<Capability>) -> Self {
        let log = Log::builder().counted().build().unwrap();
        if fault == "begins at 2" {
            log.append("before", Message::event("E", "").unwrap()).unwrap();
            log.truncate_before(2);
        }
        Self { log, fault, denies, refused: Mutex::default() }
    }

    fn is(&self, fault: &str) -> bool {
        assert!(fault.is_empty() || FAULTS.contains(&fault), "{fault:?} is on the list");
        self.fault == fault
    }

    async fn store(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        EventStore::append_batch(&self.log, batch).await
    }
}

/// The batch with another content.
fn rebuilt(batch: &Batch<'_>, expectations: bool, condition: bool) -> Batch<'static> {
    let mut other = Batch::new();
    for (stream, message) in batch.messages() {
        other = other.add(stream.to_owned(), message.clone().into_owned());
    }
    if expectations {
        for (stream, expected) in batch.expectations() {
            other = other.expect(stream.to_owned(), expected);
        }
    }
    match batch.given_condition().filter(|_| condition) {
        Some(condition) => other.condition(condition.clone()),
        None => other,
    }
}

/// The messages alone, changed.
fn changed(batch: &Batch<'_>, change: impl Fn(&str, &Message<'_>) -> (String, Message<'static>)) -> Batch<'static> {
    let only_terms = changed_terms(batch);
    batch.messages().fold(only_terms, |other, (stream, message)| {
        let (stream, message) = change(stream, message);
        other.add(stream, message)
    })
}

/// The terms alone.
fn changed_terms(batch: &Batch<'_>) -> Batch<'static> {
    let mut other = Batch::new();
    for (stream, expected) in batch.expectations() {
        other = other.expect(stream.to_owned(), expected);
    }
    match batch.given_condition() {
        Some(condition) => other.condition(condition.clone()),
        None => other,
    }
}

/// Others have their turn.
async fn give_way() {
    let mut waited = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn pretended(batch: &Batch<'_>, end: Position) -> BatchAppended {
    let last = Position::new(end.get() + batch.len() as u64);
    BatchAppended::new(end.next(), last, batch.messages().map(|_| Revision::FIRST))
}

impl Broken {
    async fn append_in_parts(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        self.store(changed_terms(&batch)).await?;
        let (mut places, mut revisions) = (Vec::new(), Vec::new());
        for (stream, message) in batch.messages() {
            let one = Batch::new().add(stream.to_owned(), message.clone().into_owned());
            let appended = self.store(one).await?;
            places.push(appended.last);
            revisions.extend(appended.revisions);
            give_way().await;
        }
        match (places.first(), places.last()) {
            (Some(first), Some(last)) => Ok(BatchAppended::new(*first, *last, revisions)),
            _ => Ok(pretended(&batch, self.log.end())),
        }
    }

    async fn append_wrongly(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        let empty = batch.is_empty();
        match self.fault {
            "loses ids" => {
                let bare = |stream: &str, message: &Message<'_>| {
                    let payload = message.payload().to_vec();
                    let name = message.name().to_owned();
                    (stream.to_owned(), Message::builder(name).kind(message.kind()).payload(payload).build().unwrap())
                };
                self.store(changed(&batch, bare)).await
            }
            "loses appends" if !empty => {
                self.store(changed_terms(&batch)).await?;
                Ok(pretended(&batch, self.log.end()))
            }
            "stores twice" if !empty => {
                let again = rebuilt(&batch, false, false);
                let appended = self.store(batch).await?;
                self.store(again).await.map(|_| appended)
            }
            "ignores expectations" => self.store(rebuilt(&batch, false, true)).await,
            "ignores conditions" => self.store(rebuilt(&batch, true, false)).await,
            "decides the first part of a condition" => {
                let mut first = rebuilt(&batch, true, false);
                if let Some(condition) = batch.given_condition() {
                    let part = Condition::none(condition.query().clone()).after(condition.position());
                    first = first.condition(part);
                }
                self.store(first).await
            }
            "appends again what is there" => self.store(rebuilt(&batch, true, true)).await,
            "asks a repeat for its terms" => {
                self.store(changed_terms(&batch)).await?;
                self.store(batch).await
            }
            "takes a part for the batch" if batch.is_once() => match self.store(batch).await {
                Err(RefusedBatch { error: AppendFailure::PartlyRepeated { position, .. }, rejected, .. }) => {
                    let mut part = BatchAppended::new(position, position, rejected.messages().map(|_| Revision::FIRST));
                    part.repeated = true;
                    Ok(part)
                }
                result => result,
            },
            "needs no message id" => match self.store(batch).await {
                Err(RefusedBatch { error: AppendFailure::MissingMessageId, rejected }) => {
                    self.store(rebuilt(&rejected, true, true)).await
                }
                result => result,
            },
            "looks before it appends" if batch.is_once() && self.log.end() == Position::NONE => {
                give_way().await;
                self.store(rebuilt(&batch, true, true)).await
            }
            "splits batches" => self.append_in_parts(batch).await,
            "ignores empty batches" if empty => Ok(pretended(&batch, self.log.end())),
            "takes the first of two expectations" => {
                let mut once = rebuilt(&batch, false, true);
                let mut seen = BTreeSet::new();
                for (stream, expected) in batch.expectations().filter(|(stream, _)| seen.insert(stream.to_owned())) {
                    once = once.expect(stream.to_owned(), expected);
                }
                self.store(once).await
            }
            "decides before it appends" => {
                self.store(changed_terms(&batch)).await?;
                give_way().await;
                self.store(rebuilt(&batch, false, false)).await
            }
            "takes any stream id" => {
                let valid = |stream: &str, message: &Message<'_>| {
                    let id =
                        if stream.is_empty() || stream.len() > 255 || stream.contains('\n') { "x" } else { stream };
                    (id.to_owned(), message.clone().into_owned())
                };
                self.store(changed(&batch, valid)).await
            }
            "appends after closing" if self.log.is_closed() => Ok(pretended(&batch, self.log.end())),
            _ => self.store(batch).await,
        }
    }

    async fn refuse_wrongly(&self, mut refused: RefusedBatch) -> RefusedBatch {
        self.refused.lock().unwrap().extend(refused.rejected.messages().map(|(stream, _)| Box::from(stream)));
        match self.fault {
            "keeps half of what it refuses" => {
                if let Some((stream, message)) = refused.rejected.messages().next() {
                    drop(self.log.append(stream, message.clone()));
                }
            }
            "gives a number to what it refuses" => {
                let lost = self.log.append("lost", Message::event("E", "").unwrap());
                drop(lost);
            }
            "forgets what it refused" => refused.rejected = Batch::new().add("a", Message::event("E", "").unwrap()),
            _ => {}
        }
        if let AppendFailure::Conflict(conflict) = &mut refused.error {
            if self.is("tells no revision in a conflict") {
                conflict.actual = None;
            }
            if self.is("tells another end in a conflict") {
                conflict.end = Position::MAX;
            }
        }
        refused
    }

    fn read_wrongly(&self, mut select: Select) -> Read {
        match self.fault {
            "cannot be read after closing" if self.log.is_closed() => return Box::pin(stream::iter(Vec::new())),
            "fails on absent streams"
                if select.stream.as_deref().is_some_and(|id| self.log.stream_info(id).is_none()) =>
            {
                return Box::pin(stream::iter([Err(ReadFailure::Backend("absent".into()))]));
            }
            "reads what comes later" if !select.backwards && select.first.or(select.last).is_none() => {
                let log = self.log.clone();
                let lazily = std::iter::from_fn(move || {
                    let next = iterate(EventStore::read(&log, select.clone())).next()?.unwrap();
                    select.from = next.position().next();
                    Some(Ok(next))
                });
                return Box::pin(stream::iter(lazily));
            }
            "reads bounds exclusive" if select.to < Position::MAX => {
                select.to = Position::new(select.to.get().saturating_sub(1))
            }
            "ignores revisions" => (select.from_revision, select.to_revision) = (Revision::FIRST, Revision::MAX),
            "ignores queries" => select.query = None,
            "ignores the direction" => select.backwards = false,
            _ => {}
        }
        let (query, last, since) = (select.query.clone(), select.last, select.since);
        if self.is("counts before it filters") {
            select.query = None;
        }
        if self.is("counts first before last") && select.first.is_some() {
            select.last = None;
        }
        let mut read: Vec<_> = iterate(EventStore::read(&self.log, select)).map(Result::unwrap).collect();
        match self.fault {
            "counts before it filters" => read.retain(|it| query.as_ref().is_none_or(|query| it.matches(query))),
            "counts first before last" => {
                let surplus = read.len().saturating_sub(last.unwrap_or(u64::MAX) as usize);
                read.drain(..surplus);
            }
            "reads times exclusive" => read.retain(|it| since.is_none() || it.time() != since),
            "misses the first" if read.len() > 3 => drop(read.remove(0)),
            _ => {}
        }
        Box::pin(stream::iter(read.into_iter().map(Ok)))
    }

    fn follow_wrongly(&self, mut follow: Follow) -> Following {
        let log = self.log.clone();
        match self.fault {
            "follows from the first poll" => {
                return Box::pin(Later { log, follow: Some(follow), following: None });
            }
            "follows from the beginning" => follow.after = Some(Position::NONE),
            "follows without query" => follow.query = None,
            "follows the whole log only" => follow.stream = None,
            "follows beyond the end" => follow.after = follow.after.map(Position::next),
            "ends at once" => return Box::pin(stream::iter(Vec::new())),
            _ => {}
        }
        let following = EventStore::follow(&self.log, follow);
        match self.fault {
            "follows each twice" => Box::pin(following.flat_map(|item| stream::iter(twice(item)))),
            "hides what was removed" => {
                let hide = |item: &Result<Followed, _>| !matches!(item, Ok(Followed::Truncated { .. }));
                Box::pin(following.filter(move |item| std::future::ready(hide(item))))
            }
            _ => Box::pin(following),
        }
    }
}

fn twice(item: Result<Followed, ReadFailure>) -> Vec<Result<Followed, ReadFailure>> {
    match item {
        Ok(Followed::Envelope(envelope)) => {
            vec![Ok(Followed::Envelope(envelope.clone())), Ok(Followed::Envelope(envelope))]
        }
        other => vec![other],
    }
}

/// Begins when it is polled.
struct Later {
    log: Log,
    follow: Option<Follow>,
    following: Option<Following>,
}

impl Stream for Later {
    type Item = Result<Followed, ReadFailure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(follow) = self.follow.take() {
            self.following = Some(Box::pin(EventStore::follow(&self.log, follow)));
        }
        Pin::new(self.following.as_mut().unwrap()).poll_next(context)
    }
}

impl EventStore for Broken {
    fn capabilities(&self) -> Capabilities {
        let all = self.log.capabilities();
        self.denies.map_or(all, |capability| all.without(capability))
    }

    async fn append_batch(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        let given = rebuilt(&batch, true, true);
        let appended = match self.append_wrongly(batch).await {
            Ok(appended) => appended,
            Err(refused) => return Err(self.refuse_wrongly(RefusedBatch { rejected: given, ..refused }).await),
        };
        let BatchAppended { first, last, revisions, repeated, .. } = appended;
        let mut told = match self.fault {
            "tells the wrong revision" => {
                BatchAppended::new(first, last, revisions.iter().map(|revision| revision.next()))
            }
            "tells the wrong position" => BatchAppended::new(first.next(), last.next(), revisions),
            _ => BatchAppended::new(first, last, revisions),
        };
        told.repeated = repeated;
        Ok(told)
    }

    fn read(&self, select: Select) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<> {
        self.read_wrongly(select)
    }

    fn follow(&self, follow: Follow) -> impl Stream<Item = Result<Followed, ReadFailure>> + Send + Unpin + use<> {
        self.follow_wrongly(follow)
    }

    async fn end(&self) -> Result<Position, ReadFailure> {
        Ok(self.log.end())
    }

    async fn stream_info(&self, stream: &str) -> Result<Option<StreamInfo>, ReadFailure> {
        let Some(mut info) = self.log.stream_info(stream) else { return Ok(None) };
        if self.is("counts what was removed") {
            info.messages = info.revision.get() + 1;
        }
        if self.is("forgets where streams began") {
            info.created = info.first.unwrap_or(info.created).next();
        }
        Ok(Some(info))
    }

    async fn streams(&self) -> Result<Vec<Box<str>>, ReadFailure> {
        let mut streams: Vec<Box<str>> = EventStore::streams(&self.log).await?;
        if self.is("lists streams by name") {
            streams.sort();
        }
        if self.is("lists refused streams") {
            streams.extend(self.refused.lock().unwrap().iter().cloned());
        }
        Ok(streams)
    }

    async fn statistics(&self) -> Result<Statistics, ReadFailure> {
        let mut known = self.log.statistics().await?;
        match self.fault {
            "counts what was removed" => known.messages = known.end.get(),
            "counts refused messages" => known.messages += self.refused.lock().unwrap().len() as u64,
            "mixes kinds" => std::mem::swap(&mut known.commands, &mut known.events),
            _ => {}
        }
        Ok(known)
    }

    async fn truncate_before(&self, position: Position) -> Result<Position, TruncateFailure> {
        match self.fault {
            "removes nothing" => return Ok(position),
            "removes one too many" => drop(self.log.truncate_before(position.next())),
            "begins again" => {
                let first = self.log.truncate_before(position);
                drop(self.log.append("a", Message::builder("E").kind(Kind::Event).build().unwrap()));
                return Ok(first);
            }
            _ => return EventStore::truncate_before(&self.log, position).await,
        }
        Ok(position)
    }

    async fn close(&self) {
        self.log.close();
    }
}

fn check(fault: &'static str, denies: Option<Capability>) -> conformance::Report {
    // What is not there at once never comes.
    let patience = Duration::from_millis(200);
    block_on(conformance::check_within(patience, async || Broken::new(fault, denies)))
}

#[test]
fn the_wrapper_without_a_fault_keeps_the_contract() {
    check("", None).assert();
}

/// Each fault violates a clause, and each clause is violated by a fault.
#[test]
fn every_fault_is_found_and_every_clause_finds_one() {
    let mut idle: BTreeSet<_> = check("", None).held.into_iter().collect();
    for fault in FAULTS {
        let report = check(fault, None);
        assert!(!report.violated.is_empty(), "a store that {fault} passes");
        println!("a store that {fault}: {report}");
        for violation in &report.violated {
            idle.remove(violation.clause);
        }
    }
    assert!(idle.is_empty(), "no fault violates {idle:#?}");
}

/// A store that does what it says it cannot is found out.
#[test]
fn what_is_denied_must_be_refused() {
    for denied in DENIED {
        let report = check("", Some(denied));
        let [violation] = &report.violated[..] else { panic!("{denied}: {report}") };
        assert!(violation.clause.contains("refused where") || violation.clause.contains("without times"), "{report}");
    }
}
