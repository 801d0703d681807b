//! What keeps the contract.

use annals::Log;
use annals::store::{Capability, EventStore, block_on, conformance};

use crate::shelf::Shelf;

#[test]
fn the_log_keeps_the_contract() {
    let report = block_on(conformance::check(async || Log::builder().counted().build().unwrap()));
    report.assert();
    assert_eq!(report.skipped, [""; 0], "it has every capability");
    assert!(report.held.len() > 40, "{report}");
}

#[test]
fn a_log_of_small_segments_keeps_the_contract() {
    let make = async || Log::builder().counted().segment_slots(2).build().unwrap();
    block_on(conformance::check(make)).assert();
}

/// What a log does without it declares, and the clauses that need it are skipped.
#[test]
fn a_log_without_a_clock_keeps_the_contract() {
    let make = || Log::builder().no_clock().build().unwrap();
    assert!(!make().capabilities().has(Capability::Times));
    let report = block_on(conformance::check(async || make()));
    report.assert();
    assert!(report.skipped.contains(&"times never decrease, and select"));
    assert!(report.held.contains(&"without times nothing is selected by time"));
}

#[test]
fn another_store_keeps_the_contract() {
    let report = block_on(conformance::check(async || Shelf::new()));
    report.assert();
    assert_eq!(report.skipped, [""; 0], "it has every capability");
}

/// A store that declares as little as it may: what it cannot do is refused, all the rest holds.
#[test]
fn a_store_that_promises_little_keeps_the_contract() {
    let report = block_on(conformance::check(async || Shelf::lean()));
    report.assert();
    assert!(report.held.contains(&"conditions are refused where there are none"), "{report}");
    assert!(report.held.contains(&"appending once is refused where it cannot be"), "{report}");
    assert!(report.held.contains(&"truncation is refused where there is none"), "{report}");
    assert!(report.held.contains(&"several streams are refused where they cannot be"), "{report}");
    assert!(report.skipped.contains(&"positions are 1, 2, 3 and so on"), "{report}");
}
