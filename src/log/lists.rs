//! Walks over lists of positions: a stream's index, or what a bucket has of a key; one, or several merged.
//!
//! A query is answered from lists when lists together are sure to have every envelope that matches, and are short enough.
//! Whatever they lead to is still asked whether it matches, so a read says the same with indexes and without.

use std::ptr::NonNull;

use smallvec::SmallVec;

use super::backing::{Backing, Stopped};
use super::core::Core;
use super::cursor::Range;
use super::directory::Entry;
use super::envelope::Envelope;
use super::index::{Index, as_index};
use super::keys::{KeyKind, Spread, position_of};
use super::reclaim::Guard;
use crate::model::{Field, Item, Query};

/// Positions in ascending order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Stream(NonNull<Entry>),
    Key(Spread),
}

impl List {
    fn index(self, core: &Core) -> &Index {
        match self {
            // SAFETY: entries live as long as the log.
            List::Stream(entry) => unsafe { &entry.as_ref().index },
            List::Key(at) => core.keys.as_ref().expect("a key is of a log with indexes").bucket(at.bucket),
        }
    }

    /// The position in a cell, whoever's it is.
    fn order(self, cell: u64) -> u64 {
        match self {
            List::Stream(_) => cell,
            List::Key(_) => position_of(cell),
        }
    }

    /// How many cells there are to walk over, those of other keys included.
    fn cost(self, core: &Core, guard: &Guard) -> u64 {
        let index = self.index(core);
        index.place(guard).revision().saturating_sub(index.first_revision(guard))
    }

    /// How many of them to go through `slots`. Searched for only when all cells together are more than `most`.
    fn cost_within(self, slots: Range, most: u64, core: &Core, guard: &Guard) -> u64 {
        let all = self.cost(core, guard);
        if all <= most {
            return all;
        }
        let within = self.within(slots, core, guard);
        within.end - within.start
    }

    /// The revisions whose positions are those of `slots`. Everything before their end is finished.
    fn within(self, slots: Range, core: &Core, guard: &Guard) -> Range {
        let index = self.index(core);
        let start = index.partition(|cell| self.order(cell) <= slots.start, guard);
        let end = index.partition(|cell| self.order(cell) <= slots.end, guard);
        Range { start, end: end.max(start) }
    }
}

/// Lists that together have every envelope that is looked for, each at least once.
pub(crate) type Lists = SmallVec<[List; 4]>;

/// A step along a list costs as much as looking at so many envelopes that lie side by side: 20 to 50 ns for a record found
/// by its position, 5 for the next one. (In models and in
/// tests of this crate's own, lists are always taken: they are what is to be tested.)
const STEP: u64 = if cfg!(any(test, loom, annals_shuttle)) { 0 } else { 4 };

/// The lists to answer a query from, or none when it is better to look at all of `slots`.
pub(crate) fn plan(core: &Core, query: &Query, slots: Range, guard: &Guard) -> Option<Lists> {
    if query.items().is_empty() || slots.start >= slots.end {
        return None;
    }
    let most = (slots.end - slots.start).checked_div(STEP).unwrap_or(u64::MAX);
    let (mut lists, mut cost) = (Lists::new(), 0_u64);
    for item in query.items() {
        let (more, its_cost) = shortest(core, item, slots, most, guard)?;
        cost = cost.saturating_add(its_cost);
        if cost > most {
            return None;
        }
        more.into_iter().for_each(|list| {
            if !lists.contains(&list) {
                lists.push(list);
            }
        });
    }
    Some(lists)
}

/// The shortest way to everything that an item can match.
fn shortest(core: &Core, item: &Item, slots: Range, most: u64, guard: &Guard) -> Option<(Lists, u64)> {
    let mut best: Option<(Lists, u64)> = None;
    for (field, texts) in item.wishes() {
        for lists in ways(core, field, texts, guard) {
            let cost = lists.iter().map(|list| list.cost_within(slots, most, core, guard)).sum();
            if best.as_ref().is_none_or(|(_, least)| cost < *least) {
                best = Some((lists, cost));
            }
        }
    }
    best
}

/// The ways to what has one of `texts` in a field, or all of them when they are tags.
fn ways(core: &Core, field: Field, texts: &[Box<str>], guard: &Guard) -> SmallVec<[Lists; 2]> {
    let mut ways = SmallVec::new();
    if texts.is_empty() {
        return ways;
    }
    let kind = match field {
        Field::Stream => {
            // One that is not known has no envelope.
            let known = texts.iter().filter_map(|stream| core.directory.get(stream, guard));
            ways.push(known.map(List::Stream).collect());
            return ways;
        }
        Field::Category => KeyKind::Category,
        Field::Name => KeyKind::Name,
        Field::Tag => KeyKind::Tag,
        Field::Correlation => KeyKind::Correlation,
        Field::Session => KeyKind::Session,
        Field::MessageId => KeyKind::MessageId,
    };
    let Some(table) = core.keys.as_ref().filter(|table| table.has(kind)) else { return ways };
    let lists = texts.iter().map(|text| List::Key(table.spread(kind, text)));
    if kind == KeyKind::Tag {
        ways.extend(lists.map(|list| Lists::from_elem(list, 1)));
    } else {
        ways.push(lists.collect());
    }
    ways
}

/// How many cells are copied from an index at a time.
pub(crate) const NEAR: usize = 32;

/// A walk along one list.
pub(crate) struct ListWalk {
    list: List,
    /// Revisions still to come, those in `near` not included.
    range: Range,
    backwards: bool,
    /// Positions copied from the index, in the order of the walk.
    near: [u64; NEAR],
    at: usize,
    len: usize,
    /// In a log with a backing: memory has no revisions before this one.
    resident: u64,
}

impl ListWalk {
    /// Over these revisions.
    pub(crate) fn new(list: List, range: Range, backwards: bool) -> Self {
        Self { list, range, backwards, near: [0; NEAR], at: 0, len: 0, resident: 0 }
    }

    /// The index of the next slot.
    #[inline]
    pub(crate) fn next_index(&mut self, core: &Core) -> Option<u64> {
        let index = self.peek(core)?;
        self.at += 1;
        Some(index)
    }

    /// The index of the next slot, without going on.
    #[inline]
    pub(crate) fn peek(&mut self, core: &Core) -> Option<u64> {
        if self.at == self.len {
            self.refill(core)?;
        }
        Some(self.near[self.at % NEAR] - 1)
    }

    /// Goes on when the next slot is this one.
    #[inline]
    pub(crate) fn pass(&mut self, index: u64) -> bool {
        let passes = self.at < self.len && self.near[self.at % NEAR] == index + 1;
        self.at += usize::from(passes);
        passes
    }

    /// The revisions still to come.
    pub(crate) fn rest(&self) -> Range {
        self.range
    }

    /// Of the list of a stream, in a log with a backing: whether memory has what is next, or nothing is.
    pub(crate) fn is_in_memory(&mut self, core: &Core) -> bool {
        if self.at < self.len || self.range.start >= self.range.end {
            return true;
        }
        let resident = core.resident();
        self.resident = self.list.index(core).partition(|position| position <= resident, &core.pin());
        let next = if self.backwards { self.range.end - 1 } else { self.range.start };
        next >= self.resident
    }

    /// Reads what is next from the backing.
    pub(crate) fn read(&mut self, core: &Core, backing: &dyn Backing) -> Result<Vec<Envelope>, Stopped> {
        let List::Stream(entry) = self.list else { return Ok(Vec::new()) };
        let _ = core;
        // SAFETY: entries live as long as the log.
        backing.read_stream(unsafe { entry.as_ref() }.name(), &mut self.range, self.backwards)
    }

    #[cold]
    fn refill(&mut self, core: &Core) -> Option<()> {
        let guard = core.pin();
        let (index, backed) = (self.list.index(core), core.backing().is_some());
        loop {
            let first = index.first_revision(&guard);
            let start = if backed { self.range.start.max(self.resident) } else { self.range.start.max(first) };
            if !backed {
                self.range.start = start;
            }
            if start >= self.range.end {
                return None;
            }
            let wanted = (self.range.end - start).min(NEAR as u64);
            let from = if self.backwards { self.range.end - wanted } else { start };
            let copied = index.copy(from, &mut self.near[..as_index(wanted)], &guard);
            if copied == 0 {
                if backed {
                    return None;
                }
                // Every revision of the view is there, unless its block was removed since we looked.
                debug_assert!(index.first_revision(&guard) > first, "a revision of the view is missing");
                continue;
            }
            if self.backwards {
                self.range.end = from;
            } else {
                self.range.start = from + copied as u64;
            }
            if self.keep(copied) {
                return Some(());
            }
        }
    }

    /// Keeps the positions of those cells that belong to the list, in order. Whether there are any.
    fn keep(&mut self, copied: usize) -> bool {
        let kept = match self.list {
            List::Stream(_) => copied,
            List::Key(at) => self.keep_of(at, copied),
        };
        if self.backwards {
            self.near[..kept].reverse();
        }
        (self.at, self.len) = (0, kept);
        kept > 0
    }

    fn keep_of(&mut self, spread: Spread, copied: usize) -> usize {
        let mut kept = 0;
        for at in 0..copied {
            let cell = self.near[at];
            if spread.is_in(cell) {
                self.near[kept] = position_of(cell);
                kept += 1;
            }
        }
        kept
    }
}

/// A walk along several lists at once: each slot that one of them has, once, in order.
pub(crate) struct Merge {
    walks: SmallVec<[ListWalk; 1]>,
    backwards: bool,
}

impl Merge {
    pub(crate) fn new(core: &Core, lists: &[List], slots: Range, backwards: bool, guard: &Guard) -> Self {
        let walk = |list: &List| ListWalk::new(*list, list.within(slots, core, guard), backwards);
        Self { walks: lists.iter().map(walk).collect(), backwards }
    }

    pub(crate) fn next_index(&mut self, core: &Core) -> Option<u64> {
        if let [walk] = &mut *self.walks {
            let next = walk.peek(core)?;
            walk.pass(next);
            return Some(next);
        }
        let heads = self.walks.iter_mut().filter_map(|walk| walk.peek(core));
        let next = if self.backwards { heads.max() } else { heads.min() }?;
        self.walks.iter_mut().for_each(|walk| _ = walk.pass(next));
        Some(next)
    }
}

#[cfg(all(test, not(any(loom, annals_shuttle))))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::log::{AppendError, Batch, Builder, Indexes, Log};
    use crate::model::{Condition, Message};
    use crate::sync::pause;

    const TEXTS: [&str; 4] = ["a", "b", "c", "d"];

    /// What a message has: two bits choose each text, two others whether it is there.
    fn message(bits: u32) -> Message<'static> {
        let text = |at: u32| TEXTS[(bits >> (2 * at) & 3) as usize];
        let has = |at: u32| bits >> (20 + at) & 1 != 0;
        let mut message = Message::builder(text(0));
        message = if has(0) { message.tag(text(1)) } else { message };
        message = if has(1) { message.tag(text(2)) } else { message };
        message = if has(2) { message.correlation_id(text(3)) } else { message };
        message = if has(3) { message.session_id(text(4)) } else { message };
        message = if has(4) { message.message_id(text(5)) } else { message };
        message.build().unwrap()
    }

    fn stream(bits: u32) -> &'static str {
        ["a-1", "a-2", "b", "c-1"][(bits >> 12 & 3) as usize]
    }

    fn item(bits: u32) -> Item {
        let text = |at: u32| TEXTS[(bits >> (2 * at) & 3) as usize];
        let mut item = Item::new();
        for wish in 0..8 {
            if bits >> (20 + wish) & 1 == 0 {
                continue;
            }
            item = match wish {
                0 => item.name(text(0)).unwrap(),
                1 => item.tag(text(1)).unwrap(),
                2 => item.tag(text(2)).unwrap(),
                3 => item.correlation(text(3)),
                4 => item.session(text(4)).session(text(5)),
                5 => item.message_id(text(5)),
                6 => item.category(text(6)).unwrap(),
                _ => item.stream(stream(bits)).unwrap().stream("never").unwrap(),
            };
        }
        if (bits >> 28).is_multiple_of(4) { item.correlation_prefix("a") } else { item }
    }

    fn query(items: &[u32]) -> Query {
        items.iter().fold(Query::all(), |query, bits| query.or(item(*bits)))
    }

    fn positions(log: &Log, query: &Query, backwards: bool, last: Option<u64>) -> Vec<u64> {
        let read = log.read().matching(query.clone());
        let read = if backwards { read.backwards() } else { read };
        let read = if let Some(last) = last { read.last(last) } else { read };
        read.iter().map(|envelope| envelope.position().get()).collect()
    }

    /// The same batch on all logs, alone where it is one message, under a condition.
    fn append(log: &Log, messages: &[u32], condition: &Condition) -> Result<u64, u64> {
        let result = if let [alone] = messages {
            let appended = log.append_with(stream(*alone), message(*alone), condition);
            appended.map(|appended| appended.position).map_err(|rejected| rejected.error)
        } else {
            let add = |batch: Batch<'static>, bits: &u32| batch.add(stream(*bits), message(*bits));
            let batch = messages.iter().fold(Batch::new(), add).condition(condition.clone());
            log.append_batch(batch).map(|appended| appended.last).map_err(|rejected| rejected.error)
        };
        match result {
            Ok(position) => Ok(position.get()),
            Err(AppendError::ConditionFailed(failed)) => Err(failed.position().get()),
            Err(other) => panic!("{other}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        /// Reads and conditions say the same with indexes and without, however keys collide, after truncations too.
        #[test]
        fn indexes_change_no_answer(
            steps in vec((vec(any::<u32>(), 1..4), vec(any::<u32>(), 1..3), 0..8_u64), 1..40),
            queries in vec((vec(any::<u32>(), 1..4), any::<bool>(), proptest::option::of(0..5_u64)), 20),
        ) {
            let build = |indexes| Builder::new().segment_slots(4).no_clock().indexes(indexes).build().unwrap();
            let plain = build(Indexes::new());
            let logs = [build(Indexes::all()), build(Indexes::all().buckets(1)), build(Indexes::new().tags().buckets(2))];
            for (messages, condition, choice) in &steps {
                let after = plain.end().get().saturating_sub(*choice);
                let condition = Condition::none(query(condition)).after(after);
                let expected = append(&plain, messages, &condition);
                for log in &logs {
                    prop_assert_eq!(append(log, messages, &condition), expected);
                    if *choice == 7 {
                        log.truncate_before(after);
                    }
                }
                if *choice == 7 {
                    plain.truncate_before(after);
                }
            }
            for (items, backwards, last) in &queries {
                let query = query(items);
                let expected = positions(&plain, &query, *backwards, *last);
                for log in &logs {
                    prop_assert_eq!(positions(log, &query, *backwards, *last), expected.clone());
                }
            }
        }
    }

    /// A rare tag is found by its list, whatever else is asked for; a common name alone is not.
    #[test]
    fn the_shortest_list_is_taken() {
        let log = Builder::new().no_clock().indexes(Indexes::new().names().tags()).build().unwrap();
        for n in 0..100 {
            let message = Message::builder("E").tag("common");
            let message = if n == 50 { message.tag("rare") } else { message };
            log.append("s", message.build().unwrap()).unwrap();
        }
        let (core, guard) = (log.core(), log.core().pin());
        let slots = Range { start: 0, end: 100 };
        let cost = |item: Item| shortest(core, &item, slots, u64::MAX, &guard).map(|(_, cost)| cost);
        assert_eq!(cost(Item::new().name("E").unwrap().tag("common").unwrap().tag("rare").unwrap()), Some(1));
        assert_eq!(cost(Item::new().name("E").unwrap()), Some(100));
        assert_eq!(cost(Item::new().stream("never").unwrap().name("E").unwrap()), Some(0));
        assert_eq!(cost(Item::new().correlation("x")), None);
        let planned = |item: Item| plan(core, &Query::all().or(item), slots, &guard).map(|lists| lists.len());
        assert_eq!(planned(Item::new().tag("rare").unwrap()), Some(1));
        assert_eq!(planned(Item::new().correlation("x")), None);
    }

    /// Truncation takes the cells with it: what is left is less than two segments' worth.
    #[test]
    fn truncation_shrinks_a_list() {
        let log = Builder::new().segment_slots(64).no_clock().indexes(Indexes::new().names()).build().unwrap();
        (0..20_000).for_each(|_| _ = log.append("s", Message::event("E", "").unwrap()).unwrap());
        log.truncate_before(19_999);
        // Other tests' threads, pinned in the same epoch, may delay it.
        while log.unreturned_segments() > 0 {
            log.maintain();
            pause();
        }
        let (core, guard) = (log.core(), log.core().pin());
        let list = List::Key(core.keys.as_ref().unwrap().spread(KeyKind::Name, "E"));
        assert!(list.cost(core, &guard) <= 2 * 4096, "{} cells", list.cost(core, &guard));
        assert_eq!(log.read().matching(Query::name("E").unwrap()).iter().count(), 2);
    }
}
