//! The log as it would be without concurrency and without memory to return: a vector. What the laws say is written here
//! a second time, as simply as can be; the log is right when it cannot be told from this.

use std::collections::BTreeMap;

use annals::Expected;

use crate::program::{Criteria, Draft, Selection};

/// What the model remembers of an envelope. Its position is its place in the vector, from 1.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub draft: Draft,
    pub revision: u64,
    pub time: Option<i64>,
    /// Whether the append ended with it.
    pub last: bool,
}

/// What an append may be refused for: the stream that is not as expected, or the first envelope that matches.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    Conflict { stream: &'static str, actual: Option<u64>, missed: Vec<u64> },
    Matched { position: u64, missed: Vec<u64> },
}

#[derive(Default)]
pub struct Model {
    records: Vec<Recorded>,
    streams: BTreeMap<&'static str, Vec<u64>>,
    /// Positions up to this one are removed.
    pub floor: u64,
}

impl Model {
    pub fn end(&self) -> u64 {
        self.records.len() as u64
    }

    pub fn at(&self, position: u64) -> &Recorded {
        &self.records[usize::try_from(position - 1).unwrap()]
    }

    pub fn visible(&self, position: u64) -> bool {
        position > self.floor && position <= self.end()
    }

    pub fn revision(&self, stream: &str) -> Option<u64> {
        (self.streams.get(stream)?.len() as u64).checked_sub(1)
    }

    /// Everything that stands against an append now.
    pub fn refusals(
        &self,
        expectations: &[(&'static str, Expected)],
        condition: Option<(&Criteria, u64)>,
    ) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for &(stream, expected) in expectations {
            let actual = self.revision(stream);
            let met = match expected {
                Expected::Any => true,
                Expected::NoStream => actual.is_none(),
                Expected::Exists => actual.is_some(),
                Expected::Exactly(revision) => actual == Some(revision.get()),
            };
            if !met {
                let seen =
                    if let Expected::Exactly(revision) = expected { revision.get().saturating_add(1) } else { 0 };
                let mut unseen = Selection::all(Some(stream));
                unseen.revisions = (seen, u64::MAX);
                refusals.push(Refusal::Conflict { stream, actual, missed: self.read(&unseen, self.end()) });
            }
        }
        if let Some((criteria, after)) = condition {
            let matching = Selection { criteria: Some(*criteria), ..Selection::all(None) };
            let missed: Vec<_> = self.read(&matching, self.end()).into_iter().filter(|at| *at > after).collect();
            if let Some(&position) = missed.first() {
                refusals.push(Refusal::Matched { position, missed });
            }
        }
        refusals
    }

    pub fn append(&mut self, drafts: &[Draft], now: Option<i64>) {
        let time = now.map(|now| self.records.last().and_then(|last| last.time).map_or(now, |last| last.max(now)));
        for (at, draft) in drafts.iter().enumerate() {
            let stream = self.streams.entry(draft.stream()).or_default();
            let revision = stream.len() as u64;
            stream.push(self.records.len() as u64 + 1);
            self.records.push(Recorded { draft: *draft, revision, time, last: at + 1 == drafts.len() });
        }
    }

    pub fn truncate_before(&mut self, position: u64) {
        self.floor = self.floor.max(position.saturating_sub(1).min(self.end()));
    }

    /// The end of the view at a position: back over a batch that goes on after it, as far as that is still there.
    pub fn view_end(&self, position: u64) -> Option<u64> {
        let mut end = (position <= self.end()).then_some(position)?;
        while end > self.floor && !self.at(end).last {
            end -= 1;
        }
        Some(end)
    }

    /// The positions that a read selects from a view, in its order.
    pub fn read(&self, selection: &Selection, end: u64) -> Vec<u64> {
        let mut found: Vec<_> = (self.floor + 1..=end).filter(|at| self.selects(selection, *at)).collect();
        if let Some(last) = selection.last {
            found.drain(..found.len().saturating_sub(usize::try_from(last).unwrap()));
        }
        if selection.backwards {
            found.reverse();
        }
        found.truncate(selection.first.map_or(usize::MAX, |first| usize::try_from(first).unwrap()));
        found
    }

    fn selects(&self, selection: &Selection, position: u64) -> bool {
        let recorded = self.at(position);
        let (from, to) = selection.positions;
        selection.stream.is_none_or(|stream| stream == recorded.draft.stream())
            && (from..=to).contains(&position)
            && (selection.revisions.0..=selection.revisions.1).contains(&recorded.revision)
            && selection.since.is_none_or(|since| recorded.time.is_some_and(|time| time >= since))
            && selection.until.is_none_or(|until| recorded.time.is_some_and(|time| time <= until))
            && selection.criteria.is_none_or(|criteria| criteria.matches(&recorded.draft))
    }
}
