//! Transactions over several keys: patches, the ledger, and replicas of a group that lose, repeat and reorder what they receive.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;

use annals::Bus;
use annals::replica::{
    Answer, Change, CommitFailure, Committed, Group, Intent, IntentQueue, Ledger, OnGap, OperationId, Pushed,
    QueueFailure, Queued, Refetcher, Replica, Snapshot, Status, Transaction, Update, Writes,
};
use annals::store::block_on;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::programs::bytes;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const SUM: i64 = 400;

type Accounts = Group<i64>;
type Sent = Committed<i64>;

fn sum(group: &Accounts) -> i64 {
    group.iter().map(|(_, account)| *account.value).sum()
}

fn opened() -> Ledger<i64> {
    let mut ledger = Ledger::new();
    let open = KEYS.iter().fold(Transaction::new(), |open, key| open.put(*key, 100));
    ledger.commit(&open).unwrap();
    ledger
}

/// Moves an amount between two keys; what is empty is removed, so keys come and go.
fn transfer(group: &Accounts, from: &str, to: &str, amount: i64) -> Transaction<i64> {
    if from == to {
        return Transaction::new();
    }
    let balance = |key| group.get(key).map_or(0, |account: &annals::replica::Versioned<i64>| *account.value);
    [(from, balance(from) - amount), (to, balance(to) + amount)].into_iter().fold(
        Transaction::new(),
        |transaction, (key, left)| if left == 0 { transaction.remove(key) } else { transaction.put(key, left) },
    )
}

fn contents(group: &Accounts) -> Vec<(String, i64, Option<u64>)> {
    group.iter().map(|(key, account)| (key.to_owned(), *account.value, account.version)).collect()
}

#[test]
fn a_ledger_decides_every_expectation() {
    let mut ledger = opened();
    let before = ledger.group().clone();
    let late = Transaction::new().put("a", 1).put("b", 2).expect("a", 1).expect("b", 7);
    let failure = ledger.commit(&late).unwrap_err();
    assert_eq!(failure.to_string(), r#"key "b" has version 1, expected 7"#);
    let absent = ledger.commit(&Transaction::new().put("a", 1).expect("x", 3)).unwrap_err();
    assert_eq!(absent.to_string(), r#"key "x" is not there, expected 3"#);
    let there = ledger.commit(&Transaction::new().put("a", 1).expect_absent("a")).unwrap_err();
    assert_eq!(there.to_string(), r#"key "a" has version 1, expected none"#);
    assert_eq!((ledger.group(), ledger.sequence()), (&before, 1), "refused, it changes nothing");

    let update = ledger.commit(&Transaction::new().put("a", 1).remove("b").expect("b", 1).expect_absent("x")).unwrap();
    assert_eq!((update.sequence, ledger.sequence()), (2, 2));
    let should = [("a", 1, Some(2)), ("c", 100, Some(1)), ("d", 100, Some(1))];
    assert_eq!(contents(ledger.group()), should.map(|(key, value, version)| (key.to_owned(), value, version)));
}

#[test]
fn the_last_sequence_has_none_after_it() {
    let mut ledger = Ledger::at(u64::MAX, Group::new().with("a", 3, 1));
    assert_eq!(ledger.commit(&Transaction::new().put("a", 2)).unwrap_err(), CommitFailure::Full);
    assert_eq!(contents(ledger.group()), [("a".to_owned(), 1, Some(3))]);
}

#[test]
fn a_transaction_is_an_intent() {
    let mut group = opened().group().clone();
    Transaction::new().put("a", 1).remove("b").expect("a", 99).apply(&mut group);
    assert_eq!(contents(&group)[0], ("a".to_owned(), 1, None), "of no version before it is committed");
    assert!(group.get("b").is_none());
}

fn stands(replica: &Replica<i64>) -> (Option<i64>, Option<u64>, Status) {
    let snapshot = replica.snapshot();
    (snapshot.value.map(|value| *value), snapshot.sequence, snapshot.status)
}

/// Even numbers are whole, odd ones are added; 13 panics, 15 does not fit.
fn gate(number: &i64) -> Result<Change<i64>, String> {
    let number = *number;
    Ok(if number % 2 == 0 {
        Change::whole(number)
    } else {
        Change::patch(move |before: &i64| match number {
            13 => resume_unwind(Box::new("thirteen")),
            15 => Err(format!("{number} does not fit {before}")),
            _ => Ok(before + number),
        })
    })
}

#[test]
fn a_patch_is_applied_to_the_value_before_it_or_not_at_all() {
    let bus = Bus::new();
    let builder = Replica::patching(gate).on_gap(OnGap::Apply);
    let replica = block_on(builder.start(&bus, "key")).unwrap();
    bus.publish("key", Update::new(7, 1));
    assert_eq!(stands(&replica), (None, None, Status::Stale), "there is nothing to apply it to");
    bus.publish("key", Update::new(8, 100));
    bus.publish("key", Update::new(9, 1));
    assert_eq!(stands(&replica), (Some(101), Some(9), Status::Live));
    bus.publish("key", Update::new(11, 3));
    assert_eq!(stands(&replica), (Some(101), Some(9), Status::Stale), "whatever the policy");
    bus.publish("key", Update::new(9, 5));
    assert_eq!(stands(&replica), (Some(101), Some(9), Status::Stale));
    bus.publish("key", Update::new(12, 200));
    assert_eq!(stands(&replica), (Some(200), Some(12), Status::Live), "a whole value, by the policy");
    for (number, reason) in [(13, "thirteen"), (15, "15 does not fit 200")] {
        let published = bus.publish("key", Update::new(13, number));
        assert!(published.failures().is_empty());
        assert_eq!(stands(&replica), (Some(200), Some(12), Status::Skew));
        assert_eq!(replica.snapshot().reason.as_deref(), Some(reason));
    }
    let counted = replica.snapshot().statistics;
    assert_eq!((counted.applied, counted.gaps, counted.parse_errors, counted.ignored), (3, 3, 2, 1));
}

#[test]
fn seeds_and_refetches_have_to_be_whole() {
    let bus = Bus::new();
    let builder = Replica::patching(gate).seed(Update::new(1, 3));
    let (replica, mut refetcher) =
        block_on(builder.start_refetching(&bus, "key", || async { Ok(Some(Update::new(2, 5))) })).unwrap();
    assert_eq!(stands(&replica), (None, None, Status::Skew));
    assert_eq!(replica.snapshot().reason.as_deref(), Some("it is a patch, and has to be whole"));
    poll(&mut refetcher);
    assert_eq!(stands(&replica), (None, None, Status::Skew));
    assert_eq!((replica.snapshot().statistics.parse_errors, replica.snapshot().is_refetching), (2, false));
}

fn poll<V: Send + 'static, T: Send + Sync + 'static>(refetcher: &mut Refetcher<V, T>) {
    for _ in 0..3 {
        let _ = Pin::new(&mut *refetcher).poll(&mut Context::from_waker(Waker::noop()));
    }
}

struct Reader {
    bus: Bus<Update<Sent>>,
    replica: Replica<Accounts>,
    refetcher: Refetcher<Sent, Accounts>,
    way: Vec<usize>,
}

/// One ledger, three readers; any bytes say who pays whom, and what arrives.
fn run(program: &[u8]) -> BTreeMap<&'static str, u64> {
    let ledger = Arc::new(Mutex::new(opened()));
    let mut sent = vec![ledger.lock().unwrap().snapshot()];
    // What the group was at each sequence, from 1 on.
    let mut past = vec![contents(ledger.lock().unwrap().group())];
    let mut readers: Vec<_> = (0..3).map(|number| begin(number, &ledger)).collect();
    for step in program.chunks_exact(3) {
        let draw = usize::from(step[1]);
        if step[0] % 2 == 0 {
            let mut ledger = ledger.lock().unwrap();
            let paid = transfer(ledger.group(), KEYS[draw % 4], KEYS[draw / 4 % 4], i64::from(step[2] % 8) * 50);
            sent.push(ledger.commit(&paid).unwrap());
            past.push(contents(ledger.group()));
            readers.iter_mut().for_each(|reader| reader.way.push(sent.len() - 1));
            continue;
        }
        let reader = &mut readers[draw % 3];
        match step[0] / 2 % 8 {
            0..6 => arrive(reader, &sent, usize::from(step[2])),
            6 => poll(&mut reader.refetcher),
            _ => drop((!reader.way.is_empty()).then(|| reader.way.remove(0))),
        }
        check(&reader.replica.snapshot(), &past);
    }
    let end = ledger.lock().unwrap().commit(&Transaction::new()).unwrap();
    past.push(contents(ledger.lock().unwrap().group()));
    let mut seen = BTreeMap::new();
    for reader in &mut readers {
        reader.bus.publish("accounts", end.clone());
        poll(&mut reader.refetcher);
        let snapshot = reader.replica.snapshot();
        assert_eq!((snapshot.sequence, snapshot.status), (Some(end.sequence), Status::Live), "everybody is there");
        check(&snapshot, &past);
        *seen.entry("applied").or_default() += snapshot.statistics.applied;
        *seen.entry("gaps").or_default() += snapshot.statistics.gaps;
        *seen.entry("ignored").or_default() += snapshot.statistics.ignored;
    }
    seen
}

/// One of them has a policy that must not matter.
fn begin(number: usize, ledger: &Arc<Mutex<Ledger<i64>>>) -> Reader {
    let (bus, source) = (Bus::new(), ledger.clone());
    let refetch = move || {
        let now = source.lock().unwrap().snapshot();
        async move { Ok(Some(now)) }
    };
    let on_gap = if number == 0 { OnGap::Apply } else { OnGap::Refetch };
    let builder = Group::replica().on_gap(on_gap).seed(ledger.lock().unwrap().snapshot());
    let (replica, refetcher) = block_on(builder.start_refetching(&bus, "accounts", refetch)).unwrap();
    Reader { bus, replica, refetcher, way: Vec::new() }
}

fn arrive(reader: &mut Reader, sent: &[Update<Sent>], draw: usize) {
    if reader.way.is_empty() {
        return;
    }
    let at = if draw & 3 != 0 { 0 } else { draw / 4 % reader.way.len() };
    let which = if draw & 12 == 12 { reader.way[at] } else { reader.way.remove(at) };
    reader.bus.publish("accounts", sent[which].clone());
}

/// Nothing half: what is read is what the ledger was at that sequence.
fn check(snapshot: &Snapshot<Accounts>, past: &[Vec<(String, i64, Option<u64>)>]) {
    let (Some(group), Some(sequence)) = (&snapshot.value, snapshot.sequence) else { panic!("there is a seed") };
    assert_eq!(sum(group), SUM, "all of a transaction, or nothing");
    assert_eq!(contents(group), past[sequence as usize - 1], "what the ledger was at {sequence}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Lost, repeated and late commits, refetches: no reader ever sees half a transaction, and all come to the same.
    #[test]
    fn no_reader_sees_half_a_transaction(program in vec(any::<u8>(), 0..300)) {
        run(&program);
    }
}

#[test]
fn programs_apply_lose_and_repeat() {
    let mut all = BTreeMap::new();
    for seed in 0..100 {
        for (what, count) in run(&bytes(seed, 300)) {
            *all.entry(what).or_insert(0) += count;
        }
    }
    assert!(all.values().all(|count| *count > 500), "{all:?}");
}

/// One who commits and publishes, others who read, on threads.
#[test]
fn threads_never_read_half_a_transaction() {
    let (bus, ledger) = (Bus::new(), Mutex::new(opened()));
    let replica = block_on(Group::replica().seed(ledger.lock().unwrap().snapshot()).start(&bus, "accounts")).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers = [0, 1].map(|_| {
            scope.spawn(|| {
                let mut last = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let snapshot = replica.snapshot();
                    assert_eq!(sum(&snapshot.value.expect("there is a seed")), SUM);
                    assert!(snapshot.sequence >= Some(last));
                    last = snapshot.sequence.unwrap();
                }
            })
        });
        for round in 0..3_000 {
            let mut ledger = ledger.lock().unwrap();
            let paid = transfer(ledger.group(), KEYS[round % 4], KEYS[round / 3 % 4], 1 + round as i64 % 90);
            bus.publish("accounts", ledger.commit(&paid).unwrap());
        }
        is_over.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(replica.snapshot().sequence, Some(3_001));
}

/// Moves money, as a proposal.
#[derive(Clone, Debug)]
struct Pay {
    from: &'static str,
    to: &'static str,
    amount: i64,
}

impl Pay {
    fn transaction(&self, group: &Accounts) -> Transaction<i64> {
        transfer(group, self.from, self.to, self.amount)
    }
}

impl Intent<Accounts> for Pay {
    fn apply(&self, group: &mut Accounts) {
        self.transaction(&group.clone()).apply(group);
    }
}

/// A queue for a test that does not restart.
#[derive(Default)]
struct Numbers(AtomicU64);

impl IntentQueue<Pay> for Numbers {
    async fn load(&self) -> Result<Vec<Queued<Pay>>, QueueFailure> {
        Ok(Vec::new())
    }

    async fn push(&self, _: &OperationId, _: &Pay) -> Result<Pushed, QueueFailure> {
        Ok(Pushed { place: self.0.fetch_add(1, Ordering::SeqCst), is_repeated: false })
    }

    async fn settle(&self, _: &OperationId) -> Result<(), QueueFailure> {
        Ok(())
    }
}

/// All of it together: transactions that are proposed, shown at once as a whole, committed as patches that echo them, or rejected.
#[test]
fn proposed_transactions_are_shown_as_a_whole() {
    let (bus, mut ledger) = (Bus::new(), opened());
    let (writes, confirmations) = block_on(Writes::load(Numbers::default())).unwrap();
    let builder = Group::replica().confirms(confirmations).seed(ledger.snapshot());
    let _replica = block_on(builder.start(&bus, "accounts")).unwrap();
    let balances = || KEYS.map(|key| *writes.get().unwrap().get(key).unwrap().value);
    for (id, amount) in [("first", 30), ("second", 500), ("third", 20)] {
        block_on(writes.propose(id, Pay { from: "a", to: "b", amount })).unwrap();
        assert_eq!(sum(&writes.get().unwrap()), SUM);
    }
    assert_eq!(balances(), [-450, 650, 100, 100]);
    // Somebody else was faster.
    bus.publish("accounts", ledger.commit(&transfer(&ledger.group().clone(), "c", "d", 5)).unwrap());
    assert_eq!(balances(), [-450, 650, 95, 105]);
    let sent = block_on(writes.send(|id, pay| {
        let paid = pay.transaction(ledger.group());
        let answer = if pay.amount > 100 {
            Answer::rejected("there is not so much")
        } else {
            let update = ledger.commit(&paid).unwrap().operation(id);
            let sequence = update.sequence;
            bus.publish("accounts", update);
            Answer::included(sequence)
        };
        async { Ok(answer) }
    }));
    assert_eq!(sent.unwrap().len(), 3);
    assert_eq!((balances(), writes.shown().pending.len()), ([50, 150, 95, 105], 0));
    assert_eq!(writes.get().as_deref(), Some(ledger.group()), "with the versions of the ledger");
}
