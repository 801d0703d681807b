//! Random programs of appends and subscriptions, against a model of the laws of delivery (L9 to L15).
//!
//! One thread, so that the order of all calls is known. Every envelope says what one of the subscribers does when it gets it:
//! append, subscribe, unsubscribe, close, fail, panic. The model does the same with a list and a queue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use annals::{Envelope, Log, Message, Subscription};

/// What a subscriber does inside its handler.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Nothing,
    /// Appends to a stream; its envelope makes somebody do nothing.
    Append(u8),
    Subscribe(Wish),
    Drop(u8),
    Close(u8),
    Fail,
    Panic,
}

#[derive(Clone, Copy, Debug)]
pub struct Wish {
    sequential: bool,
    /// One of two streams, or the whole log.
    stream: Option<u8>,
    from_beginning: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Appends to a stream; whoever has this number does this when it gets it.
    Append(u8, u8, Deed),
    Batch(u8, u8),
    Subscribe(Wish),
    Drop(u8),
    Close(u8),
}

/// What happened: which subscriber was called, with which position.
type Calls = Vec<(usize, u64)>;

/// So many bytes are a step; any bytes are a program.
pub const CHUNK: usize = 6;

pub fn decode(bytes: &[u8]) -> Vec<Step> {
    bytes.chunks_exact(CHUNK).map(|chunk| Step::decode(chunk.try_into().expect("a whole chunk"))).collect()
}

impl Wish {
    fn decode(byte: u8) -> Self {
        let stream = [None, None, Some(0), Some(1)][usize::from(byte >> 1 & 3)];
        Self { sequential: byte & 1 != 0, stream, from_beginning: byte & 8 != 0 }
    }
}

impl Deed {
    fn decode(what: u8, how: u8) -> Self {
        match what % 13 {
            0..4 => Self::Nothing,
            4..7 => Self::Append(how % 2),
            7 | 8 => Self::Subscribe(Wish::decode(how)),
            9 => Self::Drop(how % 8),
            10 => Self::Close(how % 8),
            11 => Self::Fail,
            _ => Self::Panic,
        }
    }
}

impl Step {
    fn decode([what, how, stream, who, deed, its]: [u8; CHUNK]) -> Self {
        match what % 12 {
            0..6 => Self::Append(stream % 2, who % 8, Deed::decode(deed, its)),
            6 => Self::Batch(stream % 2, how % 2),
            7..10 => Self::Subscribe(Wish::decode(how)),
            10 => Self::Drop(how % 8),
            _ => Self::Close(how % 8),
        }
    }
}

/// The real thing.
struct World {
    log: Log,
    /// For each position: who does what.
    deeds: Mutex<Vec<(u8, Deed)>>,
    subscriptions: Mutex<Vec<Option<Subscription>>>,
    calls: Mutex<Calls>,
}

const STREAMS: [&str; 2] = ["one", "two"];

impl World {
    fn append(&self, stream: u8, who: u8, deed: Deed) {
        self.deeds.lock().unwrap().push((who, deed));
        self.log.append(STREAMS[usize::from(stream)], Message::event("E", "").unwrap()).unwrap();
    }

    fn subscribe(self: &Arc<Self>, wish: Wish) {
        let number = {
            let mut all = self.subscriptions.lock().unwrap();
            all.push(None);
            all.len() - 1
        };
        let world = self.clone();
        let handler = move |envelope: &Envelope| world.called(number, envelope.position().get());
        let feed = match wish.stream {
            None => self.log.feed(),
            Some(stream) => self.log.stream(STREAMS[usize::from(stream)]).unwrap().feed(),
        };
        let feed = if wish.from_beginning { feed.from_beginning() } else { feed };
        let made = if wish.sequential { feed.subscribe(handler) } else { feed.observe(handler) };
        self.subscriptions.lock().unwrap()[number] = Some(made.unwrap());
    }

    fn end(&self, which: u8, close: bool) {
        let gone = self.subscriptions.lock().unwrap().get_mut(usize::from(which)).and_then(Option::take);
        match gone {
            Some(subscription) if close => subscription.close(),
            other => drop(other),
        }
    }

    fn called(self: &Arc<Self>, number: usize, position: u64) -> Result<(), &'static str> {
        self.calls.lock().unwrap().push((number, position));
        let (who, deed) = self.deeds.lock().unwrap()[usize::try_from(position).unwrap() - 1];
        if usize::from(who) != number {
            return Ok(());
        }
        match deed {
            Deed::Nothing => {}
            Deed::Append(stream) => self.append(stream, u8::MAX, Deed::Nothing),
            Deed::Subscribe(wish) => self.subscribe(wish),
            Deed::Drop(which) => self.end(which, false),
            Deed::Close(which) => self.end(which, true),
            Deed::Fail => return Err("on purpose"),
            Deed::Panic => std::panic::resume_unwind(Box::new("on purpose")),
        }
        Ok(())
    }
}

/// What the laws say.
#[derive(Default)]
struct Model {
    /// For each position: its stream, who does what.
    log: Vec<(u8, u8, Deed)>,
    subscribers: Vec<Subscriber>,
    later: VecDeque<Task>,
    delivering: bool,
    calls: Calls,
}

struct Subscriber {
    wish: Wish,
    /// In its set.
    there: bool,
    closed: bool,
    /// Index from which on it gets what is appended; of a sequential one, its cursor.
    next: usize,
    /// Index of what is not for it any more.
    until: usize,
    /// The handle is there to be dropped.
    handle: bool,
}

enum Task {
    Deliver(usize),
    /// A sequential one up to an index, or an observer from one to another.
    CatchUp(usize, usize),
    Past(usize, usize, usize),
}

impl Model {
    fn append(&mut self, stream: u8, who: u8, deed: Deed) {
        self.log.push((stream, who, deed));
        if self.is_watched(stream) {
            self.run(Task::Deliver(self.log.len() - 1));
        }
    }

    /// Nobody is told, now or later, of what nobody watches when it is appended.
    fn is_watched(&self, stream: u8) -> bool {
        self.subscribers.iter().any(|it| it.there && it.wish.stream.is_none_or(|its| its == stream))
    }

    /// Now, or after what is at hand.
    fn run(&mut self, task: Task) {
        self.later.push_back(task);
        if self.delivering {
            return;
        }
        self.delivering = true;
        while let Some(task) = self.later.pop_front() {
            match task {
                Task::Deliver(index) => self.deliver(index),
                Task::CatchUp(who, end) => {
                    // One envelope after the other, as long as it is subscribed.
                    while self.subscribers[who].next < end && self.subscribers[who].until == usize::MAX {
                        self.drain(who, self.subscribers[who].next + 1);
                        if self.subscribers[who].closed {
                            break;
                        }
                    }
                }
                Task::Past(who, from, to) => {
                    for index in from..to {
                        if !self.subscribers[who].there {
                            break;
                        }
                        if self.wants(who, index) {
                            self.call(who, index);
                        }
                    }
                }
            }
        }
        self.delivering = false;
    }

    fn wants(&self, who: usize, index: usize) -> bool {
        self.subscribers[who].wish.stream.is_none_or(|stream| stream == self.log[index].0)
    }

    fn deliver(&mut self, index: usize) {
        let snapshot: Vec<_> = (0..self.subscribers.len()).filter(|who| self.subscribers[*who].there).collect();
        for who in snapshot {
            let subscriber = &self.subscribers[who];
            if subscriber.closed || !self.wants(who, index) {
                continue;
            }
            if subscriber.wish.sequential {
                self.drain(who, index + 1);
            } else if subscriber.next <= index {
                self.call(who, index);
            }
        }
    }

    fn drain(&mut self, who: usize, end: usize) {
        while self.subscribers[who].next < end.min(self.subscribers[who].until) && !self.subscribers[who].closed {
            let index = self.subscribers[who].next;
            if self.wants(who, index) {
                self.call(who, index);
            }
            self.subscribers[who].next = index + 1;
        }
    }

    fn subscribe(&mut self, wish: Wish) {
        let (who, end) = (self.subscribers.len(), self.log.len());
        let next = if wish.sequential && wish.from_beginning { 0 } else { end };
        let subscriber = Subscriber { wish, there: true, closed: false, next, until: usize::MAX, handle: false };
        self.subscribers.push(subscriber);
        if wish.from_beginning {
            self.run(if wish.sequential { Task::CatchUp(who, end) } else { Task::Past(who, 0, end) });
        }
        self.subscribers[who].handle = true;
    }

    fn end(&mut self, which: u8, close: bool) {
        let end = self.log.len();
        let Some(subscriber) = self.subscribers.get_mut(usize::from(which)) else { return };
        if std::mem::take(&mut subscriber.handle) {
            subscriber.there = false;
            subscriber.closed |= close;
            subscriber.until = end;
        }
    }

    fn call(&mut self, who: usize, index: usize) {
        self.calls.push((who, index as u64 + 1));
        let (_, number, deed) = self.log[index];
        if usize::from(number) != who {
            return;
        }
        match deed {
            Deed::Nothing | Deed::Fail | Deed::Panic => {}
            Deed::Append(stream) => self.append(stream, u8::MAX, Deed::Nothing),
            Deed::Subscribe(wish) => self.subscribe(wish),
            Deed::Drop(which) => self.end(which, false),
            Deed::Close(which) => self.end(which, true),
        }
    }
}

/// Runs a program in both.
pub fn run(program: &[Step]) {
    let log = Log::builder().segment_slots(4).no_clock().build().unwrap();
    let world =
        Arc::new(World { log, deeds: Mutex::default(), subscriptions: Mutex::default(), calls: Mutex::default() });
    let mut model = Model::default();
    for step in program {
        match *step {
            Step::Append(stream, who, deed) => {
                world.append(stream, who, deed);
                model.append(stream, who, deed);
            }
            Step::Batch(one, other) => {
                let message = || Message::event("E", "").unwrap();
                world.deeds.lock().unwrap().extend([(u8::MAX, Deed::Nothing); 2]);
                let batch = annals::Batch::new().add(STREAMS[usize::from(one)], message());
                world.log.append_batch(batch.add(STREAMS[usize::from(other)], message())).unwrap();
                model.log.extend([(one, u8::MAX, Deed::Nothing), (other, u8::MAX, Deed::Nothing)]);
                if model.is_watched(one) || model.is_watched(other) {
                    model.run(Task::Deliver(model.log.len() - 2));
                    model.run(Task::Deliver(model.log.len() - 1));
                }
            }
            Step::Subscribe(wish) => {
                world.subscribe(wish);
                model.subscribe(wish);
            }
            Step::Drop(which) => {
                world.end(which, false);
                model.end(which, false);
            }
            Step::Close(which) => {
                world.end(which, true);
                model.end(which, true);
            }
        }
        assert_eq!(*world.calls.lock().unwrap(), model.calls, "after {step:?}");
    }
    // The handlers hold the world, and the world the subscriptions.
    let left = std::mem::take(&mut *world.subscriptions.lock().unwrap());
    drop(left);
    assert_eq!(world.log.subscriber_count(), 0);
    assert_eq!(Arc::strong_count(&world), 1, "every handler is gone");
}
