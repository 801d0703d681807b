//! Who keeps the contract of transports, and whether the suite notices who does not.

use std::collections::BTreeSet;
use std::time::Duration;

use annals::Bus;
use annals::replica::conformance;
use annals::store::block_on;

use crate::post::Post;

/// What is wrong, one thing at a time.
const FAULTS: [&str; 26] = [
    "calls the last subscriber first",
    "claims to deliver at once",
    "closes keys that were left",
    "counts keys for ever",
    "counts no failures",
    "counts subscribers, not keys",
    "cuts long values",
    "delivers depth-first",
    "delivers to every key",
    "delivers to who was added",
    "delivers twice",
    "does not unsubscribe",
    "does not unsubscribe when dropped",
    "keeps handlers",
    "keeps the last update",
    "leaves out repetitions",
    "leaves out what is late",
    "loses an update",
    "loses the operations",
    "loses the schema",
    "panics with its handlers",
    "passes over who was removed",
    "refuses without subscribers",
    "stops at a panic",
    "unsubscribes by place",
    "unsubscribes the key",
];

/// What the suite finds in a transport, clause by clause. What does not come takes this long.
fn violated(fault: &'static str) -> Vec<&'static str> {
    let report = block_on(conformance::check_within(Duration::from_millis(150), async || Post::broken(fault)));
    report.violated.into_iter().map(|violation| violation.clause).collect()
}

#[test]
fn the_bus_keeps_the_contract() {
    let report = block_on(conformance::check(async || Bus::new()));
    report.assert();
    assert_eq!((report.held.len(), report.skipped.len()), (19, 0), "{report}");
}

#[test]
fn another_transport_keeps_the_contract() {
    block_on(conformance::check(async || Post::new())).assert();
}

/// Deliveries may take their time.
#[test]
fn a_transport_that_delivers_later_keeps_the_contract() {
    let report = block_on(conformance::check(async || Post::by_courier()));
    report.assert();
    assert_eq!(report.skipped, ["a publish that is ready has called the handlers"]);
}

/// Each fault is noticed, and each clause notices one.
#[test]
fn what_breaks_the_contract_is_found() {
    let mut clauses: BTreeSet<_> = block_on(conformance::check(async || Post::new())).held.into_iter().collect();
    for fault in FAULTS {
        let violated = violated(fault);
        assert!(!violated.is_empty(), "nobody notices that it {fault}");
        violated.iter().for_each(|clause| _ = clauses.remove(clause));
    }
    assert_eq!(clauses, BTreeSet::new(), "clauses that notice nothing");
}
