//! What one would write instead.

use std::collections::HashMap;

use ahash::RandomState;
use crossbeam_queue::SegQueue;
use dashmap::DashMap;

use crate::load::Record;

/// Somewhere to push records to, from several threads.
pub trait Store: Default + Send + Sync + 'static {
    fn push(&self, record: Record);
}

impl Store for std::sync::Mutex<Vec<Record>> {
    #[inline]
    fn push(&self, record: Record) {
        self.lock().expect("nobody panics").push(record);
    }
}

impl Store for parking_lot::Mutex<Vec<Record>> {
    #[inline]
    fn push(&self, record: Record) {
        self.lock().push(record);
    }
}

impl Store for boxcar::Vec<Record> {
    #[inline]
    fn push(&self, record: Record) {
        boxcar::Vec::push(self, record);
    }
}

impl Store for SegQueue<Record> {
    #[inline]
    fn push(&self, record: Record) {
        SegQueue::push(self, record);
    }
}

/// Somewhere to append to a stream on condition of its length. `Err` has the length.
pub trait Streams: Default + Send + Sync + 'static {
    fn append(&self, id: &str, expected: u64, record: Record) -> Result<u64, u64>;
}

/// The usual hand-written store. Its streams have no order among each other.
#[derive(Default)]
pub struct Locked(parking_lot::RwLock<HashMap<String, Vec<Record>, RandomState>>);

impl Streams for Locked {
    #[inline]
    fn append(&self, id: &str, expected: u64, record: Record) -> Result<u64, u64> {
        let mut streams = self.0.write();
        match streams.get_mut(id) {
            Some(stream) => push_expected(stream, expected, record),
            None => push_expected(streams.entry(id.to_owned()).or_default(), expected, record),
        }
    }
}

/// The same with a lock for each shard.
#[derive(Default)]
pub struct Sharded(DashMap<String, Vec<Record>, RandomState>);

impl Streams for Sharded {
    #[inline]
    fn append(&self, id: &str, expected: u64, record: Record) -> Result<u64, u64> {
        match self.0.get_mut(id) {
            Some(mut stream) => push_expected(&mut stream, expected, record),
            None => push_expected(&mut self.0.entry(id.to_owned()).or_default(), expected, record),
        }
    }
}

/// A hand-written store that keeps one order as we do: all records in a row, and the places of each stream's.
#[derive(Default)]
pub struct Ordered(parking_lot::RwLock<InOrder>);

#[derive(Default)]
struct InOrder {
    records: Vec<Record>,
    streams: HashMap<String, Vec<usize>, RandomState>,
}

impl Streams for Ordered {
    #[inline]
    fn append(&self, id: &str, expected: u64, record: Record) -> Result<u64, u64> {
        let mut store = self.0.write();
        let InOrder { records, streams } = &mut *store;
        let stream = match streams.get_mut(id) {
            Some(stream) => stream,
            None => streams.entry(id.to_owned()).or_default(),
        };
        let length = push_expected(stream, expected, records.len())?;
        records.push(record);
        Ok(length)
    }
}

impl Ordered {
    /// Without an expectation.
    #[inline]
    pub fn append_any(&self, id: &str, record: Record) {
        let mut store = self.0.write();
        let place = store.records.len();
        match store.streams.get_mut(id) {
            Some(stream) => stream.push(place),
            None => {
                store.streams.insert(id.to_owned(), vec![place]);
            }
        }
        store.records.push(record);
    }

    /// Several under one lock, without an expectation.
    pub fn append_all(&self, id: &str, records: impl ExactSizeIterator<Item = Record>) {
        let mut store = self.0.write();
        let (from, count) = (store.records.len(), records.len());
        match store.streams.get_mut(id) {
            Some(stream) => stream.extend(from..from + count),
            None => _ = store.streams.insert(id.to_owned(), (from..from + count).collect()),
        }
        store.records.extend(records);
    }

    /// Goes over the records of a stream, under the lock.
    pub fn fold<B>(&self, id: &str, with: impl Fn(B, &Record) -> B) -> B
    where
        B: Default,
    {
        let store = self.0.read();
        let places = store.streams.get(id).into_iter().flatten();
        places.fold(B::default(), |sum, place| with(sum, &store.records[*place]))
    }

    /// How many records, and how many of them are of a kind, by looking at all of them.
    pub fn count(&self, of_kind: impl Fn(&Record) -> bool) -> (usize, usize) {
        let store = self.0.read();
        (store.records.len(), store.records.iter().filter(|record| of_kind(record)).count())
    }
}

#[inline]
fn push_expected<T>(stream: &mut Vec<T>, expected: u64, value: T) -> Result<u64, u64> {
    let length = stream.len() as u64;
    if length != expected {
        return Err(length);
    }
    stream.push(value);
    Ok(length + 1)
}

/// A hand-written store with append conditions: the records after a place are looked at, under one lock.
#[derive(Default)]
pub struct Tagged(parking_lot::RwLock<Vec<(Record, Vec<&'static str>)>>);

impl Tagged {
    pub fn append(&self, record: Record, tags: Vec<&'static str>) {
        self.0.write().push((record, tags));
    }

    /// Appends if nothing from place `after` on has the tag. Returns the new length.
    #[inline]
    pub fn append_unless(&self, tag: &str, after: usize, record: Record) -> Option<usize> {
        let mut records = self.0.write();
        if records[after..].iter().any(|(_, tags)| tags.contains(&tag)) {
            return None;
        }
        records.push((record, Vec::new()));
        Some(records.len())
    }
}
