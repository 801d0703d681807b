//! Handlers go on where they were, by files beside the log.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use annals::durable::{Flaw, OpenError, Options};
use annals::sourcing::{Checkpoint, Checkpoints, Consistency, DiskCheckpoints, NewEvent, Service, StartError};
use annals::store::block_on;
use annals::{Ack, Envelope, Log, Message, Position};

use crate::basics::directory;

type Seen = Arc<Mutex<Vec<u64>>>;
type Mail = Service<Log, DiskCheckpoints>;

fn open(directory: &Path) -> Log {
    // Whoever has the log may be about to let go of it.
    for _ in 0..1000 {
        match Log::builder().open(directory, Options::new().acknowledge(Ack::Memory)) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(2)),
            opened => return opened.unwrap(),
        }
    }
    panic!("the log is still open");
}

fn service(log: Log, seen: &Seen, every: u32) -> Mail {
    let (checkpoints, seen) = (DiskCheckpoints::beside(&log).unwrap(), seen.clone());
    Service::builder(log)
        .handler("mail", ["Good", "Bad"], move |envelope: Envelope| {
            let fails = envelope.name() == "Bad";
            if !fails {
                seen.lock().unwrap().push(envelope.position().get());
            }
            async move { if fails { Err("no post on Sundays") } else { Ok(()) } }
        })
        .checkpoints(checkpoints, every)
        .from_beginning()
        .build()
        .unwrap()
}

fn send(service: &Mail, name: &str) -> u64 {
    let event = NewEvent::new("s", Message::event(name.to_owned(), "").unwrap());
    block_on(service.dispatch(event, Consistency::Eventual)).unwrap().position.get()
}

fn note(directory: &Path) -> PathBuf {
    directory.join("checkpoint-6d61696c")
}

/// After the log was closed and opened again, nothing is handled twice and nothing left out; what is parked is parked.
#[test]
fn a_service_goes_on_where_it_was() {
    let there = directory();
    let mut sent = Vec::new();
    let mut seen_by_all = Vec::new();
    for round in 0..4 {
        let seen = Seen::default();
        let service = service(open(there.path()), &seen, 1);
        block_on(service.start()).unwrap();
        let parked = service.parked("mail").unwrap();
        assert_eq!(parked.len(), round, "what was parked is");
        let good = [send(&service, "Good"), send(&service, "Good")];
        let bad = send(&service, "Bad");
        block_on(service.handled(bad)).unwrap();
        sent.extend(good);
        block_on(service.close());
        drop(service);
        // Nobody handles this until the next round.
        let log = open(there.path());
        sent.push(log.append("s", Message::event("Good", "").unwrap()).unwrap().position.get());
        seen_by_all.extend(seen.lock().unwrap().iter().copied());
    }
    let seen = Seen::default();
    let service = service(open(there.path()), &seen, 1);
    block_on(service.start()).unwrap();
    block_on(service.handled(*sent.last().unwrap())).unwrap();
    seen_by_all.extend(seen.lock().unwrap().iter().copied());
    assert_eq!(seen_by_all, sent);
}

/// A checkpoint that was saved is never beyond what the disk has, though appends do not wait for it.
#[test]
fn a_checkpoint_is_saved_after_what_it_says() {
    let there = directory();
    let log = open(there.path());
    let checkpoints = DiskCheckpoints::beside(&log).unwrap();
    for n in 1..=20_u64 {
        log.append("s", Message::event("E", "").unwrap()).unwrap();
        let checkpoint = checkpoint_at(&log, n);
        block_on(checkpoints.save("mail", &checkpoint)).unwrap();
        assert!(log.journal().unwrap().synced() >= Position::new(n));
        assert_eq!(block_on(checkpoints.load("mail")).unwrap().unwrap().position, Position::new(n));
    }
    assert!(block_on(checkpoints.load("another")).unwrap().is_none());
    assert!(DiskCheckpoints::beside(&Log::new()).is_none());
}

/// A checkpoint of a position, as a store has it.
fn checkpoint_at(log: &Log, position: u64) -> Checkpoint {
    Checkpoint::new(log.get(position).unwrap().position(), Vec::new())
}

fn flaw(error: &(dyn std::error::Error + 'static)) -> Flaw {
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Damaged(damage)) => {
            assert_eq!(&*damage.file, "checkpoint-6d61696c");
            damage.flaw
        }
        other => panic!("{other:?}"),
    }
}

/// A checkpoint that is damaged, another log's, or beyond the end is an error that says so, and no handler begins anew.
#[test]
fn a_damaged_checkpoint_is_refused() {
    let (there, other) = (directory(), directory());
    for directory in [&there, &other] {
        let log = open(directory.path());
        (0..3).for_each(|_| _ = log.append("s", Message::event("Good", "").unwrap()).unwrap());
        let checkpoints = DiskCheckpoints::beside(&log).unwrap();
        block_on(checkpoints.save("mail", &checkpoint_at(&log, 2))).unwrap();
    }
    let log = open(there.path());
    let checkpoints = DiskCheckpoints::beside(&log).unwrap();
    let good = std::fs::read(note(there.path())).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(note(there.path()), &bad).unwrap();
        let error = block_on(checkpoints.load("mail")).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(OpenError::Damaged(_) | OpenError::Newer { .. })), "byte {at}");
        std::fs::write(note(there.path()), &good[..at]).unwrap();
        assert!(block_on(checkpoints.load("mail")).is_err(), "cut to {at}");
    }
    std::fs::copy(note(other.path()), note(there.path())).unwrap();
    assert_eq!(flaw(&*block_on(checkpoints.load("mail")).unwrap_err()), Flaw::Foreign);
    let service = service(log.clone(), &Seen::default(), 1);
    let refused = block_on(service.start());
    assert!(matches!(refused, Err(StartError::Checkpoint { .. })), "{refused:?}");
    std::fs::write(note(there.path()), &good).unwrap();
    assert_eq!(block_on(checkpoints.load("mail")).unwrap().unwrap().position, Position::new(2));
}

/// Handlers of one service, and services of one log, save at once.
#[test]
fn checkpoints_are_saved_at_once() {
    let there = directory();
    let log = open(there.path());
    (0..10).for_each(|_| _ = log.append("s", Message::event("Good", "").unwrap()).unwrap());
    std::thread::scope(|scope| {
        for name in ["mail", "mail", "post", &"long".repeat(40)] {
            let (log, name) = (log.clone(), name.to_owned());
            scope.spawn(move || {
                let checkpoints = DiskCheckpoints::beside(&log).unwrap();
                for n in 1..=10 {
                    block_on(checkpoints.save(&name, &checkpoint_at(&log, n))).unwrap();
                    assert!(block_on(checkpoints.load(&name)).unwrap().is_some());
                }
            });
        }
    });
    let checkpoints = DiskCheckpoints::beside(&log).unwrap();
    for name in ["mail", "post", &"long".repeat(40)] {
        assert_eq!(block_on(checkpoints.load(name)).unwrap().unwrap().position, Position::new(10));
    }
}
