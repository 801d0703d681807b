//! Handlers go on where they were.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use annals::sourcing::{Consistency, HandlerWork, Service, StoreCheckpoints};
use annals::store::block_on;
use annals::{Envelope, Log, Message};

use super::service::{Seen, event};

type Stored = Service<Log, StoreCheckpoints<Log>>;

/// A service of a store, as another process would make it. Its handler fails on "Bad" while `fails` is 1.
fn service(log: &Log, every: u32, seen: &Seen, fails: &Arc<AtomicU32>) -> Stored {
    let (noted, failing) = (seen.clone(), fails.clone());
    Service::builder(log.clone())
        .handler("mail", ["Good", "Bad"], move |envelope: Envelope| {
            let fails = envelope.name() == "Bad" && failing.load(Ordering::SeqCst) == 1;
            if !fails {
                noted.note(&envelope);
            }
            async move { if fails { Err("no post on Sundays") } else { Ok(()) } }
        })
        .checkpoints(StoreCheckpoints::new(Arc::new(log.clone()), "checkpoint"), every)
        .from_beginning()
        .build()
        .unwrap()
}

fn send(service: &Stored, name: &str) -> u64 {
    block_on(service.dispatch(event("s", name), Consistency::Eventual)).unwrap().position.get()
}

/// After a restart nothing is handled twice and nothing left out; what is parked is still parked, with what it failed with, and
/// can be replayed.
#[test]
fn a_handler_goes_on_after_a_restart() {
    let (log, fails) = (Log::new(), Arc::new(AtomicU32::new(1)));
    let (before, after) = (Seen::default(), Seen::default());
    let first = service(&log, 1, &before, &fails);
    let sent: Vec<_> = ["Good", "Bad", "Good"].map(|name| send(&first, name)).into();
    block_on(first.handled(sent[2])).unwrap();
    block_on(first.close());
    let unseen = log.append("s", event("s", "Good").message).unwrap().position.get();

    let second = service(&log, 1, &after, &fails);
    block_on(second.start()).unwrap();
    let parked = &second.parked("mail").unwrap()[0];
    assert_eq!((parked.position().get(), parked.calls), (sent[1], 1));
    assert_eq!(parked.failure.error().to_string(), "the handler failed: no post on Sundays");
    block_on(second.handled(unseen)).unwrap();
    fails.store(0, Ordering::SeqCst);
    assert!(block_on(second.replay("mail")).unwrap().is_empty());
    assert_eq!((before.all(), after.all()), (vec![sent[0], sent[2]], vec![unseen, sent[1]]));

    block_on(second.close());
    let third = service(&log, 1, &Seen::default(), &fails);
    block_on(third.start()).unwrap();
    assert!(third.parked("mail").unwrap().is_empty(), "what was replayed is not parked after the next restart");
}

/// A process that is gone without a word: at most as many events as a checkpoint is saved after are handled again, and the one at hand.
#[test]
fn after_a_crash_little_is_handled_again() {
    for every in [1, 3, 10] {
        let (log, fails) = (Log::new(), Arc::new(AtomicU32::new(0)));
        let (before, after) = (Seen::default(), Seen::default());
        // A runtime that goes through everything, and is then gone.
        let work: Arc<Mutex<Vec<HandlerWork>>> = Arc::default();
        let (there, noted) = (work.clone(), before.clone());
        let first = Service::builder(log.clone())
            .handler("mail", ["Good"], move |envelope: Envelope| {
                noted.note(&envelope);
                async { Ok::<_, std::io::Error>(()) }
            })
            .checkpoints(StoreCheckpoints::new(Arc::new(log.clone()), "checkpoint"), every)
            .spawn_with(move |work| there.lock().unwrap().push(work))
            .build()
            .unwrap();
        block_on(first.start()).unwrap();
        for _ in 0..25 {
            log.append("s", event("s", "Good").message).unwrap();
        }
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(work.lock().unwrap()[0].as_mut().poll(&mut context).is_pending());
        work.lock().unwrap().clear();

        let second = service(&log, every, &after, &fails);
        block_on(second.start()).unwrap();
        block_on(second.handled(25)).unwrap();
        let again = after.all().len();
        assert_eq!(before.all(), (1..=25).collect::<Vec<_>>());
        assert_eq!(again, 25 % every as usize, "with a checkpoint after each {every}");
    }
}

/// A service that is closed saves where it is, however few events that is after the last checkpoint: nothing is handled again.
#[test]
fn closing_saves_a_checkpoint() {
    let (log, fails) = (Log::new(), Arc::new(AtomicU32::new(0)));
    let (before, after) = (Seen::default(), Seen::default());
    let first = service(&log, 100, &before, &fails);
    let sent = ["Good", "Good", "Good"].map(|name| send(&first, name));
    block_on(first.handled(sent[2])).unwrap();
    block_on(first.close());
    assert_eq!(log.end().get(), 4, "three events and a checkpoint");
    let second = service(&log, 100, &after, &fails);
    let last = send(&second, "Good");
    block_on(second.handled(last)).unwrap();
    assert_eq!((before.all(), after.all()), (sent.to_vec(), vec![last]));
}

/// A checkpoint is saved after events, not after checkpoints: each event makes one, even when one is asked for after every none.
#[test]
fn checkpoints_do_not_lead_to_checkpoints() {
    for every in [0, 1] {
        let (log, fails) = (Log::new(), Arc::new(AtomicU32::new(0)));
        let service = service(&log, every, &Seen::default(), &fails);
        for _ in 0..3 {
            let sent = send(&service, "Good");
            block_on(service.handled(sent)).unwrap();
            // It has passed its own checkpoint by then.
            let checkpoint = sent + 1;
            block_on(service.handled(checkpoint)).unwrap();
        }
        block_on(service.close());
        assert_eq!(log.end().get(), 6, "three events and three checkpoints, with {every}");
    }
}

/// A message in the checkpoint's stream that is none: the service does not start, and says which.
#[test]
fn what_is_no_checkpoint_is_told() {
    let (log, fails) = (Log::new(), Arc::new(AtomicU32::new(0)));
    for payload in [&b"short"[..], &[0; 11], &[0; 13], &[1; 12], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7]] {
        log.append("checkpoint-mail", Message::event("Checkpoint", payload).unwrap()).unwrap();
        let failed = block_on(service(&log, 1, &Seen::default(), &fails).start()).unwrap_err().to_string();
        let position = log.end();
        assert_eq!(
            failed,
            format!(
                "the checkpoint of handler \"mail\" could not be loaded: \
                 the checkpoint at position {position} ends in the middle of something"
            )
        );
    }
}

/// Of an error that is longer than a checkpoint takes, the beginning is kept, cut between two characters.
#[test]
fn long_errors_are_cut() {
    let log = Log::new();
    let failing = |log: &Log| {
        Service::builder(log.clone())
            .handler("mail", ["Bad"], |_: Envelope| async { Err::<(), _>("€".repeat(1_000)) })
            .checkpoints(StoreCheckpoints::new(Arc::new(log.clone()), "checkpoint"), 1)
            .build()
            .unwrap()
    };
    let first = failing(&log);
    block_on(first.dispatch(event("s", "Bad"), Consistency::Strong)).unwrap_err();
    block_on(first.close());
    let second = failing(&log);
    block_on(second.start()).unwrap();
    let kept = second.parked("mail").unwrap()[0].failure.error().to_string();
    assert_eq!(kept, format!("the handler failed: {}", "€".repeat(341)));
}
