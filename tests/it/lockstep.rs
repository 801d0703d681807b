//! Runs a program on a log and on the model side by side. After each operation the two must have given the same answer,
//! and must show the same end, the same beginning, and the same new envelopes. The whole log, every stream and every view
//! taken are compared, in both directions, before anything may be lost sight of and when something may have changed that
//! is not new: before and after a truncation, after `maintain`, before a view is let go, and at the end; the envelopes
//! that were held, when the log is gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals::{
    AppendError, AppendOptions, Appender, Batch, Condition, Cursor, Envelope, Expected, Log, Read, Revision, Target,
    Timestamp, View,
};

use crate::model::{Model, Recorded, Refusal};
use crate::program::{Access, Criteria, Draft, Operation, Program, STREAMS, Selection, Timing, Wish};

/// Runs a program to its end.
///
/// # Panics
/// When log and model differ.
pub fn run(program: &Program) {
    let mut pair = Lockstep::new(program);
    for operation in &program.operations {
        pair.run(operation);
        pair.compare_new();
    }
    pair.compare_all();
    pair.outlive();
}

struct Lockstep {
    log: Log,
    appender: Appender,
    model: Model,
    timing: Timing,
    now: i64,
    clock: Arc<AtomicI64>,
    views: Vec<(View, u64)>,
    held: Vec<(Envelope, u64)>,
    reading: Option<Reading>,
    /// The end of what was compared so far.
    compared: u64,
}

/// A cursor, and what it has still to meet.
struct Reading {
    cursor: Cursor,
    rest: VecDeque<u64>,
    left: u64,
}

type Terms<'c> = (Vec<(&'static str, Expected)>, Option<(&'c Criteria, u64)>);

impl Lockstep {
    fn new(program: &Program) -> Self {
        let clock = Arc::new(AtomicI64::new(0));
        let builder = Log::builder().segment_slots(program.segment_slots).indexes(program.indexes);
        let log = match program.timing {
            Timing::None => builder.no_clock(),
            Timing::PerAppend => builder.time_per_append(),
            Timing::Clock => {
                let clock = clock.clone();
                builder.clock(move || Timestamp::from_nanos(clock.load(Ordering::Relaxed)))
            }
        };
        let log = log.build().expect("the settings are in range");
        Self {
            appender: log.appender(),
            log,
            model: Model::default(),
            timing: program.timing,
            now: 0,
            clock,
            views: Vec::new(),
            held: Vec::new(),
            reading: None,
            compared: 0,
        }
    }

    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Append { access, draft, expected, condition, clock } => {
                self.tick(*clock);
                self.append(*access, *draft, *expected, condition.as_ref());
            }
            Operation::Batch { access, drafts, expected, condition, clock } => {
                self.tick(*clock);
                self.append_batch(*access, drafts, expected, condition.as_ref());
            }
            Operation::Truncate { before } => self.truncate(self.position(*before)),
            Operation::Maintain => {
                self.log.maintain();
                self.compare_all();
            }
            Operation::Get { position } => self.get(self.position(*position)),
            Operation::View { position } => self.view_at(self.position(*position)),
            Operation::Read(wish) => self.read(wish),
            Operation::Open(wish) => self.open(wish),
            Operation::Overtake { wish, steps, ahead } => self.overtake(wish, *steps, *ahead),
            Operation::Step { count } => self.step(count % 8),
        }
    }

    /// The clock goes on, stands still or goes back; in small steps, so that bounds of time are met exactly.
    fn tick(&mut self, by: i8) {
        self.now += i64::from(by % 4);
        self.clock.store(self.now, Ordering::Relaxed);
    }

    /// A position up to a few after the end, or the last one of all.
    fn position(&self, choice: u8) -> u64 {
        if choice == u8::MAX { u64::MAX } else { u64::from(choice) % (self.model.end() + 4) }
    }

    fn expected(&self, stream: &str, choice: u8) -> Expected {
        let actual = self.model.revision(stream);
        match choice % 8 {
            0 | 1 => Expected::Any,
            2 => Expected::NoStream,
            3 => Expected::Exists,
            4 => actual.map_or(Expected::NoStream, Expected::exactly),
            5 => Expected::exactly(actual.map_or(0, |actual| actual + 1)),
            6 => Expected::exactly(actual.unwrap_or(0) / 2),
            _ => Expected::Exactly(Revision::MAX),
        }
    }

    fn append(&mut self, access: Access, draft: Draft, expected: u8, condition: Option<&(Criteria, u8)>) {
        let stream = draft.stream();
        let expected = self.expected(stream, expected);
        let terms: Terms<'_> = (vec![(stream, expected)], self.limit(condition));
        let payload = draft.payload();
        let condition = condition_of(terms.1);
        let mut options = AppendOptions::new().expected(expected);
        options = if let Some(condition) = &condition { options.condition(condition) } else { options };
        options = if self.timing == Timing::PerAppend { options.at(Timestamp::from_nanos(self.now)) } else { options };
        let result = match access {
            Access::Name => self.log.append_with(stream, draft.message(&payload), options),
            Access::Handle => self.handle(stream).append_with(draft.message(&payload), options),
            Access::Appender => {
                let handle = self.handle(stream);
                self.appender.append_with(&handle, draft.message(&payload), options)
            }
        };
        match result {
            Ok(appended) => {
                self.record(&terms, &[draft]);
                assert_eq!(appended.position, self.model.end());
                assert_eq!(Some(appended.revision.get()), self.model.revision(stream));
            }
            Err(refused) => {
                assert_eq!(refused.rejected, draft.message(&payload), "the message comes back");
                self.check_refusal(&refused.error, &terms);
            }
        }
    }

    fn append_batch(
        &mut self,
        access: Access,
        drafts: &[Draft],
        expected: &[(&'static str, u8)],
        condition: Option<&(Criteria, u8)>,
    ) {
        let expectations = expected.iter().map(|(stream, choice)| (*stream, self.expected(stream, *choice))).collect();
        let terms: Terms<'_> = (expectations, self.limit(condition));
        let payloads: Vec<_> = drafts.iter().map(|draft| draft.payload()).collect();
        let mut batch = Batch::new();
        for (draft, payload) in drafts.iter().zip(&payloads) {
            batch = batch.add(self.target(access, draft.stream()), draft.message(payload));
        }
        for &(stream, expected) in &terms.0 {
            batch = batch.expect(self.target(access, stream), expected);
        }
        batch = if let Some(condition) = condition_of(terms.1) { batch.condition(condition) } else { batch };
        batch = if self.timing == Timing::PerAppend { batch.at(Timestamp::from_nanos(self.now)) } else { batch };
        let before = self.model.end();
        let result = match access {
            Access::Appender => self.appender.append_batch(batch),
            Access::Name | Access::Handle => self.log.append_batch(batch),
        };
        match result {
            Ok(appended) => {
                self.record(&terms, drafts);
                assert_eq!((appended.first, appended.last), ((before + 1).into(), self.model.end().into()));
                let revisions: Vec<_> = (before + 1..=self.model.end()).map(|at| self.model.at(at).revision).collect();
                assert_eq!(appended.revisions.iter().map(|revision| revision.get()).collect::<Vec<_>>(), revisions);
            }
            Err(refused) => {
                let back: Vec<_> = refused.rejected.into_messages().collect();
                let sent: Vec<_> = drafts.iter().zip(&payloads).map(|(draft, bytes)| draft.message(bytes)).collect();
                assert_eq!(back, sent, "the messages come back");
                self.check_refusal(&refused.error, &terms);
            }
        }
    }

    fn handle(&self, stream: &str) -> annals::Stream {
        self.log.stream(stream).expect("the name is valid")
    }

    fn target(&self, access: Access, stream: &'static str) -> Target<'static> {
        match access {
            Access::Name => stream.into(),
            Access::Handle | Access::Appender => self.handle(stream).into(),
        }
    }

    fn limit<'c>(&self, condition: Option<&'c (Criteria, u8)>) -> Option<(&'c Criteria, u64)> {
        condition.map(|(criteria, after)| (criteria, self.position(*after)))
    }

    /// The log has appended: so must the model.
    fn record(&mut self, terms: &Terms<'_>, drafts: &[Draft]) {
        assert_eq!(self.model.refusals(&terms.0, terms.1), [], "appended against the terms");
        assert!(!ambiguous(&terms.0), "two expectations of one stream");
        let now = (self.timing != Timing::None).then_some(self.now);
        self.model.append(drafts, now);
    }

    /// The log has refused: for a reason that the model knows, with what the caller had not seen.
    fn check_refusal(&self, error: &AppendError, terms: &Terms<'_>) {
        let refusal = match error {
            AppendError::Conflict(conflict) => {
                assert_eq!(conflict.end(), self.model.end());
                let stream = STREAMS.into_iter().find(|name| *name == conflict.stream()).expect("one of ours");
                assert!(terms.0.contains(&(stream, conflict.expected())), "nobody expected that");
                let missed = self.positions(conflict.missed());
                Refusal::Conflict { stream, actual: conflict.actual().map(Revision::get), missed }
            }
            AppendError::ConditionFailed(failed) => {
                assert_eq!(failed.end(), self.model.end());
                Refusal::Matched { position: failed.position().get(), missed: self.positions(failed.missed()) }
            }
            AppendError::AmbiguousExpectation { .. } => return assert!(ambiguous(&terms.0), "not ambiguous"),
            other => panic!("refused for no reason: {other}"),
        };
        let reasons = self.model.refusals(&terms.0, terms.1);
        assert!(reasons.contains(&refusal), "{refusal:?} is none of {reasons:?}");
    }

    fn get(&mut self, position: u64) {
        let envelope = self.log.get(position);
        assert_eq!(envelope.is_some(), self.model.visible(position), "get({position})");
        if let Some(envelope) = envelope {
            self.held.push((envelope, position));
        }
    }

    fn view_at(&mut self, position: u64) {
        match self.log.view_at(position) {
            Ok(view) => {
                assert_eq!(Some(view.end().get()), self.model.view_end(position), "view_at({position})");
                let end = self.model.view_end(position).expect("compared above");
                self.compare_view(&view, end);
                if self.views.len() > 3
                    && let Some((oldest, end)) = self.views.pop()
                {
                    self.compare_view(&oldest, end);
                }
                self.views.insert(0, (view, end));
            }
            Err(error) => {
                assert_eq!(self.model.view_end(position), None, "view_at({position})");
                assert_eq!((error.position.get(), error.end.get()), (position, self.model.end()));
            }
        }
    }

    fn read(&self, wish: &Wish) {
        let (selection, cursor, end) = self.begin(wish);
        let mut read = Vec::new();
        let mut cursor = cursor;
        while let Some(envelope) = cursor.next() {
            self.check_envelope(envelope, envelope.position().get());
            read.push(envelope.position().get());
        }
        assert!(cursor.next().is_none(), "a cursor at its end stays there");
        assert_eq!(read, self.model.read(&selection, end), "{selection:?}");
    }

    /// Begins to read and stops at once, so that what comes next happens in the middle of the read.
    fn open(&mut self, wish: &Wish) {
        let (mut selection, cursor, end) = self.begin(wish);
        let left = selection.first.take().unwrap_or(u64::MAX);
        self.reading = Some(Reading { cursor, rest: self.model.read(&selection, end).into(), left });
    }

    fn overtake(&mut self, wish: &Wish, steps: u8, ahead: u8) {
        self.open(wish);
        self.step(steps);
        let next = self.reading.as_ref().and_then(|reading| reading.rest.front().copied());
        self.truncate(next.unwrap_or(1) + u64::from(ahead));
        self.step(u8::MAX);
    }

    fn truncate(&mut self, before: u64) {
        self.compare_all();
        self.model.truncate_before(before);
        assert_eq!(self.log.truncate_before(before), self.model.floor + 1);
        self.compare_all();
    }

    fn step(&mut self, count: u8) {
        let Some(mut reading) = self.reading.take() else { return };
        for _ in 0..count {
            reading.rest.retain(|position| self.model.visible(*position));
            let expected = if reading.left == 0 { None } else { reading.rest.pop_front() };
            let met = reading.cursor.next();
            assert_eq!(met.map(|envelope| envelope.position().get()), expected, "in the middle of a read");
            met.inspect(|envelope| self.check_envelope(envelope, envelope.position().get()));
            reading.left = reading.left.saturating_sub(1);
        }
        self.reading = Some(reading);
    }

    /// The same read, for the model and for the log.
    fn begin(&self, wish: &Wish) -> (Selection, Cursor, u64) {
        let (view, end) = match wish.view {
            Some(choice) if !self.views.is_empty() => self.views[usize::from(choice) % self.views.len()].clone(),
            _ => (self.log.view(), self.model.end()),
        };
        let mut selection =
            Selection { backwards: wish.backwards, criteria: wish.criteria, ..Selection::all(wish.stream) };
        let cursor = match wish.stream {
            None => self.bounded(view.read(), wish, &mut selection).cursor(),
            Some(stream) => {
                let mut read = view.read_stream(stream);
                if let Some(from) = wish.from_revision.map(|choice| self.position(choice)) {
                    read = read.from_revision(from);
                    selection.revisions.0 = from;
                }
                if let Some(to) = wish.to_revision.map(|choice| self.position(choice)) {
                    read = read.to_revision(to);
                    selection.revisions.1 = to;
                }
                self.bounded(read, wish, &mut selection).cursor()
            }
        };
        (selection, cursor, end)
    }

    fn bounded<S>(&self, mut read: Read<S>, wish: &Wish, selection: &mut Selection) -> Read<S> {
        if let Some(from) = wish.from.map(|choice| self.position(choice)) {
            read = if wish.after { read.after(from) } else { read.from(from) };
            selection.positions.0 = if wish.after { from.saturating_add(1) } else { from };
        }
        if let Some(to) = wish.to.map(|choice| self.position(choice)) {
            read = read.to(to);
            selection.positions.1 = to;
        }
        if let Some(since) = wish.since.map(|by| self.now + i64::from(by % 8)) {
            read = read.since(Timestamp::from_nanos(since));
            selection.since = Some(since);
        }
        if let Some(until) = wish.until.map(|by| self.now + i64::from(by % 8)) {
            read = read.until(Timestamp::from_nanos(until));
            selection.until = Some(until);
        }
        if let Some(first) = wish.first.map(u64::from) {
            read = read.first(first);
            selection.first = Some(first);
        }
        if let Some(last) = wish.last.map(u64::from) {
            read = read.last(last);
            selection.last = Some(last);
        }
        read = if let Some(criteria) = wish.criteria { read.matching(criteria.query()) } else { read };
        if wish.backwards { read.backwards() } else { read }
    }

    /// Where the log ends and begins, and what is new: both ways, as a log and by stream, and what is in it.
    fn compare_new(&mut self) {
        assert_eq!(self.log.end(), self.model.end());
        assert_eq!(self.log.first(), self.model.floor + 1);
        let after = std::mem::replace(&mut self.compared, self.model.end());
        if after == self.compared {
            return;
        }
        let new = |stream| Selection { positions: (after + 1, u64::MAX), ..Selection::all(stream) };
        let view = self.log.view();
        let all = self.model.read(&new(None), self.compared);
        self.compare_both_ways(&all, view.read().after(after), "the log");
        for stream in STREAMS {
            let of_stream = self.model.read(&new(Some(stream)), self.compared);
            self.compare_both_ways(&of_stream, view.read_stream(stream).after(after), stream);
        }
        assert_eq!(self.positions(view.read().after(after)), all);
        self.compare_revisions();
    }

    fn compare_revisions(&self) {
        for stream in STREAMS {
            let revision = self.model.revision(stream);
            // Asking for a handle makes a stream known; one that nobody has written stays unknown here.
            if revision.is_some() {
                assert_eq!(self.handle(stream).revision().map(Revision::get), revision);
            }
        }
    }

    /// The whole visible log and every stream, both ways, now and in every view.
    fn compare_all(&self) {
        assert_eq!(self.log.end(), self.model.end());
        assert_eq!(self.log.first(), self.model.floor + 1);
        self.compare_view(&self.log.view(), self.model.end());
        for (view, end) in &self.views {
            assert_eq!(view.end(), *end);
            self.compare_view(view, *end);
        }
        self.compare_revisions();
    }

    fn compare_view(&self, view: &View, end: u64) {
        let all = self.model.read(&Selection::all(None), end);
        self.compare_both_ways(&all, view.read(), "the log");
        for stream in STREAMS {
            let of_stream = self.model.read(&Selection::all(Some(stream)), end);
            self.compare_both_ways(&of_stream, view.read_stream(stream), stream);
        }
    }

    /// Positions only: what is in an envelope is compared once when it is new, in every read, and at the end.
    fn compare_both_ways<S>(&self, expected: &[u64], read: Read<S>, what: &str) {
        let same = |mut cursor: Cursor, expected: &mut dyn Iterator<Item = &u64>| {
            for position in expected {
                assert_eq!(cursor.next().map(|envelope| envelope.position().get()), Some(*position), "{what}");
            }
            assert!(cursor.next().is_none(), "{what}");
        };
        same(read.clone().cursor(), &mut expected.iter());
        same(read.backwards().cursor(), &mut expected.iter().rev());
    }

    fn positions<S>(&self, read: Read<S>) -> Vec<u64> {
        read.iter()
            .map(|envelope| {
                self.check_envelope(&envelope, envelope.position().get());
                envelope.position().get()
            })
            .collect()
    }

    fn check_envelope(&self, envelope: &Envelope, position: u64) {
        check_envelope(envelope, position, self.model.at(position));
    }

    /// What is held stays as it was when everything else is gone (L8).
    fn outlive(self) {
        self.positions(self.log.read());
        let Self { log, appender, model, views, held, reading, .. } = self;
        drop((log, appender, views, reading));
        for (envelope, position) in held {
            check_envelope(&envelope, position, model.at(position));
        }
    }
}

fn ambiguous(expectations: &[(&str, Expected)]) -> bool {
    expectations.iter().any(|(stream, one)| expectations.iter().any(|(name, other)| name == stream && one != other))
}

fn condition_of(limit: Option<(&Criteria, u64)>) -> Option<Condition> {
    limit.map(|(criteria, after)| Condition::none(criteria.query()).after(after))
}

fn check_envelope(envelope: &Envelope, position: u64, recorded: &Recorded) {
    let draft = recorded.draft;
    assert_eq!(envelope.position(), position);
    assert_eq!(envelope.revision(), recorded.revision, "at {position}");
    assert_eq!(envelope.stream(), draft.stream(), "at {position}");
    assert_eq!(Some(envelope.category()), draft.stream().split('-').next(), "at {position}");
    assert_eq!((envelope.kind(), envelope.name()), (draft.kind(), draft.name()), "at {position}");
    assert!(draft.has_payload(envelope.payload()), "payload at {position}");
    assert_eq!(envelope.time().map(Timestamp::as_nanos), recorded.time, "at {position} (L7)");
    assert!(envelope.tags().eq(draft.tags()), "tags at {position}");
    let extras = draft.extras();
    let text = extras.map(|(_, text)| text);
    assert_eq!(envelope.own_time(), extras.map(|(time, _)| time), "at {position}");
    assert_eq!((envelope.request_id(), envelope.correlation_id()), (text, None), "at {position}");
    assert_eq!(envelope.causation_id(), text.map(|_| "cause"), "at {position}");
    assert_eq!(envelope.session_id(), text.map(|_| draft.session()), "at {position}");
    assert_eq!(envelope.message_id(), text.map(|_| draft.message_id()), "at {position}");
    assert!(envelope.headers().eq(text.map(|text| ("key", text))), "headers at {position}");
}
