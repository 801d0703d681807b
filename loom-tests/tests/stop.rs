//! Threads that stop for good in the middle of an append: whoever comes next goes on for them (L6).
#![cfg(loom)]

use annals::model_checking::{ENTERED, HELPING, MADE, MOVED, SWAPPED, stop_at};
use annals::{Log, Stream};
use annals_loom::{check_whole, event, explore, fill, log};
use loom::thread;

/// A thread that appends once, and stops at `place` if it gets there.
fn stopping(stream: &Stream, place: u32) -> thread::JoinHandle<()> {
    let stream = stream.clone();
    thread::spawn(move || {
        stop_at(place);
        let _ = stream.log().appender().append(&stream, event("stopped"));
    })
}

/// A thread that appends once and sees it. Where it went.
fn going_on(stream: &Stream) -> thread::JoinHandle<u64> {
    let stream = stream.clone();
    thread::spawn(move || {
        let position = stream.log().appender().append(&stream, event("other")).unwrap().position;
        assert!(stream.log().end() >= position);
        assert_eq!(stream.log().get(position).unwrap().name(), "other");
        position.get()
    })
}

/// Everything is there and in order, once another append went on where the stopped ones stopped.
fn check_after(log: &Log, stream: &Stream, end: u64) {
    log.appender().append(stream, event("last")).unwrap();
    assert_eq!(log.end(), end);
    check_whole(log, &[stream]);
}

/// S5: the maker of a segment stops before or after it moved the tail; it has appended nothing then. When the other one
/// made the segment, it appends.
#[test]
fn the_maker_of_a_segment_stops() {
    for place in [MADE, MOVED] {
        explore("the_maker_of_a_segment_stops", 3, [(3, false), (3, true), (4, true)], move |notes| {
            let log = log();
            let stream = log.stream("s").unwrap();
            fill(&stream, 2);
            let maker = {
                let stream = stream.clone();
                thread::spawn(move || {
                    stop_at(place);
                    stream.log().appender().append(&stream, event("made")).is_ok()
                })
            };
            let position = going_on(&stream).join().unwrap();
            let appended = maker.join().unwrap();
            check_after(&log, &stream, 4 + u64::from(appended));
            notes.note((position, appended));
        });
    }
}

/// S4: an append stops where the end hint has to be moved next: the next one moves it, and readers find the end.
#[test]
fn an_append_stops_where_the_hint_lags() {
    for place in [SWAPPED, ENTERED] {
        explore("an_append_stops_where_the_hint_lags", 1, [16, 17], move |notes| {
            let log = log();
            let stream = log.stream("s").unwrap();
            fill(&stream, 15);
            let stopped = stopping(&stream, place);
            let other = going_on(&stream);
            let reader = {
                let log = log.clone();
                thread::spawn(move || {
                    let end = log.end().get();
                    assert!((15..=17).contains(&end));
                    assert_eq!(log.get(end).unwrap().position(), end);
                })
            };
            notes.note(other.join().unwrap());
            stopped.join().unwrap();
            reader.join().unwrap();
            check_after(&log, &stream, 18);
        });
    }
}

/// Who helps stops, too: the third one helps both.
#[test]
fn a_helper_stops() {
    explore("a_helper_stops", 1, [1, 2, 3], |notes| {
        let log = log();
        let stream = log.stream("s").unwrap();
        let (first, second) = (stopping(&stream, SWAPPED), stopping(&stream, HELPING));
        let third = going_on(&stream);
        first.join().unwrap();
        second.join().unwrap();
        let position = third.join().unwrap();
        log.appender().append(&stream, event("last")).unwrap();
        check_whole(&log, &[&stream]);
        notes.note(position);
    });
}
