//! Append conditions: each envelope after the condition's position is asked once whether it matches, or only those that
//! indexes name.

use super::append::{Refusal, Terms};
use super::backing::{Backing, Stopped};
use super::core::Core;
use super::cursor::Range;
use super::lists::{self, Merge, NEAR};
use super::reclaim::Guard;
use super::record::Record;
use crate::model::{Condition, Query};

impl Core {
    /// Checks the append's condition against what is before `end` and was not checked yet: each envelope once, however
    /// often the swap is lost. A match refuses the append at once, because it stays a match.
    #[inline]
    pub(super) fn check(&self, terms: &mut Terms<'_>, end: u64, guard: &Guard) -> Result<(), Refusal> {
        match terms.condition {
            None => Ok(()),
            Some(condition) => self.scan(condition, &mut terms.checked, end, guard),
        }
    }

    #[inline(never)]
    fn scan(&self, condition: &Condition, checked: &mut u64, to: u64, guard: &Guard) -> Result<(), Refusal> {
        let found = self.scan_with(checked, to, guard, |record, index| {
            let forbids = |part: &Condition| index >= part.position().get() && part.query().matches(record);
            condition.parts().position(forbids)
        });
        match found.map_err(|_| Refusal::Unreadable)? {
            None => Ok(()),
            Some((index, part)) => Err(Refusal::Match { index, part, end: self.end(guard) }),
        }
    }

    /// Asks about each record from `checked` to `to`; the first one that there is an answer about, with that.
    fn scan_with<A>(
        &self,
        checked: &mut u64,
        to: u64,
        guard: &Guard,
        ask: impl Fn(&Record<'_>, u64) -> Option<A>,
    ) -> Result<Option<(u64, A)>, Stopped> {
        let mut index = (*checked).max(self.first());
        while index < to {
            let Some(segment) = self.segment_of(index, guard) else {
                // Not in memory any more: elsewhere, or nowhere.
                if let Some(answer) = self.recalled(index)?.and_then(|envelope| ask(&envelope.record(), index)) {
                    return Ok(Some((index, answer)));
                }
                index = self.first().max(index + 1);
                continue;
            };
            while index < to.min(segment.end_index()) {
                if let Some(answer) = ask(&segment.record(index), index) {
                    return Ok(Some((index, answer)));
                }
                index += 1;
            }
        }
        *checked = index.max(*checked);
        Ok(None)
    }

    /// Before an append competes: checks the condition up to the present, some records at a time, so that a long check does
    /// not stay pinned. Returns how far.
    #[inline]
    pub(crate) fn check_past(&self, condition: Option<&Condition>) -> Result<u64, Refusal> {
        match condition {
            None => Ok(0),
            Some(condition) => self.scan_past(condition),
        }
    }

    /// Each part for itself, as each may have other indexes to ask; the first envelope that any of them forbids. Again, when so
    /// much was checked that much may have been appended meanwhile.
    #[inline(never)]
    fn scan_past(&self, condition: &Condition) -> Result<u64, Refusal> {
        const MUCH: u64 = 1024;
        let mut checked = 0;
        loop {
            let end = self.end(&self.pin());
            let (mut found, mut first) = (None, end);
            for (part, one) in condition.parts().enumerate() {
                let start = one.position().get().max(checked);
                first = first.min(start);
                // Later parts need not look beyond what was found.
                let to = found.map_or(end, |(index, _)| index);
                if start < to
                    && let Some(index) =
                        self.first_match(one.query(), Range { start, end: to }).map_err(|_| Refusal::Unreadable)?
                {
                    found = Some((index, part));
                }
            }
            if let Some((index, part)) = found {
                return Err(Refusal::Match { index, part, end: self.end(&self.pin()) });
            }
            if end.saturating_sub(first) < MUCH {
                return Ok(end);
            }
            checked = end;
        }
    }

    /// The first index in `slots`, which are finished, whose record matches.
    pub(crate) fn first_match(&self, query: &Query, slots: Range) -> Result<Option<u64>, Stopped> {
        let mut slots = Range { start: slots.start.max(self.first()), end: slots.end };
        if let Some(backing) = self.backing() {
            let found = self.first_in(backing, query, &mut slots)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.first_in_memory(query, slots)
    }

    /// The first of what is not in memory; takes that away from `slots`.
    #[cold]
    fn first_in(&self, backing: &dyn Backing, query: &Query, slots: &mut Range) -> Result<Option<u64>, Stopped> {
        while slots.start < slots.end.min(self.resident()) {
            let mut rest = Range { start: slots.start, end: slots.end.min(self.resident()) };
            let found = backing.read(&mut rest, false, Some(query))?;
            if let Some(first) = found.first() {
                return Ok(Some(first.position().get() - 1));
            }
            slots.start = if rest.start < rest.end { rest.start } else { slots.end.min(self.resident()) };
        }
        Ok(None)
    }

    fn first_in_memory(&self, query: &Query, slots: Range) -> Result<Option<u64>, Stopped> {
        let guard = self.pin();
        // Lists lose what memory gives up while they are walked.
        if self.backing().is_none()
            && let Some(lists) = lists::plan(self, query, slots, &guard)
        {
            let listed = Merge::new(self, &lists, slots, false, &guard);
            drop(guard);
            return Ok(self.first_listed(query, listed));
        }
        drop(guard);
        let mut checked = slots.start;
        while checked < slots.end {
            let next_segment = ((checked >> self.config.segment_bits) + 1) << self.config.segment_bits;
            let ask = |record: &Record<'_>, _| query.matches(record).then_some(());
            let found = self.scan_with(&mut checked, slots.end.min(next_segment), &self.pin(), ask)?;
            if let Some((index, ())) = found {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The first that matches of those that lists name.
    fn first_listed(&self, query: &Query, mut listed: Merge) -> Option<u64> {
        loop {
            let guard = self.pin();
            for _ in 0..NEAR {
                let index = listed.next_index(self)?;
                if self.matches_at(query, index, &guard) {
                    return Some(index);
                }
            }
        }
    }

    /// Whether there is a record at a finished index, and it matches.
    fn matches_at(&self, query: &Query, index: u64, guard: &Guard) -> bool {
        index >= self.first()
            && self.segment_of(index, guard).is_some_and(|segment| query.matches(&segment.record(index)))
    }
}
