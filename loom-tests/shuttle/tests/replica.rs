//! Publishers, refetches, readers, watchers and the end of a replica; writers and updates; peers; in random schedules.
#![cfg(annals_shuttle)]

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use annals::replica::{
    Answer, Intent, IntentQueue, OperationId, Peers, Presence, Pushed, QueueFailure, Queued, Refetched, Refetcher,
    Replica, Said, Snapshot, Status, Update, Writes,
};
use annals::store::{block_on, iterate};
use annals::{Bus, Timestamp};
use annals_shuttle::explore;
use shuttle::thread::{self, JoinHandle};

/// The sequences that were published, and how many. No scheduling points: what is not part of a scenario happens at once.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU64>);

impl Source {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What a refetch reads; it brings that later.
    fn read(&self) -> impl Future<Output = Refetched<u64>> + Send + use<> {
        let read = self.0.load(Ordering::Relaxed);
        async move {
            thread::yield_now();
            Ok(Some(Update::new(read, read)))
        }
    }
}

fn replica(bus: &Bus<Update<u64>>, source: &Source) -> (Replica<u64>, Refetcher<u64, u64>) {
    let source = source.clone();
    let builder = Replica::builder(|value: &u64| Ok::<_, String>(*value)).seed(Update::new(0, 0));
    block_on(builder.start_refetching(bus, "key", move || source.read())).unwrap()
}

/// One who publishes so many, of which the last is lost.
fn publisher(bus: &Bus<Update<u64>>, source: &Source, count: u64) -> JoinHandle<()> {
    let (bus, source) = (bus.clone(), source.clone());
    thread::spawn(move || {
        for number in 0..count {
            let sequence = source.next();
            if number + 1 < count {
                bus.publish("key", Update::new(sequence, sequence));
            }
        }
    })
}

/// Never backwards, of one instant, and nothing after the end.
fn follows(last: &mut Option<Snapshot<u64>>, seen: Snapshot<u64>) {
    assert_eq!(seen.value.as_deref(), seen.sequence.as_ref(), "of one instant");
    if let Some(last) = last {
        assert!(seen.sequence >= last.sequence, "{:?} after {:?}", seen.sequence, last.sequence);
        if last.is_disposed {
            assert_eq!((seen.sequence, seen.statistics), (last.sequence, last.statistics), "nothing after the end");
        }
    }
    *last = Some(seen);
}

fn reader(replica: &Replica<u64>) -> JoinHandle<()> {
    let replica = replica.clone();
    thread::spawn(move || {
        let mut last = None;
        (0..4).for_each(|_| follows(&mut last, replica.snapshot()));
    })
}

/// One who asks for refetches: what they bring may be old when they land.
fn asker(replica: &Replica<u64>) -> JoinHandle<()> {
    let replica = replica.clone();
    thread::spawn(move || {
        for _ in 0..2 {
            replica.refetch();
            thread::yield_now();
        }
    })
}

/// Two publishers, a refetcher, one who asks for refetches, a reader and a watcher beside who disposes: from when that has returned nothing changes, whatever
/// is in flight; the watcher and the refetcher are woken for the end.
#[test]
fn a_replica_is_disposed_of() {
    explore("a_replica_is_disposed_of", 3_000, || {
        let (bus, source) = (Bus::new(), Source::default());
        let (replica, refetcher) = replica(&bus, &source);
        let watch = replica.watch();
        let mut threads: Vec<_> = (0..2).map(|_| publisher(&bus, &source, 3)).collect();
        threads.push(thread::spawn(move || block_on(refetcher)));
        threads.extend([reader(&replica), asker(&replica)]);
        threads.push(thread::spawn(move || {
            let mut last = None;
            iterate(watch).for_each(|seen| follows(&mut last, seen));
            assert!(last.is_some_and(|last| last.is_disposed), "a watch ends with the end");
        }));
        replica.dispose();
        let mut last = None;
        follows(&mut last, replica.snapshot());
        assert!(last.as_ref().is_some_and(|last| last.is_disposed && last.status == Status::Stale));
        thread::yield_now();
        follows(&mut last, replica.snapshot());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        follows(&mut last, replica.snapshot());
        assert_eq!(bus.key_count(), 0, "nothing is left");
    });
}

/// Two publishers, of whom each loses one, a refetcher, one who asks for refetches, a reader, and a watcher that waits for the last value: it is woken for it,
/// and the replica comes to what the source has.
#[test]
fn a_replica_comes_to_what_the_source_has() {
    explore("a_replica_comes_to_what_the_source_has", 3_000, || {
        let (bus, source) = (Bus::new(), Source::default());
        let (replica, refetcher) = replica(&bus, &source);
        let watch = replica.watch_value();
        let refetching = thread::spawn(move || block_on(refetcher));
        let others = [reader(&replica), asker(&replica)];
        let publishers = [0, 1].map(|_| publisher(&bus, &source, 3));
        let watcher = thread::spawn(move || {
            let mut last = None;
            let is_last = |seen: Snapshot<u64>| {
                follows(&mut last, seen);
                last.as_ref().is_some_and(|last| last.sequence == Some(7))
            };
            assert!(iterate(watch).any(is_last), "it is woken for the last value");
        });
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let last = source.next();
        bus.publish("key", Update::new(last, last));
        block_on(replica.when_idle());
        let end = replica.snapshot();
        assert_eq!((end.sequence, end.status), (Some(7), Status::Live));
        watcher.join().unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
        drop(replica);
        refetching.join().unwrap();
    });
}

struct Add(u64);

impl Intent<Vec<u64>> for Add {
    fn apply(&self, value: &mut Vec<u64>) {
        value.push(self.0);
    }
}

/// A queue that keeps nothing, and counts.
#[derive(Default)]
struct Counter(AtomicU64);

impl IntentQueue<Add> for Counter {
    async fn load(&self) -> Result<Vec<Queued<Add>>, QueueFailure> {
        Ok(Vec::new())
    }

    async fn push(&self, _: &OperationId, _: &Add) -> Result<Pushed, QueueFailure> {
        Ok(Pushed { place: self.0.fetch_add(1, Ordering::Relaxed), is_repeated: false })
    }

    async fn settle(&self, _: &OperationId) -> Result<(), QueueFailure> {
        Ok(())
    }
}

/// What the authority has carried out.
#[derive(Clone, Default)]
struct Authority(Arc<Mutex<Vec<u64>>>);

impl Authority {
    fn add(&self, number: u64) -> Update<Vec<u64>> {
        let mut list = self.0.lock().unwrap();
        list.push(number);
        Update::new(list.len() as u64, list.clone()).operation(number.to_string())
    }
}

/// Two propose, one sends, two deliver what the authority has done, each in its own order, one reads: every view has each operation
/// once, what was proposed is there, and in the end nothing is pending.
#[test]
fn writes_are_shown_once() {
    explore("writes_are_shown_once", 2_000, || {
        let (bus, authority) = (Bus::new(), Authority::default());
        let (writes, confirmations) = block_on(Writes::<Vec<u64>, Add, _>::load(Counter::default())).unwrap();
        let builder = Replica::builder(|list: &Vec<u64>| Ok::<_, String>(list.clone())).confirms(confirmations);
        let builder = builder.on_gap(annals::replica::OnGap::Apply).seed(Update::new(0, Vec::new()));
        let replica = block_on(builder.start(&bus, "list")).unwrap();
        let check = |list: &[u64], own: u64| {
            let mut sorted = list.to_vec();
            sorted.sort_unstable();
            assert!(sorted.is_sorted_by(|a, b| a < b), "each once: {list:?}");
            assert!(own == 0 || list.contains(&own), "{own} was proposed: {list:?}");
        };
        let proposers = [1, 2].map(|own| {
            let writes = writes.clone();
            thread::spawn(move || {
                block_on(writes.propose(own.to_string(), Add(own))).unwrap();
                (0..3).for_each(|_| check(&writes.get().unwrap(), own));
            })
        });
        let sender = {
            let (writes, bus, authority) = (writes.clone(), bus.clone(), authority.clone());
            thread::spawn(move || {
                // A thread for each update: they arrive in any order.
                let mut arrive = Vec::new();
                while arrive.len() < 2 {
                    let sent = block_on(writes.send(|_, add| {
                        let update = authority.add(add.0);
                        let (sequence, bus) = (update.sequence, bus.clone());
                        arrive.push(thread::spawn(move || drop(bus.publish("list", update))));
                        async move { Ok(Answer::included(sequence)) }
                    }));
                    sent.unwrap();
                    thread::yield_now();
                }
                arrive.into_iter().for_each(|thread| thread.join().unwrap());
            })
        };
        let reader = {
            let writes = writes.clone();
            thread::spawn(move || (0..4).for_each(|_| check(&writes.get().unwrap(), 0)))
        };
        proposers.into_iter().chain([sender, reader]).for_each(|thread| thread.join().unwrap());
        let (shown, list) = (writes.shown(), authority.0.lock().unwrap().clone());
        assert_eq!((shown.value.as_deref(), shown.confirmed.as_deref()), (Some(&list), Some(&list)));
        assert!(shown.pending.is_empty());
        drop(replica);
    });
}

/// Two who join, change and leave, each with an announcer of its own, beside a host: everybody hears from everybody, whoever came
/// first, and in the end the host is alone.
#[test]
fn peers_come_and_go() {
    explore("peers_come_and_go", 1_000, || {
        let (bus, time) = (Arc::new(Bus::new()), Arc::new(AtomicU64::new(0)));
        let clock = move || Timestamp::from_nanos(time.fetch_add(1, Ordering::Relaxed) as i64);
        let (host, announces) = join(&bus, "host", clock.clone());
        let guests = ["ann", "ben"].map(|name| {
            let (bus, clock) = (bus.clone(), clock.clone());
            thread::spawn(move || {
                let (guest, announces) = join(&bus, name, clock);
                guest.update(1);
                // The host says so when it has seen everybody: it has to be heard of, whenever one came.
                let is_seen = |peers: Arc<Peers<u64>>| peers.get("host").is_some_and(|value| **value == 1);
                assert!(iterate(guest.watch()).any(is_seen), "the host is heard of");
                drop(guest);
                announces.join().unwrap();
            })
        });
        let mut watch = iterate(host.watch());
        assert!(watch.any(|peers| peers.iter().filter(|(_, value)| ***value == 1).count() == 2), "both are heard of");
        host.update(1);
        assert!(watch.any(|peers| peers.len() == 1), "and their leaving");
        guests.into_iter().for_each(|guest| guest.join().unwrap());
        drop(host);
        announces.join().unwrap();
        assert_eq!(bus.key_count(), 0);
    });
}

fn join(
    bus: &Arc<Bus<Update<Said<u64>>>>,
    name: &str,
    clock: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> (Presence<u64>, JoinHandle<()>) {
    let (presence, mut announcer) = block_on(Presence::join(bus, "room", name, 0, clock)).unwrap();
    (presence, thread::spawn(move || block_on(announcer.run()).unwrap()))
}
