//! A world of clients that write optimistically, and one authority: any bytes are a program of what may happen to them.
//!
//! The authority carries operations out one by one; its value is the list of all that were, so one that is shown twice, or not
//! at all, is seen. Each client has a bus of its own, on which updates arrive lost, repeated and out of order, refetches that are
//! late or fail, a way to the authority that breaks before or after it was told, and a log in which its proposals survive a
//! restart.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use annals::replica::{
    Answer, Intent, OperationId, ProposeFailure, Refetcher, Replica, SendFailure, Shown, StreamQueue, Update, Writes,
};
use annals::sourcing::{Event, Recorded};
use annals::store::{BackendError, block_on};
use annals::{Bus, Log, Name, Payload};

/// Bytes of one step.
pub const STEP: usize = 3;
const CLIENTS: usize = 3;

/// Adds its number to the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add(pub u16);

impl Intent<Vec<u16>> for Add {
    fn apply(&self, value: &mut Vec<u16>) {
        value.push(self.0);
    }
}

impl Event for Add {
    fn name(&self) -> Name<'static> {
        const { Name::from_static("Add") }
    }

    fn encode(&self) -> Result<Payload<'_>, BackendError> {
        Ok(self.0.to_le_bytes().to_vec().into())
    }

    fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
        Ok(Some(Self(u16::from_le_bytes(recorded.payload.try_into()?))))
    }
}

/// Knows every operation by its id: one that comes again is answered as before, and nothing else.
#[derive(Default)]
pub struct Authority {
    pub list: Vec<u16>,
    ids: Vec<OperationId>,
    outcomes: BTreeMap<OperationId, Answer>,
    /// In the order in which they came first.
    pub came: Vec<OperationId>,
    names_operations: bool,
}

impl Authority {
    /// Its values name the operations that they contain.
    pub fn naming() -> Self {
        Self { names_operations: true, ..Self::default() }
    }

    pub fn told(&mut self, id: &OperationId, add: &Add) -> Answer {
        if let Some(before) = self.outcomes.get(id) {
            return before.clone();
        }
        self.came.push(id.clone());
        let answer =
            if add.0.is_multiple_of(5) { Answer::rejected("a multiple of five") } else { self.include(id, add.0) };
        self.outcomes.insert(id.clone(), answer.clone());
        answer
    }

    fn include(&mut self, id: &OperationId, number: u16) -> Answer {
        self.list.push(number);
        self.ids.push(id.clone());
        Answer::included(self.list.len() as u64)
    }

    /// What led to the value of this sequence.
    fn update(&self, sequence: usize) -> Update<Vec<u16>> {
        let update = Update::new(sequence as u64, self.list[..sequence].to_vec());
        if self.names_operations { update.operation(self.ids[sequence - 1].clone()) } else { update }
    }

    pub fn snapshot(&self, sequence: usize) -> Update<Vec<u16>> {
        let update = Update::new(sequence as u64, self.list[..sequence].to_vec());
        if self.names_operations { update.with_operations(self.ids[..sequence].iter().cloned()) } else { update }
    }
}

type Queue = StreamQueue<Log, Add>;

struct Client {
    number: usize,
    bus: Bus<Update<Vec<u16>>>,
    log: Log,
    writes: Writes<Vec<u16>, Add, Queue>,
    replica: Replica<Vec<u16>>,
    refetcher: Refetcher<Vec<u16>, Vec<u16>>,
    /// How many polls the next refetch takes, and whether it fails.
    refetches: Arc<Mutex<(u8, bool)>>,
    /// Sequences that were published, and are on the way.
    way: Vec<usize>,
    /// Proposed since the start, and not known to be rejected.
    shown: BTreeSet<u16>,
    rejected: BTreeSet<u16>,
    proposed: u16,
}

impl Client {
    fn start(number: usize, log: Log, authority: &Arc<Mutex<Authority>>, seed: usize, proposed: u16) -> Self {
        let bus = Bus::new();
        let (writes, confirmations) = block_on(Writes::load(Queue::new(log.clone(), "proposals"))).unwrap();
        let refetches = Arc::new(Mutex::new((0, false)));
        let (source, how) = (authority.clone(), refetches.clone());
        let refetch = move || {
            let (source, (mut polls, fails)) = (source.lock().unwrap(), *how.lock().unwrap());
            let read = source.snapshot(source.list.len());
            std::future::poll_fn(move |_| match polls {
                0 if fails => Poll::Ready(Err("the source is away".into())),
                0 => Poll::Ready(Ok(Some(read.clone()))),
                _ => {
                    polls -= 1;
                    Poll::Pending
                }
            })
        };
        let builder = Replica::builder(|list: &Vec<u16>| Ok::<_, String>(list.clone())).confirms(confirmations);
        let builder = builder.seed(authority.lock().unwrap().snapshot(seed));
        let (replica, refetcher) = block_on(builder.start_refetching(&bus, "list", refetch)).unwrap();
        let shown = writes.shown();
        let mut client = Self {
            number,
            bus,
            log,
            writes,
            replica,
            refetcher,
            refetches,
            way: Vec::new(),
            shown: BTreeSet::new(),
            rejected: BTreeSet::new(),
            proposed,
        };
        client.shown.extend(shown.pending.iter().map(number_of));
        client
    }

    fn propose(&mut self) {
        self.proposed += 1;
        let number = (self.number as u16 + 1) * 1_000 + self.proposed;
        block_on(self.writes.propose(id_of(number), Add(number))).unwrap();
        self.shown.insert(number);
        let again = block_on(self.writes.propose(id_of(number), Add(number)));
        assert!(matches!(again, Err(ProposeFailure::Repeated { .. })));
    }

    /// The way breaks at the operation of this number: before the authority is told of it, or after.
    fn send(&mut self, authority: &Arc<Mutex<Authority>>, breaks_at: usize, before: bool) {
        let mut told = 0;
        let sent = block_on(self.writes.send(|id, add| {
            told += 1;
            let breaks = told > breaks_at;
            let answer = (!breaks || !before).then(|| authority.lock().unwrap().told(&id, &add));
            async move { answer.filter(|_| !breaks).ok_or_else(|| "the way is broken".into()) }
        }));
        let answered = match sent {
            Ok(answered) => answered,
            Err(SendFailure::Unanswered { answered, .. }) => answered,
            Err(other) => panic!("{other}"),
        };
        let rejected = answered.iter().filter(|(_, answer)| matches!(answer, Answer::Rejected { .. }));
        for number in rejected.map(|(id, _)| number_of(id)) {
            self.shown.remove(&number);
            self.rejected.insert(number);
        }
    }

    fn poll(&mut self) {
        for _ in 0..2 {
            let _ = Pin::new(&mut self.refetcher).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// What is shown is what is confirmed and what is pending; nothing is there twice; what was proposed here is there, what
    /// was rejected is not.
    fn check(&self, is_strict: bool) {
        let Shown { value, confirmed, pending, .. } = self.writes.shown();
        assert_eq!(confirmed.as_deref(), self.replica.get().as_deref(), "the replica's value is the confirmed one");
        let (Some(value), Some(confirmed)) = (value, confirmed) else { panic!("there is a seed") };
        let mut folded = (*confirmed).clone();
        folded.extend(pending.iter().map(number_of));
        assert_eq!(*value, folded, "what is confirmed and what is pending");
        if is_strict {
            let once: BTreeSet<_> = value.iter().collect();
            assert_eq!(once.len(), value.len(), "each operation once: {value:?}");
        }
        assert!(self.shown.iter().all(|number| value.contains(number)), "{:?} is shown in {value:?}", self.shown);
        assert!(!self.rejected.iter().any(|number| value.contains(number)), "{:?} is gone", self.rejected);
    }
}

pub fn id_of(number: u16) -> OperationId {
    OperationId::from(format!("operation-{number}"))
}

pub fn number_of(id: &OperationId) -> u16 {
    id.as_str().trim_start_matches("operation-").parse().unwrap()
}

/// What programs came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came {
    pub included: usize,
    pub rejected: usize,
    pub restarts: usize,
    pub refetched: u64,
    pub gaps: u64,
}

/// Runs a program. With its first byte even the authority names the operations that values contain.
pub fn run(program: &[u8]) -> Came {
    let is_strict = program.first().is_none_or(|first| first % 2 == 0);
    let authority = Arc::new(Mutex::new(Authority { names_operations: is_strict, ..Authority::default() }));
    let mut clients: Vec<_> = (0..CLIENTS).map(|number| Client::start(number, Log::new(), &authority, 0, 0)).collect();
    let mut came = Came::default();
    let mut published = 0;
    for step in program.get(1..).unwrap_or_default().chunks_exact(STEP) {
        let client = &mut clients[usize::from(step[1]) % CLIENTS];
        let draw = usize::from(step[2]);
        match step[0] % 16 {
            0..4 => client.propose(),
            4..7 => client.send(&authority, draw % 4, draw & 4 != 0),
            7..12 => arrive(client, &authority, draw),
            12 => *client.refetches.lock().unwrap() = (step[2] % 4, draw & 8 != 0),
            13 => client.poll(),
            14 => client.replica.refetch(),
            _ => {
                if draw % 4 == 0 {
                    came.restarts += 1;
                    restart(client, &authority, draw / 4);
                }
            }
        }
        publish(&mut clients, &authority, &mut published, step[2]);
        clients.iter_mut().for_each(|client| client.check(is_strict));
    }
    settle(&mut clients, &authority);
    let authority = authority.lock().unwrap();
    for client in &clients {
        let (shown, counted) = (client.writes.shown(), client.replica.snapshot().statistics);
        assert_eq!(shown.value.as_deref(), Some(&authority.list), "everybody comes to what the authority has");
        assert!(shown.pending.is_empty());
        came.refetched += counted.refetches;
        came.gaps += counted.gaps;
    }
    for number in 0..CLIENTS {
        let own = |id: &&OperationId| usize::from(number_of(id) / 1_000) == number + 1;
        assert!(authority.came.iter().filter(own).is_sorted_by_key(number_of), "in the order of proposals");
    }
    came.included = authority.list.len();
    came.rejected = authority.came.len() - authority.list.len();
    came
}

/// What the authority has done since is on its way to everybody, or lost on it.
fn publish(clients: &mut [Client], authority: &Arc<Mutex<Authority>>, published: &mut usize, draw: u8) {
    let end = authority.lock().unwrap().list.len();
    for sequence in *published + 1..=end {
        for client in clients.iter_mut().filter(|client| (draw >> client.number) & 3 != 3) {
            client.way.push(sequence);
        }
    }
    *published = end;
}

/// One of what is on the way arrives: the first, or another; some stay, to arrive again.
fn arrive(client: &mut Client, authority: &Arc<Mutex<Authority>>, draw: usize) {
    if client.way.is_empty() {
        return;
    }
    let at = if draw & 1 == 0 { 0 } else { draw / 2 % client.way.len() };
    let sequence = if draw & 6 == 6 { client.way[at] } else { client.way.remove(at) };
    let update = authority.lock().unwrap().update(sequence);
    client.bus.publish("list", update);
}

/// A new process with what the log has kept, and with a seed that may be old.
fn restart(client: &mut Client, authority: &Arc<Mutex<Authority>>, draw: usize) {
    let there = authority.lock().unwrap().list.len();
    let seed = if draw & 1 == 0 { there } else { there - there.min(draw % 4) };
    *client = Client::start(client.number, client.log.clone(), authority, seed, client.proposed);
}

/// From now on everything works: what is pending is sent, and everybody refetches.
fn settle(clients: &mut [Client], authority: &Arc<Mutex<Authority>>) {
    for client in clients.iter_mut() {
        client.send(authority, usize::MAX, false);
    }
    for client in clients.iter_mut() {
        *client.refetches.lock().unwrap() = (0, false);
        for _ in 0..4 {
            client.poll();
        }
        client.replica.refetch();
        for _ in 0..4 {
            client.poll();
        }
    }
}
