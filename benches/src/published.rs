//! Event stores that others have published, each behind the same small face.
//!
//! All of them append one record with 64 bytes of payload to one stream, on condition that nothing was appended to it since
//! the caller last knew of it. Ids, tags and queries that a caller can keep are made beforehand.

pub mod filtered;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use eventcore_memory::InMemoryEventStore;
use eventcore_types::{Event as EventcoreEvent, EventStore as _, StreamVersion, StreamWrites};
use serde::{Deserialize, Serialize};
use soaprs_core::{MessageEnvelope, MessageMetadata};
use soaprs_cqrs::{EventStore as _, ExpectedVersion};
use soaprs_events::{DomainEvent, Event as SoapEvent};
use soaprs_memory::MemoryEventStore;
use tempfile::TempDir;
use tephra::{
    Event, EventType, Position, Query, QueryItem, SegmentConfig, SegmentSet, Tag, Tags, WriteCoordinator, WriteHandle,
    WriterConfig,
};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem};

use crate::load::{CONTENT, Record};

/// A store of streams.
pub trait Store: 'static {
    /// A stream's id in the form the store wants, and how far the stream is known.
    type Stream;

    fn open() -> Self;

    fn stream(&self, id: &str) -> Self::Stream;

    /// Appends one record if the stream is as far as known, and then knows of it. Says whether it did.
    fn append(&mut self, stream: &mut Self::Stream) -> bool;
}

/// The value of a future that waits for nothing. The stores in memory are asynchronous in their signatures only, so one poll
/// does, and no executor is part of the work.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a store in memory has nothing to wait for"),
    }
}

/// Ours, by the name of a stream.
pub struct ByName(annals::Log);

impl Store for ByName {
    type Stream = (String, annals::Expected);

    fn open() -> Self {
        Self(crate::load::timeless())
    }

    fn stream(&self, id: &str) -> Self::Stream {
        (id.to_owned(), annals::Expected::NoStream)
    }

    #[inline]
    fn append(&mut self, (id, known): &mut Self::Stream) -> bool {
        let appended = self.0.append_with(id, crate::load::copied(), *known);
        appended.map(|appended| *known = annals::Expected::Exactly(appended.revision)).is_ok()
    }
}

/// Ours, by handles.
pub struct ByHandle(annals::Appender);

impl Store for ByHandle {
    type Stream = (annals::Stream, annals::Expected);

    fn open() -> Self {
        Self(crate::load::timeless().appender())
    }

    fn stream(&self, id: &str) -> Self::Stream {
        (self.0.log().stream(id).expect("the name is valid"), annals::Expected::NoStream)
    }

    #[inline]
    fn append(&mut self, (stream, known): &mut Self::Stream) -> bool {
        let appended = self.0.append_with(stream, crate::load::copied(), *known);
        appended.map(|appended| *known = annals::Expected::Exactly(appended.revision)).is_ok()
    }
}

/// A map of vectors and a vector of everything, under one lock: each record is kept twice.
pub struct Soaprs(MemoryEventStore<Record>);

impl SoapEvent for Record {
    fn event_type(&self) -> &'static str {
        self.name
    }
}

impl DomainEvent for Record {}

impl Store for Soaprs {
    type Stream = (soaprs_cqrs::StreamId, ExpectedVersion);

    fn open() -> Self {
        Self(MemoryEventStore::new())
    }

    fn stream(&self, id: &str) -> Self::Stream {
        (soaprs_cqrs::StreamId::new(id), ExpectedVersion::NoStream)
    }

    /// With neither a message id nor the time, as ours.
    #[inline]
    fn append(&mut self, (id, known): &mut Self::Stream) -> bool {
        let metadata = MessageMetadata::new(String::new(), SystemTime::UNIX_EPOCH);
        let events = vec![MessageEnvelope::new(Record::copied(1), metadata)];
        let appended = ready(self.0.append(id, *known, events));
        appended.map(|appended| *known = ExpectedVersion::Exact(appended.stream_version)).is_ok()
    }
}

/// A map of vectors and a vector of everything, under one lock: the latter as JSON, with a UUID of the time.
pub struct Eventcore(InMemoryEventStore);

#[derive(Clone, Serialize, Deserialize)]
struct Deposited {
    account: eventcore_types::StreamId,
    payload: String,
}

impl EventcoreEvent for Deposited {
    fn stream_id(&self) -> &eventcore_types::StreamId {
        &self.account
    }

    fn event_type_name() -> &'static str {
        "Deposited"
    }
}

impl Store for Eventcore {
    type Stream = (eventcore_types::StreamId, StreamVersion);

    fn open() -> Self {
        Self(InMemoryEventStore::new())
    }

    fn stream(&self, id: &str) -> Self::Stream {
        (eventcore_types::StreamId::try_new(id).expect("the id is valid"), StreamVersion::new(0))
    }

    #[inline]
    fn append(&mut self, (id, known): &mut Self::Stream) -> bool {
        let payload = str::from_utf8(&CONTENT).expect("it is text").to_owned();
        let writes = StreamWrites::new()
            .register_stream(id.clone(), *known)
            .and_then(|writes| writes.append(Deposited { account: id.clone(), payload }))
            .expect("the stream was registered");
        ready(self.0.append_events(writes)).map(|_| *known = known.increment()).is_ok()
    }
}

/// A new directory in memory where there is one, so that no disk is part of the work.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a directory can be made")
}

/// A log in files with an index of tags, written by a thread of its own.
pub struct Tephra {
    // Before the directory: dropping it stops the thread that writes there.
    handle: WriteHandle,
    _coordinator: WriteCoordinator,
    _directory: TempDir,
    name: EventType,
}

/// The tag that stands for a stream, the query for it, and the last position known.
pub struct TephraStream {
    tags: Tags,
    query: Query,
    known: Position,
}

impl Store for Tephra {
    type Stream = TephraStream;

    fn open() -> Self {
        let directory = directory();
        let segments = SegmentSet::open(directory.path(), SegmentConfig::new(256 << 20)).expect("the directory is new");
        let (coordinator, handle) =
            WriteCoordinator::start(segments, WriterConfig::default()).expect("a thread starts");
        let name = EventType::new("Deposited").expect("the name is valid");
        Self { handle, _coordinator: coordinator, _directory: directory, name }
    }

    fn stream(&self, id: &str) -> TephraStream {
        let tags = Tags::new([Tag::new(id).expect("the id is valid")]).expect("one tag is allowed");
        TephraStream { query: Query::item(QueryItem::with_tags(tags.clone())), tags, known: Position::ZERO }
    }

    #[inline]
    fn append(&mut self, stream: &mut TephraStream) -> bool {
        let event = Event::new(&self.name, &stream.tags, &CONTENT).expect("it is small");
        let condition = tephra::AppendCondition::new(stream.query.clone()).after(stream.known);
        let appended = self.handle.append(vec![event], Some(condition));
        appended.map(|positions| stream.known = positions.last).is_ok()
    }
}

/// Copy-on-write trees in a file, written by whoever appends.
pub struct Umadb {
    store: UmaDb,
    _directory: TempDir,
}

/// The tag that stands for a stream, the query for it, and the last position known.
pub struct UmadbStream {
    tag: String,
    query: DcbQuery,
    known: u64,
}

impl Store for Umadb {
    type Stream = UmadbStream;

    fn open() -> Self {
        let directory = directory();
        let options = StorageOptions::default().db_path(directory.path());
        let store = UmaDb::from_arc(Arc::new(Mvcc::new(false, options).expect("the directory is new")));
        Self { store, _directory: directory }
    }

    fn stream(&self, id: &str) -> UmadbStream {
        let query = DcbQuery { items: vec![DcbQueryItem { types: Vec::new(), tags: vec![id.to_owned()] }] };
        UmadbStream { tag: id.to_owned(), query, known: 0 }
    }

    #[inline]
    fn append(&mut self, stream: &mut UmadbStream) -> bool {
        let event = DcbEvent::new().event_type("Deposited").data(CONTENT).tags([stream.tag.as_str()]);
        let condition = DcbAppendCondition { fail_if_events_match: stream.query.clone(), after: Some(stream.known) };
        let appended = self.store.append(vec![event], Some(condition), None);
        appended.map(|position| stream.known = position).is_ok()
    }
}
