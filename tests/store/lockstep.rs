//! Any bytes are a program of what a message store can do. Two stores must answer it alike, step by step: one over the log,
//! the other over the shelf, which answers every question by looking at everything.

use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use annals::store::{
    AppendFailure, EventStore, Filter, Follow, MessageStore, ReadFailure, Select, Session, block_on, iterate,
};
use annals::{
    AppendOptions, Batch, Condition, Envelope, Expected, Followed, Item, Kind, Log, Message, Query, Rejected, Timestamp,
};
use futures_core::Stream;

use crate::shelf::Shelf;

/// Bytes of one step.
pub const STEP: usize = 8;

const STREAMS: [&str; 4] = ["order-1", "order-2", "account-1", "lonely"];
const NAMES: [&str; 3] = ["Placed", "Paid", "Sent"];
const IDS: [&str; 3] = ["one", "two", "three"];

/// The choices of one step, drawn from its bytes.
#[derive(Clone, Copy)]
struct Draw<'b>(&'b [u8]);

impl Draw<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        u64::from(*first) % bound
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) == 0).then(|| draw(self))
    }

    /// A message; with an id, one of few.
    fn message(&mut self, with_id: bool) -> Message<'static> {
        let mut message = Message::builder(self.of(&NAMES)).payload(vec![self.below(256) as u8]);
        if with_id {
            message = message.message_id(self.of(&IDS));
        }
        let which = self.below(64);
        if which & 1 != 0 {
            message = message.kind(Kind::Command);
        }
        if which & 2 != 0 {
            message = message.correlation_id(IDS[which as usize % 3]);
        }
        if which & 4 != 0 {
            message = message.request_id(IDS[which as usize / 3 % 3]);
        }
        if which & 8 != 0 {
            message = message.tag(IDS[which as usize / 2 % 3]);
        }
        if which & 48 == 48 {
            message = message.session_id("own");
        }
        message.build().unwrap()
    }

    fn expected(&mut self) -> Expected {
        match self.below(8) {
            0 => Expected::NoStream,
            1 => Expected::Exists,
            2..4 => Expected::exactly(self.below(6)),
            _ => Expected::Any,
        }
    }

    fn query(&mut self) -> Query {
        let item = match self.below(6) {
            0 => Item::new().name(self.of(&NAMES)).unwrap(),
            1 => Item::new().tag(self.of(&IDS)).unwrap(),
            2 => Item::new().correlation(self.of(&IDS)),
            3 => Item::new().category("order").unwrap().kind(self.of(&[Kind::Command, Kind::Event])),
            4 => Item::new().session(self.of(&["own", "one", "two"])),
            _ => Item::new().no_session().stream(self.of(&STREAMS)).unwrap(),
        };
        Query::all().or(item)
    }

    fn filter(&mut self) -> Filter {
        let mut filter = Filter::new();
        let asks = self.below(256);
        if asks & 1 != 0 {
            filter = filter.kind(self.of(&[Kind::Command, Kind::Event]));
        }
        if asks & 2 != 0 {
            filter = filter.names([self.of(&NAMES), "Sent"]).unwrap();
        }
        if asks & 12 == 12 {
            filter = filter.stream(self.of(&STREAMS));
        }
        if asks & 48 == 48 {
            filter = filter.session(self.of(&["own", "one", "two", "no-session"]));
        }
        if asks & 192 == 192 {
            filter = filter.from(self.below(20)).until(Timestamp::from_nanos(self.below(40) as i64));
        }
        filter.count(self.below(5))
    }

    fn select(&mut self) -> Select {
        let mut select = match self.below(3) {
            0 => Select::stream(self.of(&STREAMS)).from_revision(self.below(4)),
            _ => Select::all(),
        };
        if let Some(from) = self.maybe(|it| it.below(30)) {
            select = select.from(from);
        }
        if let Some(to) = self.maybe(|it| it.below(30)) {
            select = select.to(to);
        }
        if let Some(query) = self.maybe(Self::query) {
            select = select.matching(query);
        }
        let how = self.below(8);
        select.backwards = how & 1 != 0;
        select.first = (how & 2 != 0).then_some(3);
        select.last = (how & 4 != 0).then_some(4);
        select
    }
}

/// A store, and the handles to its sessions.
struct Runs<S: EventStore> {
    store: MessageStore<S>,
    sessions: Vec<Session<S>>,
}

/// Runs the program on both.
pub fn run(program: &[u8]) {
    let slots = 2 << (program.first().unwrap_or(&0) % 4);
    let log = Log::builder().counted().segment_slots(slots);
    let by_log = MessageStore::builder().clock(standing).max_sessions(4).log(log).unwrap();
    let by_shelf = MessageStore::builder().clock(standing).max_sessions(4).over(Shelf::new);
    let mut log = Runs { store: by_log, sessions: Vec::new() };
    let mut shelf = Runs { store: by_shelf, sessions: Vec::new() };
    for (at, step) in program.chunks(STEP).enumerate() {
        let (is, should) = (log.step(at, Draw(step)), shelf.step(at, Draw(step)));
        assert_eq!(is, should, "step {at} of the log (left) and of the shelf (right)");
    }
    assert_eq!(log.known(), shelf.known());
    assert_eq!(envelopes(log.store.read(Select::all())), envelopes(shelf.store.read(Select::all())));
}

fn standing() -> Timestamp {
    Timestamp::from_nanos(7)
}

impl<S: EventStore> Runs<S> {
    /// Does one step; what came of it.
    fn step(&mut self, at: usize, mut draw: Draw<'_>) -> String {
        let time = Timestamp::from_nanos(at as i64);
        match draw.below(16) {
            0..3 => self.save(time, draw),
            3..5 => self.save_batch(time, draw),
            5 => self.save_in_session(time, draw),
            6 => self.open(draw),
            7 => {
                let id = draw.of(&IDS);
                let how = draw.below(3);
                told(if how == 0 { self.store.forget_session(id) } else { self.store.end_session(id) })
            }
            8 => told(envelopes(self.store.read(draw.select()))),
            9 => self.read_filtered(draw),
            10 => told(envelopes(self.store.read_stream(draw.of(&STREAMS), draw.below(6), draw.below(4)))),
            11 => self.known(),
            12 => self.follow(draw),
            13 => match draw.below(8) {
                0 => told(block_on(self.store.reset())),
                _ => told(block_on(self.store.truncate_before(draw.below(24))).unwrap()),
            },
            14 => told(block_on(self.store.stream_info(draw.of(&STREAMS))).unwrap()),
            _ => told((self.store.current_session(), block_on(self.store.session(draw.of(&IDS))).unwrap())),
        }
    }

    fn save(&self, time: Timestamp, mut draw: Draw<'_>) -> String {
        let (stream, expected, once) = (draw.of(&STREAMS), draw.expected(), draw.below(4) == 3);
        let part = |it: &mut Draw<'_>| Condition::none(it.query()).after(it.below(20));
        let condition = draw.maybe(part);
        let condition = condition.map(|first| match draw.maybe(part) {
            Some(second) => first.and(second),
            None => first,
        });
        let message = draw.message(once);
        let options = AppendOptions::new().expected(expected).at(time);
        let options = if once { options.once() } else { options };
        let options = condition.as_ref().map_or(options, |condition| options.condition(condition));
        result(block_on(self.store.save_with(stream, message, options)))
    }

    fn save_batch(&self, time: Timestamp, mut draw: Draw<'_>) -> String {
        let mut batch = Batch::new().at(time);
        let (length, once) = (draw.below(4), draw.below(4) == 3);
        for _ in 0..length {
            batch = batch.add(draw.of(&STREAMS), draw.message(once));
        }
        if once {
            batch = batch.once();
        }
        if let Some(guarded) = draw.maybe(|it| it.of(&STREAMS)) {
            batch = batch.expect(guarded, draw.expected());
        }
        if let Some(condition) = draw.maybe(|it| Condition::none(it.query())) {
            batch = batch.condition(condition);
        }
        result(block_on(self.store.save_batch(batch)))
    }

    fn save_in_session(&self, time: Timestamp, mut draw: Draw<'_>) -> String {
        if self.sessions.is_empty() {
            return String::new();
        }
        let session = &self.sessions[draw.below(self.sessions.len() as u64) as usize];
        result(block_on(session.save_batch(Batch::new().add(draw.of(&STREAMS), draw.message(false)).at(time))))
    }

    fn open(&mut self, mut draw: Draw<'_>) -> String {
        let id = draw.of(&IDS);
        let opened = if draw.below(2) == 0 { self.store.open_session(id) } else { self.store.begin_session(id) };
        match opened {
            Ok(session) => {
                self.sessions.push(session);
                String::new()
            }
            Err(error) => told(error),
        }
    }

    fn read_filtered(&self, mut draw: Draw<'_>) -> String {
        let (which, filter) = (draw.below(4), draw.filter());
        told(match which {
            0 => envelopes(self.store.read_all(&filter)),
            1 => envelopes(self.store.read_commands(&filter)),
            2 => envelopes(self.store.read_events(&filter)),
            _ => envelopes(self.store.session_messages(draw.of(&["own", "one", "no-session"]), &filter)),
        })
    }

    /// Everything that a store knows of itself, but for its memory.
    fn known(&self) -> String {
        let mut known = block_on(self.store.statistics()).unwrap();
        known.memory = None;
        told((known, block_on(self.store.streams()).unwrap(), block_on(self.store.sessions()).unwrap()))
    }

    /// What following meets before it has to wait.
    fn follow(&self, mut draw: Draw<'_>) -> String {
        let mut follow = Follow::all().after(draw.below(12));
        follow.query = draw.maybe(Draw::query);
        let mut following = self.store.follow(follow);
        let mut met = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(item)) = Pin::new(&mut following).poll_next(&mut context) {
            match item.unwrap() {
                Followed::Envelope(envelope) => met.push(shown(&envelope)),
                Followed::Truncated { missed } => met.push(format!("{missed} missed")),
                _ => {}
            }
        }
        told(met)
    }
}

fn told(it: impl Debug) -> String {
    format!("{it:?}")
}

/// Where it went, or what kind of refusal it was: of two reasons either may be told.
fn result<T: Debug, R: Debug>(result: Result<T, Rejected<R, AppendFailure>>) -> String {
    match result {
        Ok(appended) => told(appended),
        Err(Rejected { error: AppendFailure::Conflict(_) | AppendFailure::ConditionFailed(_), .. }) => "refused".into(),
        Err(refused) => told(refused.error),
    }
}

fn envelopes(read: impl Stream<Item = Result<Envelope, ReadFailure>> + Unpin) -> Vec<String> {
    iterate(read).map(|envelope| shown(&envelope.unwrap())).collect()
}

/// An envelope with all that is in it.
fn shown(it: &Envelope) -> String {
    let ids = (it.request_id(), it.correlation_id(), it.session_id(), it.message_id());
    let tags: Vec<_> = it.tags().collect();
    format!(
        "{} {}@{} {:?} {} {:?} {ids:?} {tags:?} {:?}",
        it.position(),
        it.stream(),
        it.revision(),
        it.kind(),
        it.name(),
        it.payload(),
        it.time()
    )
}
