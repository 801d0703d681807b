//! The rules of the reconciler, one by one.

use std::sync::Arc;

use annals::replica::{Decision, Input, OnGap, Parsed, Reconciler, Rules, Schema, Status, Update};

/// A value that says which sequence it is of.
fn good(sequence: u64) -> Parsed<u64> {
    Update::new(sequence, Ok(Arc::new(sequence)))
}

fn bad(sequence: u64) -> Parsed<u64> {
    Update::new(sequence, Err(Arc::from("not a number")))
}

fn rules(refetches: bool) -> Rules {
    let mut rules = Rules::default();
    rules.refetches = refetches;
    rules
}

struct Told(Reconciler<u64>);

impl Told {
    fn new(refetches: bool) -> Self {
        Self(Reconciler::new(rules(refetches)))
    }

    /// With a value of this sequence.
    fn at(sequence: u64, refetches: bool) -> Self {
        let mut told = Self::new(refetches);
        assert_eq!(told.tell(Input::Seed(good(sequence))), (Decision::Baseline, None));
        told
    }

    fn tell(&mut self, input: Input<u64>) -> (Decision, Option<u64>) {
        let decided = self.0.take(&input);
        (decided.decision, decided.refetch)
    }

    fn update(&mut self, sequence: u64) -> (Decision, Option<u64>) {
        self.tell(Input::Update(good(sequence)))
    }

    /// Value, sequence, status.
    fn stands(&self) -> (Option<u64>, Option<u64>, Status) {
        let snapshot = self.0.snapshot();
        (snapshot.value.map(|value| *value), snapshot.sequence, snapshot.status)
    }
}

#[test]
fn it_begins_with_nothing_and_stale() {
    let snapshot = Told::new(true).0.snapshot();
    assert_eq!((snapshot.value, snapshot.schema, snapshot.sequence), (None, None, None));
    assert_eq!((snapshot.status, snapshot.is_refetching, snapshot.is_disposed), (Status::Stale, false, false));
    assert_eq!(snapshot.statistics, Default::default());
}

#[test]
fn the_first_value_is_the_baseline_whatever_its_sequence() {
    for sequence in [0, 7, u64::MAX] {
        let mut told = Told::new(true);
        assert_eq!(told.update(sequence), (Decision::Baseline, None));
        assert_eq!(told.stands(), (Some(sequence), Some(sequence), Status::Live));
        let mut told = Told::new(true);
        assert_eq!(told.tell(Input::Seed(good(sequence))), (Decision::Baseline, None));
        assert_eq!(told.stands(), (Some(sequence), Some(sequence), Status::Live));
    }
}

#[test]
fn the_next_one_is_applied_and_older_ones_are_ignored_and_counted() {
    let mut told = Told::at(4, true);
    assert_eq!(told.update(5), (Decision::Applied, None));
    assert_eq!([5, 4, 0].map(|sequence| told.update(sequence)), [(Decision::Ignored, None); 3]);
    assert_eq!(told.stands(), (Some(5), Some(5), Status::Live));
    let counted = told.0.snapshot().statistics;
    assert_eq!((counted.applied, counted.ignored, counted.gaps, counted.refetches), (2, 3, 0, 0));
}

#[test]
fn the_last_sequence_there_is_has_none_after_it() {
    let mut told = Told::at(u64::MAX - 1, true);
    assert_eq!(told.update(u64::MAX), (Decision::Applied, None));
    assert_eq!([0, u64::MAX].map(|sequence| told.update(sequence)), [(Decision::Ignored, None); 2]);
}

#[test]
fn a_gap_refetches_and_is_not_applied() {
    let mut told = Told::at(4, true);
    assert_eq!(told.update(6), (Decision::Gap, Some(1)));
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Stale));
    assert!(told.0.snapshot().is_refetching);
    assert_eq!(told.tell(Input::Refetched(1, Some(good(6)))), (Decision::Baseline, None));
    assert_eq!(told.stands(), (Some(6), Some(6), Status::Live));
    let counted = told.0.snapshot().statistics;
    assert_eq!((counted.gaps, counted.refetches, counted.applied), (1, 1, 2));
}

#[test]
fn without_refetches_a_gap_leaves_the_value_stale() {
    let mut told = Told::at(4, false);
    assert_eq!(told.update(6), (Decision::Gap, None));
    assert_eq!(told.update(5), (Decision::Applied, None));
    assert_eq!(told.stands(), (Some(5), Some(5), Status::Stale), "it is known that there is a 6");
    assert_eq!(told.update(6), (Decision::Applied, None));
    assert_eq!(told.stands(), (Some(6), Some(6), Status::Live));
}

#[test]
fn a_policy_applies_whole_values_over_gaps() {
    let mut rules = rules(true);
    rules.on_gap = OnGap::Apply;
    let mut told = Told(Reconciler::new(rules));
    told.update(1);
    assert_eq!(told.update(5), (Decision::AppliedOverGap, None));
    assert_eq!(told.update(3), (Decision::Ignored, None));
    assert_eq!(told.stands(), (Some(5), Some(5), Status::Live));
    assert_eq!((told.0.snapshot().statistics.gaps, told.0.snapshot().statistics.applied), (1, 2));
}

#[test]
fn what_does_not_parse_leaves_the_value_and_refetches() {
    let mut told = Told::at(4, true);
    assert_eq!(told.tell(Input::Update(bad(5))), (Decision::Unparsed, Some(1)));
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Skew));
    assert_eq!(told.0.snapshot().reason.as_deref(), Some("not a number"));
    assert_eq!(told.0.snapshot().statistics.parse_errors, 1);
    assert_eq!(told.tell(Input::Refetched(1, Some(good(5)))), (Decision::Baseline, None));
    assert_eq!((told.stands().2, told.0.snapshot().reason), (Status::Live, None));
}

#[test]
fn a_refetch_that_does_not_parse_leads_to_no_other() {
    let mut told = Told::at(4, true);
    told.update(6);
    assert_eq!(told.tell(Input::Refetched(1, Some(bad(6)))), (Decision::Unparsed, None));
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Skew));
    assert!(!told.0.snapshot().is_refetching);
    assert_eq!(told.update(7), (Decision::Gap, Some(2)), "the next message asks again");
    let skewed = good(7).schema("3.0");
    let mut rules = rules(true);
    rules.schema = Some(Schema::new(2));
    let mut told = Told(Reconciler::new(rules));
    told.tell(Input::Refetch);
    assert_eq!(told.tell(Input::Refetched(1, Some(skewed))), (Decision::SchemaSkew, None));
}

#[test]
fn a_seed_that_does_not_pass_refetches() {
    let mut told = Told::new(true);
    assert_eq!(told.tell(Input::Seed(bad(1))), (Decision::Unparsed, Some(1)));
    assert_eq!(told.stands(), (None, None, Status::Skew));
}

#[test]
fn another_major_schema_is_skew_another_minor_is_not() {
    let mut rules = rules(true);
    rules.schema = Some("2.1".parse().unwrap());
    let mut told = Told(Reconciler::new(rules));
    for (sequence, schema) in
        ["2.1", "2.9", "2", "2.0.7-rc.1", "", "3.", "three", "v3", "3.x", "3.0.0.0"].iter().enumerate()
    {
        let (decision, refetch) = told.tell(Input::Update(good(sequence as u64).schema(*schema)));
        assert!(matches!(decision, Decision::Baseline | Decision::Applied), "{schema:?}: {decision:?}");
        assert_eq!((refetch, told.0.snapshot().schema.as_deref()), (None, Some(*schema)));
    }
    told.update(10);
    assert_eq!((told.stands(), told.0.snapshot().schema), ((Some(10), Some(10), Status::Live), None));
    for schema in ["3.1", "1", "3.0.0-rc.1", "3+build"] {
        let (decision, _) = told.tell(Input::Update(good(11).schema(schema)));
        assert_eq!((decision, told.stands()), (Decision::SchemaSkew, (Some(10), Some(10), Status::Skew)));
    }
    assert_eq!((told.0.snapshot().statistics.schema_skews, told.0.snapshot().statistics.refetches), (4, 1));
    // Nothing is compared when nothing is expected.
    assert_eq!(Told::at(1, true).tell(Input::Update(good(2).schema("9.9"))).0, Decision::Applied);
}

#[test]
fn refetches_are_one_at_a_time_and_one_more_for_what_came_meanwhile() {
    let mut told = Told::at(1, true);
    assert_eq!(told.update(3), (Decision::Gap, Some(1)));
    assert_eq!([5, 6, 7].map(|sequence| told.update(sequence)), [(Decision::Gap, None); 3]);
    assert_eq!(told.tell(Input::Refetch), (Decision::Done, None));
    // It was read before 5 was published.
    assert_eq!(told.tell(Input::Refetched(1, Some(good(4)))), (Decision::Baseline, Some(2)));
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Stale));
    assert_eq!(told.tell(Input::Refetched(2, Some(good(7)))), (Decision::Baseline, None));
    assert_eq!(told.stands(), (Some(7), Some(7), Status::Live));
    assert_eq!((told.0.snapshot().statistics.gaps, told.0.snapshot().statistics.refetches), (4, 2));
}

#[test]
fn what_came_during_a_refetch_and_is_in_it_leads_to_no_other() {
    let mut told = Told::at(1, true);
    told.update(3);
    told.update(4);
    assert_eq!(told.tell(Input::Refetched(1, Some(good(5)))), (Decision::Baseline, None));
    assert_eq!(told.stands().2, Status::Live);
}

#[test]
fn a_source_that_is_behind_leaves_it_stale_and_leads_to_no_loop() {
    let mut told = Told::at(1, true);
    told.update(9);
    assert_eq!(told.tell(Input::Refetched(1, Some(good(5)))), (Decision::Baseline, None));
    assert_eq!(told.stands(), (Some(5), Some(5), Status::Stale));
}

#[test]
fn a_late_refetch_does_not_move_it_backwards() {
    let mut told = Told::at(1, true);
    told.update(3);
    told.update(2);
    told.update(3);
    told.update(4);
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Live));
    assert_eq!(told.tell(Input::Refetched(1, Some(good(3)))), (Decision::Outdated, None));
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Live));
    assert_eq!((told.0.snapshot().statistics.outdated, told.0.snapshot().is_refetching), (1, false));
    assert_eq!(told.tell(Input::Seed(good(2))), (Decision::Outdated, None), "nor does a late seed");
}

#[test]
fn a_refetch_of_the_same_sequence_confirms_it() {
    let mut told = Told::at(4, true);
    told.tell(Input::Update(bad(4)));
    assert_eq!(told.stands().2, Status::Skew);
    assert_eq!(told.tell(Input::Refetched(1, Some(good(4)))), (Decision::Baseline, None));
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Live));
}

#[test]
fn a_refetch_that_fails_or_brings_nothing_leaves_the_last_good_value() {
    for fails in [true, false] {
        let mut told = Told::at(4, true);
        told.tell(Input::Refetch);
        assert_eq!(told.stands(), (Some(4), Some(4), Status::Live));
        let landed = if fails { Input::RefetchFailed(1, Arc::from("gone")) } else { Input::Refetched(1, None) };
        assert_eq!(told.tell(landed), (Decision::NotRefetched, None));
        assert_eq!(told.stands(), (Some(4), Some(4), Status::Stale));
        assert_eq!(told.0.snapshot().reason.as_deref(), fails.then_some("gone"));
        assert_eq!(told.0.snapshot().statistics.failed_refetches, 1);
        assert_eq!(told.update(5), (Decision::Applied, None));
        assert_eq!((told.stands().2, told.0.snapshot().reason), (Status::Live, None));
    }
}

#[test]
fn a_refetch_that_fails_while_something_came_is_tried_again() {
    let mut told = Told::at(4, true);
    told.update(6);
    told.update(7);
    assert_eq!(told.tell(Input::RefetchFailed(1, Arc::from("gone"))), (Decision::NotRefetched, Some(2)));
    assert_eq!(told.tell(Input::RefetchFailed(2, Arc::from("gone"))), (Decision::NotRefetched, None));
}

#[test]
fn a_refetch_that_is_not_in_flight_does_not_land() {
    let mut told = Told::at(4, true);
    assert_eq!(told.tell(Input::Refetched(1, Some(good(9)))), (Decision::UnknownRefetch, None));
    told.update(6);
    assert_eq!(told.tell(Input::RefetchFailed(2, Arc::from("gone"))), (Decision::UnknownRefetch, None));
    assert_eq!(told.0.refetching(), Some(1));
    told.tell(Input::Refetched(1, Some(good(6))));
    assert_eq!(told.tell(Input::Refetched(1, Some(good(8)))), (Decision::UnknownRefetch, None));
    assert_eq!(told.stands(), (Some(6), Some(6), Status::Live));
}

#[test]
fn nothing_happens_after_dispose() {
    let mut told = Told::at(4, true);
    told.update(6);
    assert_eq!(told.tell(Input::Dispose), (Decision::Done, None));
    let before = told.0.snapshot();
    assert_eq!((before.is_disposed, before.is_refetching, before.status), (true, false, Status::Stale));
    let inputs = [
        Input::Refetched(1, Some(good(6))),
        Input::RefetchFailed(1, Arc::from("gone")),
        Input::Update(good(5)),
        Input::Update(bad(5)),
        Input::Seed(good(9)),
        Input::Refetch,
        Input::RefetchEnds,
        Input::Rebase,
        Input::Dispose,
    ];
    for input in inputs {
        assert_eq!(told.tell(input), (Decision::Disposed, None));
    }
    let after = told.0.snapshot();
    assert_eq!(told.stands(), (Some(4), Some(4), Status::Stale));
    assert_eq!((after.statistics, after.is_refetching), (before.statistics, false));
}

#[test]
fn a_source_that_counts_anew_is_followed_when_that_is_said() {
    let mut told = Told::at(40, true);
    assert_eq!([0, 1].map(|sequence| told.update(sequence)), [(Decision::Ignored, None); 2]);
    told.update(99);
    assert_eq!(told.tell(Input::Rebase), (Decision::Done, Some(2)));
    assert_eq!(told.stands(), (Some(40), None, Status::Stale));
    assert_eq!(told.tell(Input::Refetched(1, Some(good(40)))), (Decision::UnknownRefetch, None), "read before");
    assert_eq!(told.tell(Input::Refetched(2, Some(good(1)))), (Decision::Baseline, None));
    assert_eq!(told.update(2), (Decision::Applied, None));
    assert_eq!(told.stands(), (Some(2), Some(2), Status::Live));
}

#[test]
fn when_nobody_refetches_any_more_what_is_in_flight_has_failed() {
    let mut told = Told::at(4, true);
    told.update(6);
    told.update(7);
    assert_eq!(told.tell(Input::RefetchEnds), (Decision::Done, None));
    assert_eq!((told.stands(), told.0.refetching()), ((Some(4), Some(4), Status::Stale), None));
    assert_eq!(told.update(8), (Decision::Gap, None));
    assert_eq!(told.0.snapshot().statistics.failed_refetches, 1);
}

#[test]
fn schemas_are_read() {
    let read = ["2", "2.1", "2.1.0", "2.1.0-rc.1", "0002", "2-", "2+x.y.z"];
    assert_eq!(read.map(|text| text.parse::<Schema>().map(Schema::major)), read.map(|_| Ok(2)));
    for text in ["", "x", ".", "2.", "2..1", "2.1.0.0", "-2", "+2", " 2", "2 ", "2.x", "99999999999999999999"] {
        let error = text.parse::<Schema>().unwrap_err();
        assert_eq!(error.to_string(), format!("{text:?} is not a schema: one to three numbers with dots between them"));
    }
}
