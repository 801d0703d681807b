//! Replicas over the bus: what they receive, refetch and let go of, on one thread and on several.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use annals::Bus;
use annals::replica::{Refetched, Refetcher, Replica, Status, SubscribeFailure, Transport, Update};
use annals::store::block_on;

use crate::post::Post;

/// Refetches that a test lets land one by one.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    begun: u64,
    dropped: u64,
    answers: VecDeque<Refetched<i64>>,
    waker: Option<Waker>,
}

struct Answer(Answers);

impl Answers {
    pub fn give(&self, answer: Refetched<i64>) {
        let mut waiting = self.0.lock().unwrap();
        waiting.answers.push_back(answer);
        waiting.waker.take().into_iter().for_each(Waker::wake);
    }

    pub fn begin(&self) -> impl Future<Output = Refetched<i64>> + Send + use<> {
        self.0.lock().unwrap().begun += 1;
        Answer(self.clone())
    }

    pub fn begun(&self) -> u64 {
        self.0.lock().unwrap().begun
    }
}

impl Future for Answer {
    type Output = Refetched<i64>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Refetched<i64>> {
        let mut waiting = self.0.0.lock().unwrap();
        match waiting.answers.pop_front() {
            Some(answer) => Poll::Ready(answer),
            None => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().dropped += 1;
    }
}

/// Values are numbers; a negative one does not parse, and some panic.
fn parse(value: &i64) -> Result<i64, String> {
    match *value {
        -13 => resume_unwind(Box::new("thirteen")),
        value if value < 0 => Err(format!("{value} is negative")),
        value => Ok(value),
    }
}

fn plain(bus: &Bus<Update<i64>>) -> Replica<i64> {
    block_on(Replica::builder(parse).start(bus, "key")).unwrap()
}

fn refetching(bus: &Bus<Update<i64>>) -> (Replica<i64>, Refetcher<i64, i64>, Answers) {
    let answers = Answers::default();
    let from = answers.clone();
    let started = Replica::builder(parse).seed(Update::new(1, 10)).start_refetching(bus, "key", move || from.begin());
    let (replica, refetcher) = block_on(started).unwrap();
    (replica, refetcher, answers)
}

/// Counts how often it is woken.
#[derive(Default)]
pub struct Woken(AtomicU64);

impl Woken {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls as a runtime would, until it neither is ready nor has woken itself.
fn run(refetcher: &mut Refetcher<i64, i64>) -> Poll<()> {
    let woken = Arc::new(Woken::default());
    loop {
        let before = woken.count();
        let polled = Pin::new(&mut *refetcher).poll(&mut Context::from_waker(&Waker::from(woken.clone())));
        if polled.is_ready() || woken.count() == before {
            return polled;
        }
    }
}

fn stands(replica: &Replica<i64>) -> (Option<i64>, Option<u64>, Status) {
    let snapshot = replica.snapshot();
    (snapshot.value.map(|value| *value), snapshot.sequence, snapshot.status)
}

#[test]
fn values_come_through_the_parse_gate() {
    let bus = Bus::new();
    let replica = plain(&bus);
    assert_eq!(stands(&replica), (None, None, Status::Stale));
    bus.publish("key", Update::new(7, 70).schema("1.2"));
    bus.publish("other", Update::new(8, 80));
    assert_eq!(
        (stands(&replica), replica.snapshot().schema.as_deref()),
        ((Some(70), Some(7), Status::Live), Some("1.2"))
    );
    let published = bus.publish("key", Update::new(8, -1));
    assert_eq!((published.delivered(), published.failures().len()), (1, 0));
    assert_eq!(replica.snapshot().reason.as_deref(), Some("-1 is negative"));
    assert_eq!(bus.publish("key", Update::new(8, -13)).failures().len(), 0, "a panic of the gate stays in the replica");
    assert_eq!(replica.snapshot().reason.as_deref(), Some("thirteen"));
    assert_eq!((stands(&replica), replica.status()), ((Some(70), Some(7), Status::Skew), Status::Skew));
    assert_eq!(replica.snapshot().statistics.parse_errors, 2);
}

#[test]
fn a_seed_is_taken_and_one_that_does_not_parse_is_not() {
    let bus = Bus::new();
    let seeded = block_on(Replica::builder(parse).seed(Update::new(5, 50)).start(&bus, "key")).unwrap();
    assert_eq!(stands(&seeded), (Some(50), Some(5), Status::Live));
    let unseeded = block_on(Replica::builder(parse).seed(Update::new(5, -1)).start(&bus, "key")).unwrap();
    assert_eq!(stands(&unseeded), (None, None, Status::Skew));
}

/// A transport that has an update on its way while somebody subscribes, or subscribes nobody.
struct Meanwhile(Bus<Update<i64>>, Option<u64>);

impl Transport<i64> for Meanwhile {
    type Subscription = <Bus<Update<i64>> as Transport<i64>>::Subscription;

    fn delivers_at_once(&self) -> bool {
        true
    }

    async fn publish(&self, key: &str, update: Update<i64>) -> Result<(), annals::replica::PublishFailure> {
        Transport::publish(&self.0, key, update).await
    }

    async fn subscribe(
        &self,
        key: &str,
        handler: impl Fn(&Update<i64>) + Send + Sync + 'static,
    ) -> Result<Self::Subscription, SubscribeFailure> {
        let Some(sequence) = self.1 else { return Err(SubscribeFailure::invalid_key(key)) };
        handler(&Update::new(sequence, sequence as i64 * 10));
        Transport::subscribe(&self.0, key, handler).await
    }

    fn key_count(&self) -> usize {
        self.0.key_count()
    }

    fn failed_count(&self) -> u64 {
        self.0.failed_count()
    }
}

#[test]
fn it_subscribes_first_and_then_takes_the_seed() {
    for (meanwhile, then) in [(6, 6), (4, 5)] {
        let transport = Meanwhile(Bus::new(), Some(meanwhile));
        let replica = block_on(Replica::builder(parse).seed(Update::new(5, 50)).start(&transport, "key")).unwrap();
        assert_eq!(stands(&replica), (Some(then * 10), Some(then as u64), Status::Live));
        assert_eq!(replica.snapshot().statistics.applied, if then == 6 { 1 } else { 2 }, "the update came first");
    }
}

#[test]
fn who_cannot_subscribe_is_told() {
    let refused = block_on(Replica::builder(parse).start(&Meanwhile(Bus::new(), None), "no key")).unwrap_err();
    assert_eq!(refused.to_string(), r#"the transport has no place for key "no key""#);
}

#[test]
fn a_gap_refetches_when_the_refetcher_is_polled() {
    let bus = Bus::new();
    let (replica, mut refetcher, answers) = refetching(&bus);
    assert!(run(&mut refetcher).is_pending());
    assert_eq!(answers.begun(), 0, "nobody asked");
    for sequence in 3..9 {
        bus.publish("key", Update::new(sequence, sequence as i64));
        assert!(run(&mut refetcher).is_pending());
    }
    assert_eq!((answers.begun(), stands(&replica)), (1, (Some(10), Some(1), Status::Stale)));
    answers.give(Ok(Some(Update::new(4, 40))));
    assert!(run(&mut refetcher).is_pending());
    assert_eq!((answers.begun(), stands(&replica)), (2, (Some(40), Some(4), Status::Stale)), "8 came meanwhile");
    answers.give(Ok(Some(Update::new(8, 80))));
    assert!(run(&mut refetcher).is_pending());
    assert_eq!((answers.begun(), stands(&replica)), (2, (Some(80), Some(8), Status::Live)));
    answers.give(Err("gone".into()));
    replica.refetch();
    replica.refetch();
    assert!(run(&mut refetcher).is_pending());
    assert_eq!((answers.begun(), stands(&replica)), (3, (Some(80), Some(8), Status::Stale)));
    assert_eq!(replica.snapshot().reason.as_deref(), Some("gone"));
    answers.give(Ok(Some(Update::new(9, -13))));
    replica.refetch();
    assert!(run(&mut refetcher).is_pending());
    assert_eq!((answers.begun(), stands(&replica)), (4, (Some(80), Some(8), Status::Skew)));
}

#[test]
fn the_refetcher_is_woken_when_it_is_asked_and_when_it_ends() {
    let bus = Bus::new();
    let (replica, mut refetcher, _answers) = refetching(&bus);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut poll = || Pin::new(&mut refetcher).poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    assert_eq!(woken.count(), 0);
    bus.publish("key", Update::new(3, 30));
    assert_eq!(woken.count(), 1);
    assert!(poll().is_pending());
    replica.dispose();
    assert_eq!(woken.count(), 2);
    assert!(poll().is_ready());
}

#[test]
fn a_refetch_that_panics_has_failed() {
    let bus = Bus::new();
    let mut begun = 0;
    let begin = move || {
        begun += 1;
        match begun {
            1 => resume_unwind(Box::new("at the beginning")),
            which => {
                poll_fn(move |_| if which == 2 { resume_unwind(Box::new("later")) } else { Poll::Ready(Ok(None)) })
            }
        }
    };
    let started = Replica::builder(parse).start_refetching(&bus, "key", begin);
    let (replica, mut refetcher) = block_on(started).unwrap();
    for (at, reason) in [(1, Some("at the beginning")), (2, Some("later")), (3, None)] {
        replica.refetch();
        assert!(run(&mut refetcher).is_pending());
        let snapshot = replica.snapshot();
        assert_eq!((snapshot.statistics.failed_refetches, snapshot.reason.as_deref()), (at, reason));
        assert!(!snapshot.is_refetching);
    }
}

#[test]
fn dispose_ends_everything_and_again_does_nothing() {
    let bus = Bus::new();
    let (replica, mut refetcher, answers) = refetching(&bus);
    bus.publish("key", Update::new(3, 30));
    assert!(run(&mut refetcher).is_pending());
    replica.dispose();
    replica.dispose();
    assert_eq!(bus.key_count(), 0);
    block_on(replica.when_idle());
    answers.give(Ok(Some(Update::new(3, 30))));
    assert!(run(&mut refetcher).is_ready());
    assert_eq!(answers.0.lock().unwrap().dropped, 1, "what is in flight is dropped");
    replica.refetch();
    replica.rebase();
    assert_eq!((stands(&replica), answers.begun()), ((Some(10), Some(1), Status::Stale), 1));
}

#[test]
fn the_last_handle_disposes() {
    let bus = Bus::new();
    let (replica, mut refetcher, _answers) = refetching(&bus);
    let other = replica.clone();
    drop(replica);
    assert_eq!(bus.key_count(), 1);
    assert!(run(&mut refetcher).is_pending());
    drop(other);
    assert_eq!(bus.key_count(), 0);
    assert!(run(&mut refetcher).is_ready());
}

#[test]
fn without_its_refetcher_a_replica_is_idle_and_goes_on() {
    let bus = Bus::new();
    let (replica, mut refetcher, answers) = refetching(&bus);
    bus.publish("key", Update::new(3, 30));
    assert!(run(&mut refetcher).is_pending());
    drop(refetcher);
    block_on(replica.when_idle());
    assert_eq!((stands(&replica), answers.0.lock().unwrap().dropped), ((Some(10), Some(1), Status::Stale), 1));
    bus.publish("key", Update::new(2, 20));
    assert_eq!(stands(&replica), (Some(20), Some(2), Status::Stale));
}

#[test]
fn rebase_drops_what_is_in_flight() {
    let bus = Bus::new();
    let (replica, mut refetcher, answers) = refetching(&bus);
    replica.refetch();
    assert!(run(&mut refetcher).is_pending());
    replica.rebase();
    assert!(run(&mut refetcher).is_pending());
    assert_eq!((answers.begun(), answers.0.lock().unwrap().dropped), (2, 1));
    answers.give(Ok(Some(Update::new(0, 5))));
    assert!(run(&mut refetcher).is_pending());
    assert_eq!(stands(&replica), (Some(5), Some(0), Status::Live));
}

/// From within a handler, too: the replica is up to date when those behind it are called.
#[test]
fn a_handler_may_publish_to_a_key_with_a_replica_and_dispose_of_it() {
    let bus = Bus::new();
    let replica = plain(&bus);
    let (own, again) = (replica.clone(), bus.clone());
    let _rule = bus.subscribe("key", move |update: &Update<i64>| match update.sequence {
        0 => _ = again.publish("key", Update::new(1, 1)),
        1 => own.dispose(),
        _ => {}
    });
    bus.publish("key", Update::new(0, 0));
    bus.publish("key", Update::new(2, 2));
    assert_eq!(stands(&replica), (Some(1), Some(1), Status::Stale));
}

/// Any number of publishers, with updates lost, and a source that has them all: in the end the replica has the last one, and no
/// reader ever saw it go back.
#[test]
fn publishers_readers_and_refetches_at_once() {
    const EACH: u64 = 4_000;
    let bus: Bus<Update<i64>> = Bus::new();
    let source = Arc::new(AtomicU64::new(0));
    let from = source.clone();
    let begin = move || {
        let now = from.load(Ordering::SeqCst);
        async move { Ok(Some(Update::new(now, now as i64))) }
    };
    let (replica, refetcher) = block_on(Replica::builder(parse).start_refetching(&bus, "key", begin)).unwrap();
    let refetching = thread::spawn(move || block_on(refetcher));
    let (is_over, begins) = (AtomicBool::new(false), Barrier::new(4));
    thread::scope(|scope| {
        let publishers = [0, 1].map(|_| {
            scope.spawn(|| {
                begins.wait();
                for round in 0..EACH {
                    let sequence = source.fetch_add(1, Ordering::SeqCst) + 1;
                    if round % 7 != 0 {
                        bus.publish("key", Update::new(sequence, sequence as i64));
                    }
                }
            })
        });
        let readers = [0, 1].map(|_| {
            scope.spawn(|| {
                begins.wait();
                let (mut last, mut reads) = (None, 0);
                while !is_over.load(Ordering::SeqCst) {
                    let snapshot = replica.snapshot();
                    assert!(snapshot.sequence >= last, "{:?} after {last:?}", snapshot.sequence);
                    assert_eq!(snapshot.value.map(|value| *value as u64), snapshot.sequence, "of one instant");
                    last = snapshot.sequence;
                    reads += 1;
                }
                reads
            })
        });
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        is_over.store(true, Ordering::SeqCst);
        assert!(readers.map(|reader| reader.join().unwrap()).iter().all(|reads| *reads > 0));
    });
    let last = source.fetch_add(1, Ordering::SeqCst) + 1;
    bus.publish("key", Update::new(last, last as i64));
    block_on(replica.when_idle());
    assert_eq!(stands(&replica), (Some(last as i64), Some(last), Status::Live));
    let counted = replica.snapshot().statistics;
    assert!(counted.gaps > 0 && counted.refetches > 0, "{counted:?}");
    assert_eq!(counted.failed_refetches, 0);
    drop(replica);
    refetching.join().unwrap();
    assert_eq!(bus.key_count(), 0);
}

/// One that never lands holds up nobody but who waits for it.
#[test]
fn a_refetch_that_never_lands_holds_up_no_publisher() {
    let bus = Bus::new();
    let begin = || pending::<Refetched<i64>>();
    let started = Replica::builder(parse).seed(Update::new(1, 10)).start_refetching(&bus, "key", begin);
    let (replica, mut refetcher) = block_on(started).unwrap();
    bus.publish("key", Update::new(3, 30));
    assert!(run(&mut refetcher).is_pending());
    bus.publish("key", Update::new(2, 20));
    assert_eq!(stands(&replica), (Some(20), Some(2), Status::Stale));
    let mut idle = std::pin::pin!(replica.when_idle());
    assert!(idle.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// The same code over any transport: one update is lost, the refetch brings it, and the replica keeps up.
fn keeps_up(transport: &impl Transport<String>) {
    let source = Arc::new(AtomicU64::new(0));
    let from = source.clone();
    let begin = move || {
        let now = from.load(Ordering::SeqCst);
        async move { Ok(Some(Update::new(now, now.to_string()))) }
    };
    let builder = Replica::builder(|text: &String| text.parse::<u64>()).seed(Update::new(0, "0".to_owned()));
    let (replica, refetcher) = block_on(builder.start_refetching(transport, "key", begin)).unwrap();
    let refetching = thread::spawn(move || block_on(refetcher));
    let mut watch = replica.watch_value();
    for sequence in 1..=50 {
        source.store(sequence, Ordering::SeqCst);
        if sequence != 30 {
            block_on(transport.publish("key", Update::new(sequence, sequence.to_string()))).unwrap();
        }
    }
    while block_on(watch.next()).expect("the replica lives").sequence < Some(50) {}
    block_on(replica.when_idle());
    let snapshot = replica.snapshot();
    assert_eq!((snapshot.value.as_deref(), snapshot.status), (Some(&50), Status::Live));
    let counted = snapshot.statistics;
    assert!(counted.gaps >= 1 && counted.refetches >= 1 && counted.applied >= 30, "{counted:?}");
    replica.dispose();
    refetching.join().unwrap();
    assert_eq!(transport.key_count(), 0);
}

#[test]
fn a_replica_keeps_up_whatever_the_transport() {
    keeps_up(&Bus::new());
    keeps_up(&Post::new());
    keeps_up(&Post::by_courier());
}
