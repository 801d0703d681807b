//! A message store by hand: a map of streams and a row of everything, under one lock; reads scan, unless it keeps maps of
//! places beside, which are its indexes.

use std::collections::HashMap;

use ahash::RandomState;
use annals::Kind;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::load::{CONTENT, Said};

/// What it keeps of a message. Without position and revision: those are its places.
pub struct Kept {
    /// Never copied: as if names were interned.
    pub name: &'static str,
    pub kind: Kind,
    pub time: u64,
    pub tags: Vec<Box<str>>,
    pub correlation: Option<Box<str>>,
    pub session: Option<Box<str>>,
    pub message_id: Option<Box<str>>,
    pub payload: Bytes,
}

impl Kept {
    fn of(said: &Said<'_>, time: u64) -> Self {
        let own = |text: Option<&str>| text.map(Box::from);
        Self {
            name: said.name,
            kind: said.kind,
            time,
            tags: vec![said.tag.into()],
            correlation: own(said.correlation),
            session: own(said.session),
            message_id: own(said.message_id),
            payload: Bytes::copy_from_slice(&CONTENT),
        }
    }
}

type Places = HashMap<Box<str>, Vec<usize>, RandomState>;

/// The row, the streams, and for each of the texts that are indexed where it occurs.
#[derive(Default)]
pub struct Rows {
    pub records: Vec<Kept>,
    streams: HashMap<String, Vec<usize>, RandomState>,
    indexes: Option<[Places; 6]>,
}

/// The number of the tags' map.
const TAGS: usize = 2;
/// The number of the message ids' map.
const MESSAGE_IDS: usize = 5;

#[derive(Default)]
pub struct ByHand(pub RwLock<Rows>);

impl ByHand {
    /// With a map for each of category, name, tag, correlation id, session id, message id.
    pub fn indexed() -> Self {
        Self(RwLock::new(Rows { indexes: Some(Default::default()), ..Rows::default() }))
    }

    pub fn append(&self, said: &Said<'_>, time: u64) {
        self.0.write().append(said, time);
    }

    /// Appends if no record has the tag.
    pub fn append_unless_tagged(&self, tag: &str, said: &Said<'_>) -> bool {
        let mut rows = self.0.write();
        let there = match &rows.indexes {
            Some(indexes) => indexes[TAGS].contains_key(tag),
            None => rows.records.iter().any(|record| record.tags.iter().any(|it| **it == *tag)),
        };
        if !there {
            rows.append(said, 0);
        }
        !there
    }

    /// Appends if none of the last `within` records has the message's id. (With a map, none at all.)
    pub fn append_once(&self, within: usize, said: &Said<'_>) -> bool {
        let mut rows = self.0.write();
        let id = said.message_id.expect("it has one");
        let there = match &rows.indexes {
            Some(indexes) => indexes[MESSAGE_IDS].contains_key(id),
            None => {
                let from = rows.records.len().saturating_sub(within);
                rows.records[from..].iter().any(|record| record.message_id.as_deref() == Some(id))
            }
        };
        if !there {
            rows.append(said, 0);
        }
        !there
    }
}

impl Rows {
    fn append(&mut self, said: &Said<'_>, time: u64) {
        let place = self.records.len();
        match self.streams.get_mut(said.stream) {
            Some(stream) => stream.push(place),
            None => _ = self.streams.insert(said.stream.to_owned(), vec![place]),
        }
        if let Some(indexes) = &mut self.indexes {
            let category = said.stream.split_once('-').map_or(said.stream, |(category, _)| category);
            let texts =
                [Some(category), Some(said.name), Some(said.tag), said.correlation, said.session, said.message_id];
            for (index, text) in indexes.iter_mut().zip(texts) {
                let Some(text) = text else { continue };
                match index.get_mut(text) {
                    Some(places) => places.push(place),
                    None => _ = index.insert(text.into(), vec![place]),
                }
            }
        }
        self.records.push(Kept::of(said, time));
    }

    /// The records with a tag, by the map.
    pub fn tagged(&self, tag: &str) -> impl Iterator<Item = &Kept> {
        self.at(TAGS, tag)
    }

    /// The records with a name, by the map.
    pub fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &Kept> {
        self.at(1, name)
    }

    fn at(&self, index: usize, text: &str) -> impl DoubleEndedIterator<Item = &Kept> {
        let indexes = self.indexes.as_ref().expect("it was made with them");
        indexes[index].get(text).into_iter().flatten().map(|place| &self.records[*place])
    }
}
