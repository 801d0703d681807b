//! Append conditions: each envelope after the condition's position is asked once whether it matches, or only those that
//! indexes name.

use super::append::{Refusal, Terms};
use super::core::Core;
use super::cursor::Range;
use super::lists::{self, Merge, NEAR};
use super::reclaim::Guard;
use super::spine::Link;
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
        let mut index = (*checked).max(self.first());
        while index < to {
            let Some(segment) = self.segment_of(index, guard) else {
                // Removed meanwhile.
                index = self.first().max(index + 1);
                continue;
            };
            while index < to.min(segment.end_index()) {
                if condition.query().matches(&segment.record(index)) {
                    return Err(Refusal::Match { index, end: self.end(guard) });
                }
                index += 1;
            }
        }
        *checked = index;
        Ok(())
    }

    /// Before an append competes: checks the condition up to the present, a segment at a time, so that a long check does
    /// not stay pinned. Returns how far.
    #[inline]
    pub(crate) fn check_past(&self, condition: Option<&Condition>) -> Result<u64, Refusal> {
        match condition {
            None => Ok(0),
            Some(condition) => self.scan_past(condition),
        }
    }

    #[inline(never)]
    fn scan_past(&self, condition: &Condition) -> Result<u64, Refusal> {
        let mut checked = condition.position().get();
        loop {
            let guard = self.pin();
            let end = self.end(&guard);
            if checked >= end {
                return Ok(checked);
            }
            let rest = Range { start: checked, end };
            if let Some(lists) = lists::plan(self, condition.query(), rest, &guard) {
                let listed = Merge::new(self, &lists, rest, false, &guard);
                drop(guard);
                self.check_listed(condition.query(), listed)?;
                checked = end;
                continue;
            }
            let next_segment = ((checked >> self.config.segment_bits) + 1) << self.config.segment_bits;
            self.scan(condition, &mut checked, end.min(next_segment), &guard)?;
        }
    }

    /// Asks only those that lists name. As above, some at a time.
    fn check_listed(&self, query: &Query, mut listed: Merge) -> Result<(), Refusal> {
        loop {
            let guard = self.pin();
            for _ in 0..NEAR {
                let Some(index) = listed.next_index(self) else { return Ok(()) };
                if self.matches_at(query, index, &guard) {
                    return Err(Refusal::Match { index, end: self.end(&guard) });
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
