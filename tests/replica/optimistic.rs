//! Optimistic writes: the rules one by one, random programs of clients and an authority (`offline`), and the shell: queues,
//! failures, panics, threads.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use annals::replica::{
    Answer, Intent, IntentQueue, Mark, OnGap, OperationId, Optimistic, Pushed, QueueFailure, Queued, Replica,
    SendFailure, StreamQueue, Update, Writes,
};
use annals::store::{BackendError, block_on, iterate};
use annals::{Bus, Log, Message};
use futures_core::Stream;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::offline::{self, Add, Authority, Came, STEP, id_of};
use crate::programs::bytes;

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Three clients, one authority, lost, late and repeated updates, late and failing refetches, broken ways, restarts: each
    /// view is what is confirmed with what is pending, each operation is shown once and carried out once, in order, and all come
    /// to what the authority has.
    #[test]
    fn clients_come_to_what_the_authority_has(program in vec(any::<u8>(), 0..120 * STEP)) {
        offline::run(&program);
    }
}

/// Programs come to what they are about.
#[test]
fn programs_include_reject_restart_and_refetch() {
    let mut all = Came::default();
    for seed in 0..100 {
        let came = offline::run(&bytes(seed, 1 + 100 * STEP));
        all.included += came.included;
        all.rejected += came.rejected;
        all.restarts += came.restarts;
        all.refetched += came.refetched;
        all.gaps += came.gaps;
    }
    assert!(all.included > 1_000 && all.rejected > 200 && all.restarts > 50, "{all:?}");
    assert!(all.refetched > 300 && all.gaps > 100, "{all:?}");
}

type List = Optimistic<Vec<u16>, Add>;

fn list(confirmed: &[u16], sequence: u64) -> List {
    let mut list = List::new();
    assert!(list.confirm(Arc::new(confirmed.to_vec()), Mark::new(0, sequence)));
    list
}

fn propose(list: &mut List, place: u64, number: u16) {
    assert!(list.propose(place, id_of(number), Arc::new(Add(number))));
}

fn view(list: &List) -> &[u16] {
    list.view().unwrap()
}

#[test]
fn nothing_is_shown_before_something_is_confirmed() {
    let mut list = List::new();
    propose(&mut list, 1, 7);
    assert!(list.view().is_none());
    list.confirm(Arc::new(vec![1]), Mark::new(0, 0));
    assert_eq!(view(&list), [1, 7]);
}

#[test]
fn proposals_are_in_the_order_of_their_places() {
    let mut list = list(&[], 0);
    propose(&mut list, 9, 9);
    propose(&mut list, 4, 4);
    assert_eq!(view(&list), [4, 9]);
    assert_eq!(list.next().map(|next| next.place), Some(4));
    assert!(!list.propose(12, id_of(9), Arc::new(Add(10))), "one of this id is pending");
    assert_eq!(view(&list), [4, 9]);
}

#[test]
fn a_rejection_restores() {
    let mut list = list(&[1], 0);
    propose(&mut list, 1, 2);
    propose(&mut list, 2, 3);
    assert!(list.reject(&id_of(2), "no"));
    assert_eq!(view(&list), [1, 3]);
    assert_eq!(list.last_rejection().map(|it| (&it.id, &*it.reason)), Some((&id_of(2), "no")));
    assert!(!list.reject(&id_of(2), "no"), "it is not pending");
    assert_eq!(list.decided().collect::<Vec<_>>(), [&id_of(2)]);
    list.written_down(&id_of(2));
    assert_eq!((list.decided().len(), list.kept()), (0, 1));
}

/// The echo of an update that could not be applied: the operation is shown until the value is there, and not twice then.
#[test]
fn an_operation_leaves_when_the_value_has_reached_its_mark() {
    let mut list = list(&[1], 1);
    propose(&mut list, 1, 2);
    assert!(list.include(&id_of(2), Mark::new(0, 4)));
    assert_eq!((view(&list), list.next().is_none()), (&[1, 2][..], true));
    list.confirm(Arc::new(vec![1, 8]), Mark::new(0, 3));
    assert_eq!(view(&list), [1, 8, 2]);
    assert!(!list.include(&id_of(2), Mark::new(0, 5)), "it is known to be in an earlier one");
    list.confirm(Arc::new(vec![1, 8, 2, 9]), Mark::new(0, 5));
    assert_eq!((view(&list), list.pending().len()), (&[1, 8, 2, 9][..], 0));
}

#[test]
fn the_first_word_of_an_outcome_counts() {
    let mut list = list(&[], 0);
    propose(&mut list, 1, 2);
    list.include(&id_of(2), Mark::new(0, 4));
    assert!(!list.reject(&id_of(2), "I have seen that before"));
    assert_eq!((view(&list), list.decided().len()), (&[2][..], 1));
}

#[test]
fn a_confirmed_value_never_goes_backwards_but_into_another_era() {
    let mut list = list(&[1], 4);
    propose(&mut list, 1, 2);
    list.include(&id_of(2), Mark::new(0, 9));
    assert!(!list.confirm(Arc::new(vec![]), Mark::new(0, 3)));
    assert!(list.confirm(Arc::new(vec![1, 2]), Mark::new(1, 0)));
    assert_eq!((view(&list), list.pending().len()), (&[1, 2][..], 0), "what was contained before is contained");
}

/// Doubles; panics on the value 13, half-way.
struct Touchy(u64);

impl Intent<Vec<u64>> for Touchy {
    fn apply(&self, value: &mut Vec<u64>) {
        value.push(self.0);
        if value[0] == 13 && self.0 == 2 {
            resume_unwind(Box::new("thirteen"));
        }
    }
}

#[test]
fn an_intent_that_panics_is_left_out_and_stays_pending() {
    let mut state = Optimistic::new();
    for place in 1..=3 {
        state.propose(place, OperationId::from(place.to_string()), Arc::new(Touchy(place)));
    }
    state.confirm(Arc::new(vec![13]), Mark::new(0, 1));
    assert_eq!((state.view().unwrap().to_vec(), state.pending().len()), (vec![13, 1, 3], 3));
    state.confirm(Arc::new(vec![14]), Mark::new(0, 2));
    assert_eq!(**state.view().unwrap(), [14, 1, 2, 3]);
}

type Client = (Bus<Update<Vec<u16>>>, Replica<Vec<u16>>, Writes<Vec<u16>, Add, StreamQueue<Log, Add>>);

fn client(log: &Log) -> Client {
    client_with(log, OnGap::Refetch)
}

fn client_with(log: &Log, on_gap: OnGap) -> Client {
    let bus = Bus::new();
    let (writes, confirmations) = block_on(Writes::load(StreamQueue::new(log.clone(), "proposals"))).unwrap();
    let builder = Replica::builder(|list: &Vec<u16>| Ok::<_, String>(list.clone()));
    let builder = builder.on_gap(on_gap).confirms(confirmations).seed(Update::new(0, Vec::new()));
    let replica = block_on(builder.start(&bus, "list")).unwrap();
    (bus, replica, writes)
}

fn propose_to(writes: &Client, number: u16) {
    block_on(writes.2.propose(id_of(number), Add(number))).unwrap();
}

fn seen(client: &Client) -> (Vec<u16>, usize) {
    let shown = client.2.shown();
    (shown.value.map(|value| (*value).clone()).unwrap_or_default(), shown.pending.len())
}

async fn answer(answer: Answer) -> Result<Answer, BackendError> {
    Ok(answer)
}

#[test]
fn what_was_pending_is_sent_after_a_restart_in_order_and_once() {
    let log = Log::new();
    let first = client(&log);
    (1..=4).for_each(|number| propose_to(&first, number));
    let mut sent = Vec::new();
    let broken = block_on(first.2.send(|id, add| {
        sent.push(add.0);
        async move { if id == id_of(2) { Err("the way is broken".into()) } else { Ok(Answer::included(1)) } }
    }));
    let Err(SendFailure::Unanswered { id, answered, .. }) = broken else { panic!("{broken:?}") };
    assert_eq!((id, answered, sent), (id_of(2), vec![(id_of(1), Answer::included(1))], vec![1, 2]));
    drop(first);

    let second = client(&log);
    assert_eq!(seen(&second), (vec![2, 3, 4], 3));
    let mut sent = Vec::new();
    let ends = block_on(second.2.send(|_, add| {
        sent.push(add.0);
        answer(if add.0 == 3 { Answer::rejected("no") } else { Answer::included(u64::from(add.0)) })
    }));
    assert_eq!((ends.unwrap().len(), sent), (3, vec![2, 3, 4]));
    assert_eq!(seen(&second), (vec![2, 4], 2), "until the value is there");
    second.0.publish("list", Update::new(9, vec![1, 2, 4]));
    second.0.publish("list", Update::new(1, vec![1]));
    assert_eq!(seen(&second), (vec![1, 2, 4], 2), "a gap is not applied");

    let third = client(&log);
    assert_eq!(seen(&third), (Vec::new(), 0));
    assert!(block_on(third.2.send(|_, _| answer(Answer::included(0)))).unwrap().is_empty());
}

#[test]
fn an_update_that_names_the_operation_confirms_it_before_the_publisher_goes_on() {
    let log = Log::new();
    let client = client(&log);
    propose_to(&client, 1);
    client.0.publish("list", Update::new(1, vec![1]).operation(id_of(1)));
    assert_eq!(seen(&client), (vec![1], 0));
    let again = block_on(client.2.propose(id_of(1), Add(1))).unwrap_err();
    assert_eq!(again.to_string(), "operation operation-1 was proposed before", "though the queue still has it");
    assert!(block_on(client.2.send(|_, _| answer(Answer::rejected("asked again")))).unwrap().is_empty(), "not sent");
    assert!(block_on(StreamQueue::<_, Add>::new(log, "proposals").load()).unwrap().is_empty());
}

#[test]
fn a_source_that_counts_anew_confirms_what_it_contained() {
    let client = client(&Log::new());
    propose_to(&client, 1);
    block_on(client.2.send(|_, _| answer(Answer::included(40)))).unwrap();
    client.1.rebase();
    assert_eq!(seen(&client), (vec![1], 1));
    client.0.publish("list", Update::new(2, vec![1]));
    assert_eq!(seen(&client), (vec![1], 0));
}

#[test]
fn there_may_be_so_many_and_no_more() {
    let queue = StreamQueue::<_, Add>::new(Log::new(), "proposals");
    let (writes, _) = block_on(Writes::<Vec<u16>, _, _>::load_limited(queue, 2)).unwrap();
    block_on(writes.propose(id_of(1), Add(1))).unwrap();
    block_on(writes.propose(id_of(2), Add(2))).unwrap();
    let full = block_on(writes.propose(id_of(3), Add(3))).unwrap_err();
    assert_eq!(full.to_string(), "2 operations are pending, which is the limit");
    block_on(writes.send(|_, _| answer(Answer::rejected("no")))).unwrap();
    block_on(writes.propose(id_of(3), Add(3))).unwrap();
}

/// Fails on request, before or after it has done what was asked.
struct Flaky {
    queue: StreamQueue<Log, Add>,
    fails: Arc<Mutex<Option<bool>>>,
}

impl Flaky {
    async fn with<R>(&self, run: impl Future<Output = Result<R, QueueFailure>>) -> Result<R, QueueFailure> {
        let fails = *self.fails.lock().unwrap();
        let gone = || QueueFailure::Backend("the disk is gone".into());
        if fails == Some(true) {
            return Err(gone());
        }
        let done = run.await?;
        if fails.is_some() { Err(gone()) } else { Ok(done) }
    }
}

impl IntentQueue<Add> for Flaky {
    async fn load(&self) -> Result<Vec<Queued<Add>>, QueueFailure> {
        self.queue.load().await
    }

    async fn push(&self, id: &OperationId, intent: &Add) -> Result<Pushed, QueueFailure> {
        self.with(self.queue.push(id, intent)).await
    }

    async fn settle(&self, id: &OperationId) -> Result<(), QueueFailure> {
        self.with(self.queue.settle(id)).await
    }
}

#[test]
fn a_queue_that_fails_is_told_and_tried_again() {
    let fails = Arc::new(Mutex::new(None));
    let queue = Flaky { queue: StreamQueue::new(Log::new(), "proposals"), fails: fails.clone() };
    let (writes, _) = block_on(Writes::<Vec<u16>, _, _>::load(queue)).unwrap();
    let pending = || writes.shown().pending.len();
    for (at, before) in [(1, true), (2, false)] {
        *fails.lock().unwrap() = Some(before);
        let failed = block_on(writes.propose(id_of(at), Add(at))).unwrap_err();
        assert_eq!(failed.to_string(), "the queue failed: the disk is gone");
        assert_eq!(pending(), usize::from(at) - 1, "what is not known to be kept is not shown");
        *fails.lock().unwrap() = None;
        block_on(writes.propose(id_of(at), Add(at))).unwrap();
        assert_eq!(pending(), usize::from(at));
    }
    for before in [true, false] {
        *fails.lock().unwrap() = Some(before);
        let failed = block_on(writes.send(|_, _| answer(Answer::included(1)))).unwrap_err();
        assert_eq!(
            failed.to_string(),
            "the outcome of an operation was not written down: the queue failed: the disk is gone"
        );
    }
    *fails.lock().unwrap() = None;
    let sent = block_on(writes.send(|id, _| {
        assert_eq!(id, id_of(2), "the first is answered");
        answer(Answer::included(2))
    }));
    assert_eq!(sent.unwrap().len(), 1);
    let again = block_on(writes.propose(id_of(9), Add(9)));
    again.unwrap();
    block_on(writes.send(|_, _| answer(Answer::rejected("no")))).unwrap();
    let settled = block_on(writes.propose(id_of(9), Add(9))).unwrap_err();
    assert_eq!(settled.to_string(), "operation operation-9 was proposed before");
}

#[test]
fn an_authority_that_panics_has_not_answered() {
    let client = client(&Log::new());
    propose_to(&client, 1);
    for begins in [true, false] {
        let failed = block_on(client.2.send(|_, _| {
            assert!(!begins, "when it is begun");
            async { resume_unwind(Box::new("when it is polled")) }
        }));
        let said = if begins { "when it is begun" } else { "when it is polled" };
        assert_eq!(
            failed.unwrap_err().to_string(),
            format!("operation operation-1 was not answered: it panicked: {said}")
        );
        assert_eq!(seen(&client), (vec![1], 1));
    }
}

#[test]
fn one_sends_at_a_time_and_who_is_dropped_gives_way() {
    let client = client(&Log::new());
    propose_to(&client, 1);
    {
        let mut sending = pin!(client.2.send(|_, _| std::future::pending()));
        assert!(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let busy = block_on(client.2.send(|_, _| answer(Answer::included(1)))).unwrap_err();
        assert_eq!(busy.to_string(), "operations are being sent already");
    }
    assert_eq!(block_on(client.2.send(|_, _| answer(Answer::included(1)))).unwrap().len(), 1);
}

#[test]
fn what_is_no_proposal_is_told() {
    let log = Log::new();
    log.append("proposals", Message::event("Placed", "").unwrap()).unwrap();
    let failed = block_on(StreamQueue::<_, Add>::new(log, "proposals").load()).unwrap_err();
    assert_eq!(failed.to_string(), r#"message "Placed" at position 1 is no intent of the queue's type"#);
}

/// Proposals, the sender, updates and readers at once: every view has each operation once, and in the end everything is there.
#[test]
fn threads_that_propose_send_and_read() {
    const EACH: u16 = 150;
    let client = client_with(&Log::new(), OnGap::Apply);
    let authority = Mutex::new(Authority::naming());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let proposers = [1_000, 2_000].map(|first| {
            let client = &client;
            scope.spawn(move || (first..first + EACH).for_each(|number| propose_to(client, number)))
        });
        let sender = scope.spawn(|| {
            while authority.lock().unwrap().came.len() < 2 * usize::from(EACH) {
                block_on(client.2.send(|id, add| {
                    let mut authority = authority.lock().unwrap();
                    let answer = authority.told(&id, &add);
                    let end = authority.list.len();
                    // One in three is lost: the next brings it, being a snapshot.
                    if add.0 % 3 != 0 && end > 0 {
                        client.0.publish("list", authority.snapshot(end));
                    }
                    async move { Ok(answer) }
                }))
                .unwrap();
            }
        });
        let watcher = scope.spawn(|| {
            for shown in iterate(client.2.watch()) {
                let mut numbers = (*shown.value.expect("there is a seed")).clone();
                numbers.sort_unstable();
                assert!(numbers.is_sorted_by(|a, b| a < b), "each once: {numbers:?}");
                if is_over.load(Ordering::SeqCst) && shown.pending.is_empty() {
                    return;
                }
            }
        });
        proposers.into_iter().for_each(|it| it.join().unwrap());
        sender.join().unwrap();
        is_over.store(true, Ordering::SeqCst);
        let authority = authority.lock().unwrap();
        // A change for sure: the watcher sees it, or what comes after.
        client.1.rebase();
        client.0.publish("list", authority.snapshot(authority.list.len()));
        watcher.join().unwrap();
        assert_eq!(seen(&client), (authority.list.clone(), 0));
        assert_eq!(authority.came.len(), 2 * usize::from(EACH));
    });
}

#[test]
fn who_watches_is_told_of_what_is_shown() {
    let client = client(&Log::new());
    let mut watch = pin!(client.2.watch());
    let mut look = || match watch.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(shown) => shown.map(|shown| (shown.value.unwrap().to_vec(), shown.pending.len())),
        Poll::Pending => None,
    };
    assert_eq!((look(), look()), (Some((vec![], 0)), None));
    propose_to(&client, 1);
    assert_eq!((look(), look()), (Some((vec![1], 1)), None));
    client.0.publish("list", Update::new(7, vec![9]));
    assert!(
        client.1.snapshot().statistics.gaps == 1 && look().is_none(),
        "the replica has changed, what is shown has not"
    );
    block_on(client.2.send(|_, _| answer(Answer::rejected("no")))).unwrap();
    assert_eq!((look(), look()), (Some((vec![], 0)), None));
    client.0.publish("list", Update::new(1, vec![2]));
    assert_eq!((look(), look()), (Some((vec![2], 0)), None));
}

/// For runtimes with more than one thread.
#[test]
fn futures_may_go_to_other_threads() {
    fn sends<F: Send>(future: F) -> F {
        future
    }
    let client = client(&Log::new());
    block_on(sends(client.2.propose(id_of(1), Add(1)))).unwrap();
    assert_eq!(block_on(sends(client.2.send(|_, _| answer(Answer::included(1))))).unwrap().len(), 1);
    let queue = StreamQueue::<_, Add>::new(Log::new(), "proposals");
    drop(block_on(sends(Writes::<Vec<u16>, _, _>::load(queue))).unwrap());
}
