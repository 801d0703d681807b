//! What a replica makes of what it receives: messages in, decisions out, nothing else.
//!
//! No clock, no thread, no transport. The same messages in the same order lead to the same decisions, so that what holds of a
//! replica can be tried here by any program of messages.
//!
//! A *snapshot* (a seed, or what a refetch brought) and the first update of all are baselines: accepted whatever their
//! sequence, unless there is a newer value. So the value never goes backwards, whatever is late. After the baseline an update
//! has to be the next one.
//!
//! A *patch* is an update that says how to make the value of the one before it. So it is applied to that one or not at all:
//! without a baseline, and after a gap, there is nothing to apply it to, whatever the policy.
//!
//! `beyond` is the highest sequence that was seen and not applied. While it is higher than the value's, the value is known to
//! be behind, and the status says so. When a refetch lands, and what came during its flight is still beyond, it is asked for
//! once more: it may have been read before. Each refetch is thus owed to a message, and one that brings too little, or what
//! cannot be read, never leads to another by itself.

use super::change::Patch;
use super::operation::OperationId;
use super::optimistic::Mark;
use super::snapshot::{ReplicaStatistics, Snapshot, Status};
use super::update::{Schema, Update};
use crate::sync::StdArc;

/// An update whose value went through the parse gate: the value, or why there is none.
pub type Parsed<T> = Update<Result<StdArc<T>, StdArc<str>>>;

/// An update that came through the parse gate as a patch.
pub type Patched<T> = Update<Patch<T>>;

/// What to do with an update when one before it is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnGap {
    /// Leave the value as it is, and refetch. For updates that mean something only after the one before.
    #[default]
    Refetch,
    /// Apply it, when it is a whole value; a patch leads to a refetch all the same.
    Apply,
}

/// By what rules a replica reconciles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// The schema that values should have; none when any will do.
    pub schema: Option<Schema>,
    /// What a gap leads to.
    pub on_gap: OnGap,
    /// Whether anybody refetches.
    pub refetches: bool,
}

/// What a [`Reconciler`] is told.
#[non_exhaustive]
pub enum Input<T> {
    /// This was published to the key.
    Update(Parsed<T>),
    /// This was published to the key, and makes its value of the one before.
    Patch(Patched<T>),
    /// This is how things stood when the seed was taken.
    Seed(Parsed<T>),
    /// The refetch of this number brought this, or nothing.
    Refetched(u64, Option<Parsed<T>>),
    /// The refetch of this number failed.
    RefetchFailed(u64, StdArc<str>),
    /// Somebody asks for a refetch.
    Refetch,
    /// Nobody refetches any more; what is in flight will not land.
    RefetchEnds,
    /// The source counts anew: sequences so far say nothing of those that come.
    Rebase,
    /// The end.
    Dispose,
}

/// What a [`Reconciler`] did with what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// A value became the replica's, as the one that updates are counted from.
    Baseline,
    /// The next value became the replica's.
    Applied,
    /// A value became the replica's though some before it are missing.
    AppliedOverGap,
    /// The update is not newer than the value.
    Ignored,
    /// Some before it are missing: the update is not applied.
    Gap,
    /// The value has another major number of its schema than expected.
    SchemaSkew,
    /// The value did not parse.
    Unparsed,
    /// The seed, or what the refetch brought, is older than the value, and dropped.
    Outdated,
    /// The refetch failed or brought nothing: the value stands.
    NotRefetched,
    /// It is not the refetch that is in flight that landed.
    UnknownRefetch,
    /// As asked for.
    Done,
    /// The replica was disposed of: nothing is done any more.
    Disposed,
}

/// Where an update stands to the value.
enum Place {
    /// There is no value to compare it with.
    First,
    Before,
    Next,
    Beyond,
}

/// A decision, and what it asks of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided {
    /// What was done.
    pub decision: Decision,
    /// The number of the refetch that has to be begun now; none when none is.
    pub refetch: Option<u64>,
}

/// The rules of a replica, and what they have led to so far.
pub struct Reconciler<T> {
    rules: Rules,
    value: Option<StdArc<T>>,
    schema: Option<StdArc<str>>,
    sequence: Option<u64>,
    /// How often the source had begun to count anew.
    era: u64,
    /// The highest sequence that was seen and not applied.
    beyond: Option<u64>,
    status: Status,
    reason: Option<StdArc<str>>,
    /// The number of the refetch that is in flight.
    flight: Option<u64>,
    /// Something beyond the value came during the flight.
    again: bool,
    is_disposed: bool,
    statistics: ReplicaStatistics,
    /// How often something changed that is not a statistic.
    changes: u64,
}

impl<T> Reconciler<T> {
    /// Nothing yet: no value, no sequence, stale.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            value: None,
            schema: None,
            sequence: None,
            era: 0,
            beyond: None,
            status: Status::Stale,
            reason: None,
            flight: None,
            again: false,
            is_disposed: false,
            statistics: ReplicaStatistics::default(),
            changes: 0,
        }
    }

    /// Takes what there is to know into account.
    pub fn take(&mut self, input: &Input<T>) -> Decided {
        if self.is_disposed {
            return Decided { decision: Decision::Disposed, refetch: None };
        }
        let (shown, flight) = (self.shown(), self.flight);
        let decision = match input {
            Input::Update(update) => self.update(update),
            Input::Patch(update) => self.patch(update),
            Input::Seed(seed) => self.seed(seed),
            Input::Refetched(number, _) | Input::RefetchFailed(number, _) if self.flight != Some(*number) => {
                Decision::UnknownRefetch
            }
            Input::Refetched(_, Some(found)) => self.land(|this| this.snapshot_came(found)),
            Input::Refetched(_, None) => self.land(|this| this.not_refetched(None)),
            Input::RefetchFailed(_, reason) => self.land(|this| this.not_refetched(Some(reason))),
            Input::Refetch => self.ask(),
            Input::RefetchEnds => self.refetch_ends(),
            Input::Rebase => self.rebase(),
            Input::Dispose => self.dispose(),
        };
        if self.shown() != shown {
            self.changes += 1;
        }
        Decided { decision, refetch: if self.flight == flight { None } else { self.flight } }
    }

    /// What is known now.
    pub fn snapshot(&self) -> Snapshot<T> {
        Snapshot {
            value: self.value.clone(),
            schema: self.schema.clone(),
            sequence: self.sequence,
            status: self.status,
            reason: self.reason.clone(),
            is_refetching: self.flight.is_some(),
            is_disposed: self.is_disposed,
            statistics: self.statistics,
        }
    }

    /// The last good value; none when there has been none.
    pub fn value(&self) -> Option<&StdArc<T>> {
        self.value.as_ref()
    }

    /// How the value stands to what was published.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The number of the refetch that is in flight.
    pub fn refetching(&self) -> Option<u64> {
        self.flight
    }

    /// Whether it was disposed of.
    pub fn is_disposed(&self) -> bool {
        self.is_disposed
    }

    /// How often it was told that its source counts anew.
    pub(super) fn era(&self) -> u64 {
        self.era
    }

    /// The value, where it stands in the order of its source, and how many there were with it; none when there is none, or when
    /// its sequence means nothing any more.
    pub(super) fn confirmed(&self) -> Option<(&StdArc<T>, Mark, u64)> {
        let (value, sequence) = self.value.as_ref().zip(self.sequence)?;
        Some((value, Mark::new(self.era, sequence), self.statistics.applied))
    }

    /// The operations that an input says are contained in a value, and which value: whether it is applied or not.
    pub(super) fn echoes<'i>(&self, input: &'i Input<T>) -> Option<(&'i [OperationId], Mark)> {
        let (operations, sequence) = match input {
            Input::Update(update) | Input::Seed(update) => (&update.operations, update.sequence),
            Input::Patch(update) => (&update.operations, update.sequence),
            // Another refetch may have been read before the source began to count anew.
            Input::Refetched(number, Some(found)) if self.flight == Some(*number) => {
                (&found.operations, found.sequence)
            }
            _ => return None,
        };
        let is_told = !self.is_disposed && !operations.is_empty();
        is_told.then(|| (&**operations, Mark::new(self.era, sequence)))
    }

    /// How often something changed that is not a statistic.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// How often the value changed.
    pub(super) fn values(&self) -> u64 {
        self.statistics.applied
    }

    /// What is not a statistic, as far as it takes to see that it has changed. (A reason changes with a
    /// value that does not parse, or with a flight that ends.)
    fn shown(&self) -> (u64, [Option<u64>; 2], Status, u64, bool) {
        let counted = self.statistics;
        (counted.applied, [self.sequence, self.flight], self.status, counted.parse_errors, self.is_disposed)
    }

    fn update(&mut self, update: &Parsed<T>) -> Decision {
        let value = match self.gate(update) {
            Ok(value) => value,
            Err(decision) => {
                self.ask_beyond();
                return decision;
            }
        };
        match self.place(update.sequence) {
            Place::First => self.accept(update, value, Decision::Baseline),
            Place::Next => self.accept(update, value, Decision::Applied),
            Place::Before => self.ignore(),
            Place::Beyond if self.rules.on_gap == OnGap::Apply => {
                self.statistics.gaps += 1;
                self.accept(update, value, Decision::AppliedOverGap)
            }
            Place::Beyond => self.gap(update.sequence),
        }
    }

    fn patch(&mut self, update: &Patched<T>) -> Decision {
        if self.is_skewed(update) {
            self.skewed(update.sequence);
            self.ask_beyond();
            return Decision::SchemaSkew;
        }
        match self.place(update.sequence) {
            Place::Next => self.apply(update),
            Place::Before => self.ignore(),
            Place::First | Place::Beyond => self.gap(update.sequence),
        }
    }

    /// To the value before it, which is there.
    fn apply(&mut self, update: &Patched<T>) -> Decision {
        let before = self.value.as_ref().expect("a value that has a sequence is there");
        match update.value.apply(before) {
            Ok(value) => self.accept(update, value, Decision::Applied),
            Err(reason) => {
                self.unparsed(update.sequence, &reason);
                self.ask_beyond();
                Decision::Unparsed
            }
        }
    }

    fn place(&self, sequence: u64) -> Place {
        match self.sequence {
            None => Place::First,
            Some(current) if sequence <= current => Place::Before,
            // Not less than one, being more than another.
            Some(current) if sequence - 1 == current => Place::Next,
            Some(_) => Place::Beyond,
        }
    }

    fn ignore(&mut self) -> Decision {
        self.statistics.ignored += 1;
        Decision::Ignored
    }

    fn gap(&mut self, sequence: u64) -> Decision {
        self.statistics.gaps += 1;
        self.missed(sequence, Status::Stale);
        self.ask_beyond();
        Decision::Gap
    }

    fn seed(&mut self, seed: &Parsed<T>) -> Decision {
        let decision = self.snapshot_came(seed);
        if matches!(decision, Decision::SchemaSkew | Decision::Unparsed) {
            self.ask_beyond();
        }
        decision
    }

    /// A seed, or what a refetch brought: a baseline, unless it is late.
    fn snapshot_came(&mut self, found: &Parsed<T>) -> Decision {
        let value = match self.gate(found) {
            Ok(value) => value,
            Err(decision) => return decision,
        };
        if self.sequence.is_some_and(|current| found.sequence < current) {
            self.statistics.outdated += 1;
            return Decision::Outdated;
        }
        self.accept(found, value, Decision::Baseline)
    }

    /// What every value has to pass: the schema, then the parser.
    fn gate(&mut self, update: &Parsed<T>) -> Result<StdArc<T>, Decision> {
        if self.is_skewed(update) {
            self.skewed(update.sequence);
            return Err(Decision::SchemaSkew);
        }
        update.value.clone().map_err(|reason| {
            self.unparsed(update.sequence, &reason);
            Decision::Unparsed
        })
    }

    fn skewed(&mut self, sequence: u64) {
        self.statistics.schema_skews += 1;
        self.missed(sequence, Status::Skew);
    }

    fn unparsed(&mut self, sequence: u64, reason: &StdArc<str>) {
        self.statistics.parse_errors += 1;
        self.reason = Some(reason.clone());
        self.missed(sequence, Status::Skew);
    }

    /// A schema is compared when one is expected, and the update has one that can be read.
    fn is_skewed<V>(&self, update: &Update<V>) -> bool {
        let has = update.schema.as_deref().and_then(|text| text.parse::<Schema>().ok());
        self.rules.schema.zip(has).is_some_and(|(expected, has)| expected.major() != has.major())
    }

    fn accept<V>(&mut self, update: &Update<V>, value: StdArc<T>, decision: Decision) -> Decision {
        self.value = Some(value);
        self.schema.clone_from(&update.schema);
        self.sequence = Some(update.sequence);
        self.reason = None;
        self.statistics.applied += 1;
        if !self.is_behind() {
            self.status = Status::Live;
        }
        decision
    }

    /// There is a value of this sequence, which is not the replica's.
    fn missed(&mut self, sequence: u64, status: Status) {
        self.beyond = self.beyond.max(Some(sequence));
        self.status = status;
    }

    fn is_behind(&self) -> bool {
        self.beyond > self.sequence
    }

    /// The refetch in flight has come to its end.
    fn land(&mut self, landed: impl FnOnce(&mut Self) -> Decision) -> Decision {
        self.flight = None;
        let decision = landed(self);
        if std::mem::take(&mut self.again) && self.is_behind() {
            self.begin();
        }
        decision
    }

    fn not_refetched(&mut self, reason: Option<&StdArc<str>>) -> Decision {
        self.statistics.failed_refetches += 1;
        self.reason = reason.cloned();
        self.status = Status::Stale;
        Decision::NotRefetched
    }

    /// Asks for a refetch, which one that is in flight already is.
    fn ask(&mut self) -> Decision {
        if self.flight.is_none() {
            self.begin();
        }
        Decision::Done
    }

    /// The same for what one in flight may have been too early for.
    fn ask_beyond(&mut self) {
        self.again = self.flight.is_some();
        self.ask();
    }

    fn begin(&mut self) {
        if self.rules.refetches {
            self.statistics.refetches += 1;
            self.flight = Some(self.statistics.refetches);
        }
    }

    /// No more refetches: one in flight has failed.
    fn refetch_ends(&mut self) -> Decision {
        self.rules.refetches = false;
        if self.flight.is_some() {
            self.land(|this| this.not_refetched(None));
        }
        Decision::Done
    }

    fn rebase(&mut self) -> Decision {
        self.era += 1;
        self.sequence = None;
        self.beyond = None;
        self.status = Status::Stale;
        // What is in flight was read before: there is another number now, and whatever it brings is of an unknown refetch.
        self.again = false;
        self.begin();
        Decision::Done
    }

    fn dispose(&mut self) -> Decision {
        self.is_disposed = true;
        self.flight = None;
        self.again = false;
        self.status = Status::Stale;
        Decision::Done
    }
}

impl<T> Clone for Reconciler<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), schema: self.schema.clone(), reason: self.reason.clone(), ..*self }
    }
}
