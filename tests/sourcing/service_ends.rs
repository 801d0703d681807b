//! How a service begins and ends, and what it runs on.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use annals::sourcing::{
    Checkpoint, Checkpoints, Consistency, DispatchError, HandlerWork, NoCheckpoints, Retry, Service, StartError,
};
use annals::store::{BackendError, block_on};
use annals::{Envelope, Log};

use super::service::{Error, Seen, dispatch, event, noting};

/// Counts how often a handler's checkpoint was loaded, and fails as often as it is told to.
#[derive(Clone, Default)]
struct Counting {
    loads: Arc<AtomicU32>,
    fails: Arc<AtomicU32>,
}

impl Checkpoints for Counting {
    async fn load(&self, _: &str) -> Result<Option<Checkpoint>, BackendError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        std::thread::yield_now();
        let fails = self.fails.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails { Err("not yet".into()) } else { Ok(None) }
    }

    async fn save(&self, _: &str, _: &Checkpoint) -> Result<(), BackendError> {
        Err("never".into())
    }
}

/// Eight threads use it first, at once: it begins once, and every event is handled once.
#[test]
fn it_begins_once() {
    for _ in 0..50 {
        let (counting, seen) = (Counting::default(), Seen::default());
        let service = noting(Service::builder(Log::new()), "h", &["A"], &seen);
        let service = service.checkpoints(counting.clone(), 1).build().unwrap();
        assert_eq!(counting.loads.load(Ordering::SeqCst), 0, "not before it is used");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| block_on(service.dispatch(event("s", "A"), Consistency::Strong)).unwrap());
            }
        });
        assert_eq!(counting.loads.load(Ordering::SeqCst), 1);
        assert_eq!(seen.all(), (1..=8).collect::<Vec<_>>());
    }
}

/// A start that fails stores nothing and is tried again by the next call. A checkpoint that is not saved shows.
#[test]
fn a_failed_start_can_be_repeated() {
    let counting = Counting { fails: Arc::new(AtomicU32::new(1)), ..Counting::default() };
    let seen = Seen::default();
    let service = noting(Service::builder(Log::new()), "h", &["A"], &seen);
    let service = service.checkpoints(counting.clone(), 1).build().unwrap();
    let failed = block_on(service.dispatch(event("s", "A"), Consistency::Eventual)).unwrap_err();
    assert_eq!(failed.to_string(), r#"the checkpoint of handler "h" could not be loaded: not yet"#);
    assert!(service.store().end().get() == 0 && service.status().is_empty());
    block_on(service.dispatch(event("s", "A"), Consistency::Strong)).unwrap();
    block_on(service.close());
    let status = &service.status()[0];
    assert_eq!((counting.loads.load(Ordering::SeqCst), seen.all()), (2, vec![1]));
    assert_eq!(status.unsaved.as_deref(), Some("never"));
}

/// Without a checkpoint it begins with what comes after the first use, or with the first event there is.
#[test]
fn it_begins_now_or_at_the_beginning() {
    let log = Log::new();
    log.append("s", event("s", "A").message).unwrap();
    let (now, all) = (Seen::default(), Seen::default());
    let late = noting(Service::builder(log.clone()), "h", &["A"], &now).build().unwrap();
    let early = noting(Service::builder(log), "h", &["A"], &all).from_beginning().build().unwrap();
    block_on(early.start()).unwrap();
    dispatch(&late, "s", "A").unwrap();
    block_on(early.handled(2)).unwrap();
    assert_eq!((now.all(), all.all()), (vec![2], vec![1, 2]));
}

/// Closed: nothing is stored through it any more, no handler is called, and who waits is told. Another service can go on.
#[test]
fn a_closed_service_does_nothing() {
    let seen = Seen::default();
    let service = noting(Service::builder(Log::new()), "h", &["A"], &seen).build().unwrap();
    dispatch(&service, "s", "A").unwrap();
    block_on(service.close());
    block_on(service.close());
    let refused = dispatch(&service, "s", "A").unwrap_err();
    assert!(matches!(refused, DispatchError::Start(StartError::Closed)), "{refused}");
    service.store().append("s", event("s", "A").message).unwrap();
    assert_eq!((seen.all(), service.store().end().get()), (vec![1], 2));
    assert_eq!(service.status()[0].ended.as_deref(), Some("the service was closed"));

    let unused = noting(Service::builder(Log::new()), "h", &["A"], &seen).build().unwrap();
    block_on(unused.close());
    assert!(matches!(block_on(unused.start()), Err(StartError::Closed)));
}

/// A service that is closed does not wait for a pause to end, nor for the calls that would come after it.
#[test]
fn closing_ends_a_pause() {
    let (begun, begins) = std::sync::mpsc::channel();
    let retry = Retry::times(2).pausing(move |_| {
        begun.send(()).unwrap();
        std::future::pending()
    });
    let failing = |_| async { Err::<(), _>("always") };
    let service = Service::builder(Log::new()).retry(retry).handler("h", ["A"], failing).build().unwrap();
    block_on(service.dispatch(event("s", "A"), Consistency::Eventual)).unwrap();
    begins.recv().unwrap();
    block_on(service.close());
    let status = &service.status()[0];
    assert_eq!((status.position.get(), status.parked), (0, 0), "the event is neither handled nor parked");
}

/// When the last handle is dropped, the handlers' threads end, and what the handlers hold is freed.
#[test]
fn dropping_it_ends_its_threads() {
    let held = Arc::new(());
    let inside = held.clone();
    let service = Service::builder(Log::new()).handler("h", ["A"], move |_| {
        let _inside = inside.clone();
        async { Ok::<_, Error>(()) }
    });
    let service = service.build().unwrap();
    let other = service.clone();
    dispatch(&service, "s", "A").unwrap();
    drop(service);
    dispatch(&other, "s", "A").unwrap();
    drop(other);
    for _ in 0..1000 {
        if Arc::strong_count(&held) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("a thread still has the handler after 5 s");
}

/// A closed store: handlers end when they have handled everything.
#[test]
fn a_closed_store_ends_it() {
    let seen = Seen::default();
    let service = noting(Service::builder(Log::new()), "h", &["A"], &seen).build().unwrap();
    dispatch(&service, "s", "A").unwrap();
    service.store().close();
    assert!(matches!(dispatch(&service, "s", "A"), Err(DispatchError::Store(_))));
    let never = block_on(service.handled(2)).unwrap();
    assert!(never[0].to_string().contains("the store was closed"), "{never:?}");
}

/// On a runtime of one thread: the handlers are its tasks, and a strong dispatch lets them run.
#[tokio::test(flavor = "current_thread")]
async fn it_runs_on_a_runtime() {
    let seen = Seen::default();
    let builder = noting(Service::builder(Log::new()), "first", &["A"], &seen);
    let service = noting(builder, "second", &["A"], &seen).spawn_with(|work| drop(tokio::spawn(work))).build().unwrap();
    for position in 1..=300 {
        let appended = service.dispatch(event("s", "A"), Consistency::Strong).await.unwrap();
        assert_eq!(appended.position.get(), position);
    }
    assert_eq!(seen.all().len(), 600);
    service.close().await;
}

/// A handler far behind lets other tasks of its runtime have their turn: one poll of its work does not do all of it.
#[test]
fn a_handler_far_behind_lets_others_run() {
    let log = Log::new();
    (0..1_000).for_each(|_| _ = log.append("s", event("s", "A").message).unwrap());
    let (seen, kept) = (Seen::default(), Arc::<Mutex<Vec<HandlerWork>>>::default());
    let there = kept.clone();
    let service = noting(Service::builder(log), "h", &["A"], &seen).from_beginning();
    let service = service.spawn_with(move |work| there.lock().unwrap().push(work)).build().unwrap();
    block_on(service.start()).unwrap();
    let mut work = kept.lock().unwrap().pop().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while seen.all().len() < 1_000 {
        let before = seen.all().len();
        assert!(work.as_mut().poll(&mut context).is_pending());
        assert!((1..=64).contains(&(seen.all().len() - before)), "in poll {polls}");
        polls += 1;
    }
}

/// What it runs on drops its work: who waits is told, and does not wait for ever.
#[test]
fn work_that_is_dropped_is_told() {
    let kept: Arc<Mutex<Vec<HandlerWork>>> = Arc::default();
    let there = kept.clone();
    let service = Service::builder(Log::new())
        .handler("h", ["A"], |_: Envelope| async { Ok::<_, Error>(()) })
        .checkpoints(NoCheckpoints, 1)
        .spawn_with(move |work| there.lock().unwrap().push(work))
        .build()
        .unwrap();
    block_on(service.start()).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| dispatch(&service, "s", "A").unwrap_err().to_string());
        kept.lock().unwrap().clear();
        let told = waits.join().unwrap();
        assert!(told.contains("what it ran on has dropped it"), "{told}");
    });
}
