//! Who is there: that all who heard the same have the same map, in whatever order; and peers over a transport that come, change,
//! leave, fall silent, and are not heard.

use std::future::{Future, ready};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use annals::replica::{
    Announcement, Announcer, Peers, Presence, PublishFailure, Said, Stamp, SubscribeFailure, Transport, Update,
};
use annals::store::{block_on, iterate};
use annals::{Bus, BusSubscription, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::programs::bytes;

type Map = Peers<u64>;

/// No two of one stamp: the value is made of it.
fn announcement() -> impl Strategy<Value = Announcement<u64>> {
    (0..4u64, 0..12u64, 0..3u64).prop_map(|(peer, counter, writer)| Announcement {
        peer: format!("peer-{peer}").into(),
        stamp: Stamp { counter, writer },
        value: ((counter + writer) % 3 != 0).then(|| Arc::new(counter * 10 + writer)),
    })
}

fn heard<'a>(said: impl IntoIterator<Item = &'a Announcement<u64>>) -> Map {
    let mut map = Map::new();
    said.into_iter().for_each(|said| _ = map.hear(said));
    map
}

fn merged(one: &Map, other: &Map) -> Map {
    let mut map = one.clone();
    map.merge(other);
    map
}

/// The definition: of each peer the highest stamp that is not before the horizon, if it is not that of leaving.
fn defined(said: &[Announcement<u64>], horizon: u64) -> Vec<(String, u64)> {
    let peers: std::collections::BTreeSet<_> = said.iter().map(|said| said.peer.clone()).collect();
    let last = |peer: &Arc<str>| {
        said.iter().filter(|it| it.peer == *peer && it.stamp.counter >= horizon).max_by_key(|it| it.stamp)
    };
    let there = peers.iter().filter_map(|peer| Some((peer.to_string(), **last(peer)?.value.as_ref()?)));
    there.collect()
}

fn there(map: &Map) -> Vec<(String, u64)> {
    map.iter().map(|(peer, value)| (peer.to_owned(), **value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any order, any repetition, horizons that come at any time: all who have heard the same come to the same.
    #[test]
    fn all_who_heard_the_same_have_the_same_map(
        said in vec(announcement(), 0..24),
        order in Just(()).prop_perturb(|(), mut random| random.next_u64()),
        horizons in vec((0..24usize, 0..12u64), 0..3),
    ) {
        let last = horizons.iter().map(|(_, horizon)| *horizon).max().unwrap_or(0);
        let mut first = heard(&said);
        first.expire(last);
        // Shuffled, every third twice, horizons in between.
        let mut shuffled: Vec<_> = said.iter().chain(said.iter().step_by(3)).collect();
        let mut random = bytes(order, shuffled.len()).into_iter();
        shuffled.sort_by_cached_key(|_| random.next());
        let mut second = Map::new();
        for (at, said) in shuffled.iter().enumerate() {
            horizons.iter().filter(|(when, _)| *when == at).for_each(|(_, horizon)| _ = second.expire(*horizon));
            second.hear(said);
        }
        horizons.iter().for_each(|(_, horizon)| _ = second.expire(*horizon));
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(there(&first), defined(&said, last));
        prop_assert!(said.iter().all(|said| !second.is_news(said) && !second.clone().hear(said)));
    }

    /// To merge is commutative, associative and idempotent, and the same as to hear everything; horizons included.
    #[test]
    fn maps_merge(parts in vec((vec(announcement(), 0..10), 0..12u64), 3)) {
        let maps: Vec<Map> = parts.iter().map(|(said, horizon)| {
            let mut map = heard(said);
            map.expire(*horizon);
            map
        }).collect();
        let [a, b, c] = &maps[..] else { unreachable!() };
        prop_assert_eq!(merged(a, b), merged(b, a));
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
        prop_assert_eq!(&merged(a, a), a);
        prop_assert!(!merged(a, b).merge(b), "nothing new");
        let mut all = heard(parts.iter().flat_map(|(said, _)| said));
        all.expire(parts.iter().map(|(_, horizon)| *horizon).max().unwrap_or(0));
        prop_assert_eq!(merged(&merged(a, b), c), all);
    }

    /// Who left has left, whatever comes late, before its tombstone has expired and after.
    #[test]
    fn to_leave_is_not_undone(times in vec(0..50u64, 1..10), expires in any::<bool>(), order in any::<u64>()) {
        let mut own = Map::new();
        let mut said: Vec<_> = times.iter().map(|now| own.announce("ann", 1, *now, Some(Arc::new(*now)))).collect();
        let left = own.announce("ann", 1, 0, None);
        prop_assert!(said.iter().all(|said| said.stamp < left.stamp), "each comes after what is known");
        let mut random = bytes(order, said.len()).into_iter();
        said.sort_by_cached_key(|_| random.next());
        let mut other = Map::new();
        let half = said.len() / 2;
        said[..half].iter().for_each(|said| _ = other.hear(said));
        prop_assert!(other.hear(&left));
        if expires {
            other.expire(left.stamp.counter + 1);
            prop_assert_eq!(other.kept(), 0);
        }
        for said in &said {
            prop_assert!(!other.hear(said));
        }
        prop_assert!(other.is_empty() && other.get("ann").is_none());
    }
}

#[test]
fn of_one_stamp_to_leave_stands() {
    let stamp = Stamp { counter: 3, writer: 1 };
    let said = [Some(Arc::new(7)), None].map(|value| Announcement { peer: "ann".into(), stamp, value });
    assert!(heard(&said).is_empty() && heard(said.iter().rev()).is_empty());
}

/// A clock that a test moves.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn at(&self, seconds: i64) {
        self.0.store(seconds * 1_000_000_000, Ordering::SeqCst);
    }
}

impl annals::Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// A bus that may be down: then nothing can be published.
#[derive(Default)]
struct Line {
    bus: Bus<Update<Said<u64>>>,
    is_down: Mutex<bool>,
    published: AtomicU64,
}

impl Transport<Said<u64>> for Line {
    type Subscription = BusSubscription<Update<Said<u64>>>;

    fn delivers_at_once(&self) -> bool {
        true
    }

    fn publish(&self, key: &str, update: Update<Said<u64>>) -> impl Future<Output = Result<(), PublishFailure>> + Send {
        if *self.is_down.lock().unwrap() {
            return ready(Err(PublishFailure::Closed));
        }
        self.published.fetch_add(1, Ordering::SeqCst);
        self.bus.publish(key, update);
        ready(Ok(()))
    }

    fn subscribe(
        &self,
        key: &str,
        handler: impl Fn(&Update<Said<u64>>) + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Self::Subscription, SubscribeFailure>> + Send {
        Transport::subscribe(&self.bus, key, handler)
    }

    fn key_count(&self) -> usize {
        self.bus.key_count()
    }

    fn failed_count(&self) -> u64 {
        self.bus.failed_count()
    }
}

struct Guest {
    name: String,
    presence: Option<Presence<u64>>,
    announcer: Announcer<u64, Line>,
}

impl Guest {
    fn join(line: &Arc<Line>, peer: &str, value: u64, clock: &Hands) -> Self {
        let (presence, announcer) = block_on(Presence::join(line, "room", peer, value, clock.clone())).unwrap();
        Self { name: peer.to_owned(), presence: Some(presence), announcer }
    }

    fn here(&self) -> &Presence<u64> {
        self.presence.as_ref().expect("it is here")
    }

    fn sees(&self) -> Vec<(String, u64)> {
        there(&self.here().peers())
    }

    /// What it knows of itself.
    fn own(&self) -> (String, u64) {
        (self.name.clone(), **self.here().peers().get(&self.name).expect("it is here"))
    }

    /// Says what there is to say; ready when it has said that it left.
    fn say(&mut self) -> Poll<Result<(), PublishFailure>> {
        pin!(self.announcer.run()).poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// Until nobody has anything to say.
fn talk(line: &Line, guests: &mut [Guest]) {
    loop {
        let before = line.published.load(Ordering::SeqCst);
        guests.iter_mut().for_each(|guest| drop(guest.say()));
        if line.published.load(Ordering::SeqCst) == before {
            return;
        }
    }
}

fn names(seen: &[(&str, u64)]) -> Vec<(String, u64)> {
    seen.iter().map(|(peer, value)| ((*peer).to_owned(), *value)).collect()
}

#[test]
fn a_newcomer_hears_from_those_who_are_there() {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    let mut guests = vec![Guest::join(&line, "ann", 1, &clock), Guest::join(&line, "ben", 2, &clock)];
    assert_eq!(guests[0].sees(), names(&[("ann", 1)]), "nothing is said before the announcer runs");
    talk(&line, &mut guests);
    guests[0].here().update(10u64);
    talk(&line, &mut guests);
    // At the same time as the others: names tell them apart.
    guests.push(Guest::join(&line, "cid", 3, &clock));
    talk(&line, &mut guests);
    let all = names(&[("ann", 10), ("ben", 2), ("cid", 3)]);
    assert!(guests.iter().all(|guest| guest.sees() == all));
    let said = line.published.load(Ordering::SeqCst);
    talk(&line, &mut guests);
    assert_eq!(line.published.load(Ordering::SeqCst), said, "nobody talks when there is nothing to say");
}

#[test]
fn who_leaves_is_gone_and_so_is_who_is_dropped() {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    let mut guests = ["ann", "ben", "cid"].map(|peer| Guest::join(&line, peer, 1, &clock));
    talk(&line, &mut guests);
    let other = guests[1].here().clone();
    guests[0].here().leave();
    guests[0].here().leave();
    drop(guests[1].presence.take());
    talk(&line, &mut guests[1..2]);
    assert_eq!(guests[2].sees().len(), 3, "a handle is left, and nobody has said so yet");
    drop(other);
    assert!(matches!(guests[0].say(), Poll::Ready(Ok(()))) && matches!(guests[1].say(), Poll::Ready(Ok(()))));
    assert!(matches!(guests[0].say(), Poll::Ready(Ok(()))), "again it is ready");
    assert_eq!(guests[2].sees(), names(&[("cid", 1)]));
    assert!(!guests[0].here().update(7u64) && !guests[0].here().touch(), "it has left");
    guests[2].here().leave();
    assert_eq!(line.key_count(), 0);
}

#[test]
fn what_could_not_be_said_is_said_later() {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    let mut guests = ["ann", "ben"].map(|peer| Guest::join(&line, peer, 1, &clock));
    talk(&line, &mut guests[1..]);
    *line.is_down.lock().unwrap() = true;
    for _ in 0..2 {
        assert!(matches!(guests[0].say(), Poll::Ready(Err(PublishFailure::Closed))));
    }
    *line.is_down.lock().unwrap() = false;
    talk(&line, &mut guests);
    assert!(guests.iter().all(|guest| guest.sees() == names(&[("ann", 1), ("ben", 1)])));
}

#[test]
fn who_is_silent_is_forgotten_and_what_is_late_for_that_does_nothing() {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    clock.at(100);
    let mut guests = ["ann", "ben"].map(|peer| Guest::join(&line, peer, 1, &clock));
    talk(&line, &mut guests);
    let late = guests[1].here().peers().announcements().find(|said| &*said.peer == "ben").unwrap();
    clock.at(120);
    guests[0].here().expire(Duration::from_secs(30));
    assert_eq!(guests[0].sees().len(), 2, "not for so long");
    clock.at(131);
    guests[0].here().expire(Duration::from_secs(30));
    assert_eq!(guests[0].sees(), names(&[("ann", 1)]), "but itself");
    assert_eq!(guests[0].here().peers().kept(), 1);
    line.bus.publish("room", Update::new(0, Said::Here(late)));
    assert_eq!(guests[0].sees(), names(&[("ann", 1)]));
    assert!(guests[1].here().touch());
    talk(&line, &mut guests);
    assert!(guests.iter().all(|guest| guest.sees() == names(&[("ann", 1), ("ben", 1)])));
}

/// Who says hello while another is saying something may have come too late for it: it is said once more.
#[test]
fn who_asks_during_a_publish_is_answered() {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    let mut guest = Guest::join(&line, "ann", 1, &clock);
    let (again, heard) = (line.clone(), Arc::new(AtomicU64::new(0)));
    let hears = heard.clone();
    let _late = line.bus.subscribe("room", move |update: &Update<Said<u64>>| {
        if matches!(update.value, Said::Here(_)) && hears.fetch_add(1, Ordering::SeqCst) == 0 {
            again.bus.publish("room", Update::new(0, Said::hello("ben", 0)));
        }
    });
    assert!(guest.say().is_pending());
    assert_eq!(heard.load(Ordering::SeqCst), 2);
}

/// A peer that comes again is another session; what its last one says late does not matter.
#[test]
fn a_peer_that_comes_again_stands() {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    let mut guests = vec![Guest::join(&line, "ann", 1, &clock), Guest::join(&line, "ben", 1, &clock)];
    talk(&line, &mut guests);
    drop(guests[0].presence.take());
    clock.at(1);
    guests.push(Guest::join(&line, "ann", 2, &clock));
    talk(&line, &mut guests[1..]);
    assert!(matches!(guests[0].say(), Poll::Ready(Ok(()))));
    talk(&line, &mut guests);
    assert!(guests[1..].iter().all(|guest| guest.sees() == names(&[("ann", 2), ("ben", 1)])));
}

#[test]
fn a_clock_that_panics_in_a_drop_breaks_nobody() {
    let line = Arc::new(Line::default());
    let asked = AtomicU64::new(0);
    let clock = move || {
        let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first { Timestamp::from_nanos(1) } else { resume_unwind(Box::new("stopped")) }
    };
    let (presence, _announcer) = block_on(Presence::join(&line, "room", "ann", 1u64, clock)).unwrap();
    drop(presence);
    assert_eq!(line.key_count(), 0);
}

#[test]
fn who_watches_sees_each_change_and_the_end() {
    fn sends<F: Send>(future: F) -> F {
        future
    }
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    drop(sends(Presence::join(&line, "room", "cid", 1, clock.clone())));
    let mut guests = ["ann", "ben"].map(|peer| Guest::join(&line, peer, 1, &clock));
    drop(sends(guests[0].announcer.run()));
    let mut watch = iterate(guests[0].here().watch());
    assert_eq!(there(&watch.next().unwrap()), names(&[("ann", 1)]));
    talk(&line, &mut guests);
    assert_eq!(there(&watch.next().unwrap()), names(&[("ann", 1), ("ben", 1)]));
    guests[0].here().leave();
    assert_eq!(there(&watch.next().unwrap()), names(&[("ben", 1)]));
    assert!(watch.next().is_none());
}

/// Peers that join, change, leave, touch and expire in any order, on a line that is down at times: when everybody has said what
/// there is to say, all see who is there.
fn run(program: &[u8]) -> usize {
    let (line, clock) = (Arc::new(Line::default()), Hands::default());
    let mut guests: Vec<Guest> = Vec::new();
    for (second, step) in program.chunks_exact(2).enumerate() {
        clock.at(second as i64);
        let at = usize::from(step[1]) % guests.len().max(1);
        match step[0] % 8 {
            0 | 1 => guests.push(Guest::join(&line, &format!("peer-{}", guests.len()), 0, &clock)),
            2 => *line.is_down.lock().unwrap() = step[1] % 2 == 0,
            _ if guests.is_empty() => {}
            3 | 4 => drop(guests[at].say()),
            5 => drop(guests[at].presence.as_ref().map(|it| it.update(second as u64))),
            6 => drop(guests[at].presence.take_if(|_| step[1] % 4 == 0)),
            _ => drop(guests[at].presence.as_ref().map(|it| it.expire(Duration::from_secs(u64::from(step[1]))))),
        }
    }
    *line.is_down.lock().unwrap() = false;
    // Some may have been forgotten by those who have not heard from them since.
    guests.iter().filter_map(|guest| guest.presence.as_ref()).for_each(|it| _ = it.touch());
    talk(&line, &mut guests);
    let here: Vec<_> = guests.iter().filter(|guest| guest.presence.is_some()).collect();
    let mut should: Vec<_> = here.iter().map(|guest| guest.own()).collect();
    should.sort();
    for guest in &here {
        assert_eq!(guest.sees(), should, "all who are there, and nobody else");
    }
    here.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// See `run`.
    #[test]
    fn all_see_who_is_there(program in vec(any::<u8>(), 0..160)) {
        run(&program);
    }
}

#[test]
fn programs_leave_some_there() {
    let left: usize = (0..100).map(|seed| run(&bytes(seed, 100))).sum();
    assert!(left > 300, "{left}");
}

/// Each on a thread of its own, coming, changing and leaving; who stays sees the others come to their last word, and then go.
#[test]
fn peers_on_threads() {
    const LAST: u64 = 200;
    let bus = Arc::new(Bus::new());
    let clock = || Timestamp::from(std::time::SystemTime::now());
    let (host, mut announcer) = block_on(Presence::join(&bus, "room", "host", 0u64, clock)).unwrap();
    let announces = thread::spawn(move || block_on(announcer.run()));
    let mut watch = iterate(host.watch());
    thread::scope(|scope| {
        let guests = ["ann", "ben", "cid"].map(|name| {
            let bus = bus.clone();
            scope.spawn(move || {
                let (guest, mut announcer) = block_on(Presence::join(&bus, "room", name, 0u64, clock)).unwrap();
                let announces = thread::spawn(move || block_on(announcer.run()));
                for value in 1..=LAST {
                    assert!(guest.update(value));
                }
                let is_over = |peers: Arc<Peers<u64>>| peers.get("host").is_some_and(|value| **value == 1);
                assert!(iterate(guest.watch()).any(is_over), "the host has seen everybody's last word");
                drop(guest);
                announces.join().unwrap().unwrap();
            })
        });
        assert!(watch.any(|peers| peers.iter().filter(|(_, value)| ***value == LAST).count() == 3));
        assert!(host.update(1u64));
        assert!(watch.any(|peers| peers.len() == 1), "they have left");
        guests.into_iter().for_each(|guest| guest.join().unwrap());
    });
    drop(host);
    announces.join().unwrap().unwrap();
    assert_eq!(bus.key_count(), 0);
}
