//! The contract of event stores, kept by logs on disk: one suite, both backends.

use std::cell::RefCell;

use annals::Log;
use annals::durable::Options;
use annals::store::{block_on, conformance};
use tempfile::TempDir;

use crate::basics::directory;

/// Checks logs in directories that are there until the end.
fn check(options: Options, segment: usize) -> conformance::Report {
    let directories: RefCell<Vec<TempDir>> = RefCell::default();
    block_on(conformance::check(async || {
        let there = directory();
        let log = Log::builder().counted().segment_slots(segment).open(there.path(), options).unwrap();
        directories.borrow_mut().push(there);
        log
    }))
}

#[test]
fn a_log_on_disk_keeps_the_contract() {
    let report = check(Options::new(), 4096);
    report.assert();
    assert_eq!(report.skipped, [""; 0], "it has every capability");
    assert!(report.held.len() > 40, "{report}");
}

/// With hardly anything in memory, and a file for a few envelopes.
#[test]
fn a_log_that_is_larger_than_memory_keeps_the_contract() {
    check(Options::new().file_bytes(4096).resident(2), 2).assert();
}
