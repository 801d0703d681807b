//! A history of operations on a log, and whether it is linearizable (L3, L4, L5): is there one order of all operations
//! that agrees with every answer, and with the order in which operations returned before others began?
//!
//! No search is needed: the positions are the order. For each append the latest beginning of an operation that must come
//! before it is kept, and the earliest return of one that must come after; a history is linearizable if no append must
//! take effect after it must have taken effect. A read that saw k envelopes lies between positions k and k + 1; a conflict
//! that names revision r of a stream lies between the appends of revisions r and r + 1. What lies between two positions
//! of one batch cannot be.
//!
//! Histories are recorded on real threads (`linearizable.rs`) and under shuttle (`loom-tests/shuttle`).

use std::collections::BTreeMap;

use annals::{AppendError, Appended, Batch, Condition, Expected, Log, Message, Query, Rejected, Revision};

/// When an operation began and returned, on one clock.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub began: u64,
    pub returned: u64,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Append(Append),
    /// The stream was not as expected: what it was.
    Conflict {
        stream: usize,
        expected: Option<u64>,
        actual: Option<u64>,
    },
    /// An envelope with the tag was there: its position.
    Refused {
        tag: u64,
        position: u64,
    },
    End {
        position: u64,
    },
    Last {
        stream: usize,
        revision: Option<u64>,
    },
}

/// What was appended at one instant.
#[derive(Clone, Debug, Default)]
pub struct Append {
    pub first: u64,
    /// Stream and revision of each envelope.
    pub envelopes: Vec<(usize, u64)>,
    /// What was expected of which stream.
    pub expected: Option<(usize, Option<u64>)>,
    /// No envelope before had this tag; its first one has it.
    pub tag: Option<u64>,
}

pub type History = Vec<(Span, Operation)>;

pub const STREAMS: [&str; 2] = ["one", "two"];

/// What one append is held between.
#[derive(Clone, Copy)]
struct Bounds {
    not_before: u64,
    not_after: u64,
}

/// The appends in their order.
#[derive(Default)]
struct Order {
    bounds: Vec<Bounds>,
    /// For each position its append.
    append_of: Vec<usize>,
    /// For each stream the positions of its revisions.
    revisions: [Vec<u64>; STREAMS.len()],
    tags: BTreeMap<u64, u64>,
}

/// # Errors
/// What no order can explain.
pub fn check(history: &History) -> Result<(), String> {
    let mut order = Order::of(history)?;
    for (span, operation) in history {
        match operation {
            Operation::Append(_) => {}
            Operation::End { position } => order.saw(*span, *position, *position + 1)?,
            Operation::Conflict { stream, expected, actual } => {
                if expected == actual {
                    return Err(format!("a conflict over what is so: {operation:?}"));
                }
                order.saw_revision(*span, *stream, *actual)?;
            }
            Operation::Refused { tag, position } => {
                if order.tags.get(tag) != Some(position) {
                    return Err(format!("{operation:?}, but {:?}", order.tags.get(tag)));
                }
                order.saw(*span, *position, u64::MAX)?;
            }
            Operation::Last { stream, revision } => order.saw_revision(*span, *stream, *revision)?,
        }
    }
    let mut latest = 0;
    for (number, bound) in order.bounds.iter().enumerate() {
        latest = latest.max(bound.not_before);
        if latest > bound.not_after {
            return Err(format!("append {number} takes effect too late"));
        }
    }
    Ok(())
}

impl Order {
    fn of(history: &History) -> Result<Self, String> {
        let mut appends: Vec<_> = history
            .iter()
            .filter_map(|(span, operation)| if let Operation::Append(it) = operation { Some((span, it)) } else { None })
            .collect();
        appends.sort_unstable_by_key(|(_, append)| append.first);
        let mut order = Self::default();
        for (span, append) in appends {
            order.push(*span, append)?;
        }
        Ok(order)
    }

    fn push(&mut self, span: Span, append: &Append) -> Result<(), String> {
        let next = self.append_of.len() as u64 + 1;
        if append.first != next {
            return Err(format!("position {} where {next} comes next", append.first));
        }
        if let Some((stream, expected)) = append.expected {
            let actual = (self.revisions[stream].len() as u64).checked_sub(1);
            if expected != actual {
                return Err(format!("appended at {next} although {expected:?} was expected, not {actual:?}"));
            }
        }
        if let Some(tag) = append.tag
            && let Some(before) = self.tags.insert(tag, next)
        {
            return Err(format!("appended at {next} although {before} has the tag"));
        }
        for (position, &(stream, revision)) in (next..).zip(&append.envelopes) {
            if revision != self.revisions[stream].len() as u64 {
                return Err(format!("revision {revision} after {} of its stream", self.revisions[stream].len()));
            }
            self.revisions[stream].push(position);
            self.append_of.push(self.bounds.len());
        }
        self.bounds.push(Bounds { not_before: span.began, not_after: span.returned });
        Ok(())
    }

    fn append_of(&self, position: u64) -> Option<usize> {
        self.append_of.get(usize::try_from(position.checked_sub(1)?).ok()?).copied()
    }

    /// An operation comes after position `seen` (0: none) and before position `unseen` (when there is such a one).
    fn saw(&mut self, span: Span, seen: u64, unseen: u64) -> Result<(), String> {
        let (before, after) = (self.append_of(seen), self.append_of(unseen));
        if seen > 0 && before.is_none() {
            return Err(format!("position {seen} was seen, but never appended"));
        }
        if before.is_some() && before == after {
            return Err(format!("position {seen} was seen without {unseen}, of the same batch"));
        }
        if let Some(before) = before {
            self.bounds[before].not_after = self.bounds[before].not_after.min(span.returned);
        }
        if let Some(after) = after {
            self.bounds[after].not_before = self.bounds[after].not_before.max(span.began);
        }
        Ok(())
    }

    fn saw_revision(&mut self, span: Span, stream: usize, revision: Option<u64>) -> Result<(), String> {
        let at = &self.revisions[stream];
        let next = revision.map_or(0, |revision| revision + 1) as usize;
        let seen = match next {
            0 => 0,
            _ => *at.get(next - 1).ok_or_else(|| format!("revision {revision:?} was seen, but never appended"))?,
        };
        let unseen = at.get(next).copied().unwrap_or(u64::MAX);
        self.saw(span, seen, unseen)
    }
}

/// The same numbers for the same seed (Vigna's splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One thread's part in a history.
pub struct Actor<'l> {
    log: &'l Log,
    dice: Dice,
    last_seen: [Option<u64>; STREAMS.len()],
    /// A stream that a conflict was just told of: looked at next, because what was told must be so from now on.
    doubted: Option<usize>,
}

impl<'l> Actor<'l> {
    pub fn new(log: &'l Log, seed: u64) -> Self {
        Self { log, dice: Dice(seed), last_seen: [None; STREAMS.len()], doubted: None }
    }

    /// One operation of the mix.
    pub fn step(&mut self) -> Operation {
        if let Some(stream) = self.doubted.take() {
            return self.last(stream);
        }
        let stream = self.dice.below(STREAMS.len() as u64) as usize;
        match self.dice.below(12) {
            0..2 => self.append(stream, None),
            2..7 => self.append(stream, Some(self.last_seen[stream])),
            7 => self.batch(stream, None),
            8 => self.batch(stream, Some(self.last_seen[stream])),
            9 => self.tagged(stream),
            10 => Operation::End { position: self.log.end().get() },
            _ => self.last(stream),
        }
    }

    fn last(&mut self, stream: usize) -> Operation {
        let revision = self.log.stream(STREAMS[stream]).unwrap().revision().map(Revision::get);
        self.last_seen[stream] = revision;
        Operation::Last { stream, revision }
    }

    fn append(&mut self, stream: usize, expected: Option<Option<u64>>) -> Operation {
        match self.log.append_with(STREAMS[stream], event(), terms(expected)) {
            Ok(appended) => self.appended(stream, appended, expected.map(|expected| (stream, expected)), None),
            Err(rejected) => self.conflict(stream, expected, &rejected),
        }
    }

    fn appended(
        &mut self,
        stream: usize,
        appended: Appended,
        expected: Option<(usize, Option<u64>)>,
        tag: Option<u64>,
    ) -> Operation {
        let revision = appended.revision.get();
        self.last_seen[stream] = Some(revision);
        Operation::Append(Append { first: appended.position.get(), envelopes: vec![(stream, revision)], expected, tag })
    }

    fn conflict<T>(&mut self, stream: usize, expected: Option<Option<u64>>, rejected: &Rejected<T>) -> Operation {
        let actual = rejected.conflict().expect("nothing else is in the way").actual().map(Revision::get);
        self.last_seen[stream] = actual;
        self.doubted = Some(stream);
        Operation::Conflict { stream, expected: expected.expect("nothing was expected"), actual }
    }

    /// Two of one stream, with one of the other between them.
    fn batch(&mut self, stream: usize, expected: Option<Option<u64>>) -> Operation {
        let streams = [stream, 1 - stream, stream];
        let mut batch = streams.iter().fold(Batch::new(), |batch, stream| batch.add(STREAMS[*stream], event()));
        if expected.is_some() {
            batch = batch.expect(STREAMS[stream], terms(expected));
        }
        match self.log.append_batch(batch) {
            Ok(appended) => {
                let revisions = appended.revisions.iter().map(|revision| revision.get());
                let envelopes: Vec<_> = streams.into_iter().zip(revisions).collect();
                envelopes.iter().for_each(|(stream, revision)| self.last_seen[*stream] = Some(*revision));
                let expected = expected.map(|expected| (stream, expected));
                Operation::Append(Append { first: appended.first.get(), envelopes, expected, tag: None })
            }
            Err(rejected) => self.conflict(stream, expected, &rejected),
        }
    }

    /// Under the condition that nothing has the tag, which others want to be the first with, too.
    fn tagged(&mut self, stream: usize) -> Operation {
        let tag = self.log.end().get() / 4;
        let text = format!("tag:{tag}");
        let condition = Condition::none(Query::tag(&text).unwrap());
        let message = Message::builder("E").tag(text.as_str()).build().unwrap();
        match self.log.append_with(STREAMS[stream], message, &condition) {
            Ok(appended) => self.appended(stream, appended, None, Some(tag)),
            Err(rejected) => {
                let AppendError::ConditionFailed(failed) = &rejected.error else { panic!("{}", rejected.error) };
                Operation::Refused { tag, position: failed.position().get() }
            }
        }
    }
}

fn event() -> Message<'static> {
    Message::event("E", "").unwrap()
}

fn terms(expected: Option<Option<u64>>) -> Expected {
    expected.map_or(Expected::Any, |revision| revision.map_or(Expected::NoStream, Expected::exactly))
}
