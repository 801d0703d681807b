//! The published stores in memory that can be asked for everything: filled, and read by the name of an event.

use std::time::SystemTime;

use eventcore_memory::InMemoryEventStore;
use eventcore_types::{
    BatchSize, Event, EventFilter, EventPage, EventReader as _, EventStore as _, StreamId, StreamVersion, StreamWrites,
};
use serde::{Deserialize, Serialize};
use soaprs_core::{MessageEnvelope, MessageMetadata};
use soaprs_cqrs::{EventStore as _, ExpectedVersion};
use soaprs_memory::MemoryEventStore;

use super::{Deposited, ready};
use crate::load::{CONTENT, Record};

const STREAM: &str = "account-000000";

/// Gives a copy of everything, whose reader filters.
pub struct Soaprs(MemoryEventStore<Record>);

impl Soaprs {
    /// With so many records, one in `rare` of them a withdrawal.
    pub fn new(records: u64, rare: u64) -> Self {
        let store = MemoryEventStore::new();
        let events = (0..records).map(|n| {
            let name = if n.is_multiple_of(rare) { "Withdrawn" } else { "Deposited" };
            let metadata = MessageMetadata::new(String::new(), SystemTime::UNIX_EPOCH);
            MessageEnvelope::new(Record { name, ..Record::copied(1) }, metadata)
        });
        let appended =
            ready(store.append(&soaprs_cqrs::StreamId::new(STREAM), ExpectedVersion::NoStream, events.collect()));
        assert!(appended.is_ok(), "nobody was before");
        Self(store)
    }

    /// The sum of the first bytes of all withdrawals.
    pub fn withdrawn(&self) -> u64 {
        let all = ready(self.0.read_all(None, usize::MAX)).expect("it is there");
        let found = all.iter().map(|recorded| &recorded.envelope.message).filter(|record| record.name == "Withdrawn");
        found.map(|record| u64::from(record.payload[0])).sum()
    }

    /// The sum of the first bytes of a copy of the stream.
    pub fn whole_stream(&self) -> u64 {
        let all = ready(self.0.load(&soaprs_cqrs::StreamId::new(STREAM), None)).expect("it is there");
        all.iter().map(|recorded| u64::from(recorded.envelope.message.payload[0])).sum()
    }
}

/// Filters by type, and makes events of the JSON of those that it found.
pub struct Eventcore(InMemoryEventStore);

#[derive(Clone, Serialize, Deserialize)]
struct Withdrawn {
    account: StreamId,
    payload: String,
}

impl Event for Withdrawn {
    fn stream_id(&self) -> &StreamId {
        &self.account
    }

    fn event_type_name() -> &'static str {
        "Withdrawn"
    }
}

impl Eventcore {
    /// As [`Soaprs::new`].
    pub fn new(records: u64, rare: u64) -> Self {
        let store = InMemoryEventStore::new();
        let account = StreamId::try_new(STREAM).expect("the id is valid");
        let payload = || str::from_utf8(&CONTENT).expect("it is text").to_owned();
        let mut version = StreamVersion::new(0);
        for n in 0..records {
            let writes = StreamWrites::new().register_stream(account.clone(), version);
            let writes = writes.and_then(|writes| match n.is_multiple_of(rare) {
                true => writes.append(Withdrawn { account: account.clone(), payload: payload() }),
                false => writes.append(Deposited { account: account.clone(), payload: payload() }),
            });
            let appended = ready(store.append_events(writes.expect("the stream was registered")));
            assert!(appended.is_ok(), "nobody was before");
            version = version.increment();
        }
        Self(store)
    }

    /// The sum of the first bytes of all withdrawals.
    pub fn withdrawn(&self) -> u64 {
        let page = EventPage::first(BatchSize::new(usize::MAX));
        let found = ready(self.0.read_events::<Withdrawn>(EventFilter::all(), page)).expect("it is there");
        found.iter().map(|(event, _)| u64::from(event.payload.as_bytes()[0])).sum()
    }

    /// The sum of the first bytes of a copy of the stream, which is all of withdrawals.
    pub fn whole_stream(&self) -> u64 {
        let account = StreamId::try_new(STREAM).expect("the id is valid");
        let events = ready(self.0.read_stream::<Withdrawn>(account)).expect("it is there");
        annals::store::iterate(events)
            .map(|event| u64::from(event.expect("it is of that type").payload.as_bytes()[0]))
            .sum()
    }
}
