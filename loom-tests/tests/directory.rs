//! Streams found by name while the table of names grows. Under loom the first table has four cells, and is full with two.
#![cfg(loom)]

use annals::model_checking::{PUT, stop_at};
use annals_loom::{check_whole, event, explore, fill, log, reclaiming_log};
use loom::thread;

/// L1, L2: appends by name while the table that the name is in is left.
#[test]
fn appends_while_the_directory_grows() {
    explore("appends_while_the_directory_grows", 1, [(0, 1), (1, 0)], |notes| {
        let log = reclaiming_log();
        let known = log.stream("known").unwrap();
        log.stream("other").unwrap();
        let append = {
            let log = log.clone();
            move || log.append("known", event("e")).unwrap().revision.get()
        };
        let (a, b) = (thread::spawn(append.clone()), thread::spawn(append));
        let grower = {
            let log = log.clone();
            thread::spawn(move || assert_eq!(log.stream("new").unwrap().id(), "new"))
        };
        let revisions = (a.join().unwrap(), b.join().unwrap());
        grower.join().unwrap();
        assert_eq!(log.stream_count(), 3);
        check_whole(&log, &[&known]);
        notes.note(revisions);
    });
}

/// L3: two threads share the emptying of a table; who relies on the mark of the other still finds what was copied.
#[test]
fn the_emptying_is_shared() {
    explore("the_emptying_is_shared", 2, [4], |notes| {
        let log = log();
        // In the first two cells of the old table, which the first mark is about, and no neighbours in the new one.
        for id in ["a", "c"] {
            fill(&log.stream(id).unwrap(), 1);
        }
        let shares = {
            let log = log.clone();
            thread::spawn(move || assert_eq!(log.stream("x").unwrap().id(), "x"))
        };
        let relies = {
            let log = log.clone();
            thread::spawn(move || {
                assert_eq!(log.stream("y").unwrap().id(), "y");
                assert_eq!(log.read_stream("a").iter().count(), 1, "what is known stays known");
            })
        };
        shares.join().unwrap();
        relies.join().unwrap();
        notes.note(log.stream_count());
    });
}

/// L3, L6: threads that stop before they count what they added may fill the table to the last cell. A name that is not in
/// it is then unknown, not looked for in a table that nobody made, and the next one to add a name makes that table.
#[test]
fn a_table_without_an_empty_cell() {
    explore("a_table_without_an_empty_cell", 3, [5], |notes| {
        let log = log();
        stop_at(PUT);
        for id in ["a", "b", "c", "d"] {
            fill(&log.stream(id).unwrap(), u64::from(id == "a"));
        }
        stop_at(0);
        let adds = {
            let log = log.clone();
            thread::spawn(move || assert_eq!(log.stream("new").unwrap().id(), "new"))
        };
        let looks = {
            let log = log.clone();
            thread::spawn(move || {
                assert_eq!(log.read_stream("unknown").iter().count(), 0);
                assert_eq!(log.read_stream("a").iter().count(), 1);
            })
        };
        adds.join().unwrap();
        looks.join().unwrap();
        notes.note(log.stream_count());
    });
}
