//! Another transport: one lock, one list, one queue. With a fault, when it is given one.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use annals::replica::{PublishFailure, SubscribeFailure, Transport, TransportSubscription, Update};

type Handler = Arc<dyn Fn(&Update<String>) + Send + Sync>;

/// A transport for tests.
#[derive(Clone)]
pub struct Post(Arc<Office>);

struct Office {
    /// What is wrong with it; nothing, when empty.
    fault: &'static str,
    /// Deliveries are made by a thread of its own, some time after the publish is ready.
    by_courier: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    members: Vec<Member>,
    queue: VecDeque<(String, Update<String>)>,
    delivers: bool,
    failed: u64,
    keys_ever: BTreeSet<String>,
    last: HashMap<String, Update<String>>,
    /// Handlers that should have been dropped.
    leaked: Vec<Handler>,
}

#[derive(Clone)]
struct Member {
    number: u64,
    key: String,
    handler: Handler,
}

pub struct Slip {
    office: Post,
    number: u64,
    key: String,
    place: usize,
}

impl Post {
    pub fn new() -> Self {
        Self::broken("")
    }

    pub fn by_courier() -> Self {
        Self(Arc::new(Office { fault: "", by_courier: true, state: Mutex::default() }))
    }

    pub fn broken(fault: &'static str) -> Self {
        let by_courier = fault == "claims to deliver at once";
        Self(Arc::new(Office { fault, by_courier, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn is(&self, fault: &str) -> bool {
        self.0.fault == fault
    }

    fn accept(&self, key: &str, mut update: Update<String>) {
        if self.is("delivers depth-first") {
            return self.deliver(key, &update);
        }
        if self.is("loses the schema") {
            update.schema = None;
        }
        if self.is("loses the operations") {
            update = update.with_operations([]);
        }
        if self.is("cuts long values") {
            update.value.truncate(1_000);
        }
        let mut state = self.state();
        let before = state.last.insert(key.to_owned(), update.clone()).map(|last| last.sequence);
        let left_out = match self.0.fault {
            "leaves out repetitions" => before == Some(update.sequence),
            "leaves out what is late" => before > Some(update.sequence),
            "loses an update" => update.sequence == 57,
            _ => false,
        };
        if left_out {
            return;
        }
        state.queue.push_back((key.to_owned(), update));
        if std::mem::replace(&mut state.delivers, true) {
            return;
        }
        drop(state);
        if self.0.by_courier {
            let courier = self.clone();
            thread::spawn(move || {
                thread::yield_now();
                courier.deliver_all();
            });
        } else {
            self.deliver_all();
        }
    }

    fn deliver_all(&self) {
        loop {
            let mut state = self.state();
            let Some((key, update)) = state.queue.pop_front() else {
                state.delivers = false;
                return;
            };
            drop(state);
            self.deliver(&key, &update);
            if self.is("delivers twice") {
                self.deliver(&key, &update);
            }
        }
    }

    fn deliver(&self, key: &str, update: &Update<String>) {
        let is_of = |member: &&Member| member.key == key || self.is("delivers to every key");
        let mut due: Vec<Member> = self.state().members.iter().filter(is_of).cloned().collect();
        if self.is("calls the last subscriber first") {
            due.reverse();
        }
        let mut at = 0;
        while at < due.len() {
            let member = due[at].clone();
            at += 1;
            let is_there = |state: &State| state.members.iter().any(|other| other.number == member.number);
            if self.is("passes over who was removed") && !is_there(&self.state()) {
                continue;
            }
            if self.call(&member, update) {
                return;
            }
            if self.is("delivers to who was added") {
                due = self.state().members.iter().filter(is_of).cloned().collect();
            }
        }
    }

    /// Whether the delivery stops here.
    fn call(&self, member: &Member, update: &Update<String>) -> bool {
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| (member.handler)(update))) else { return false };
        if !self.is("counts no failures") {
            self.state().failed += 1;
        }
        if self.is("panics with its handlers") {
            self.state().delivers = false;
            resume_unwind(payload);
        }
        self.is("stops at a panic")
    }

    fn remove(&self, number: u64) {
        let mut state = self.state();
        let Some(at) = state.members.iter().position(|member| member.number == number) else { return };
        let member = state.members.remove(at);
        if self.is("keeps handlers") {
            state.leaked.push(member.handler.clone());
        }
        drop(state);
        drop(member);
    }
}

impl Transport<String> for Post {
    type Subscription = Slip;

    fn delivers_at_once(&self) -> bool {
        !self.0.by_courier || self.is("claims to deliver at once")
    }

    async fn publish(&self, key: &str, update: Update<String>) -> Result<(), PublishFailure> {
        let nobody = self.is("refuses without subscribers") && self.state().members.iter().all(|it| it.key != key);
        if nobody {
            return Err(PublishFailure::invalid_key(key));
        }
        self.accept(key, update);
        Ok(())
    }

    async fn subscribe(
        &self,
        key: &str,
        handler: impl Fn(&Update<String>) + Send + Sync + 'static,
    ) -> Result<Slip, SubscribeFailure> {
        let mut state = self.state();
        if self.is("closes keys that were left") && state.keys_ever.contains(key) && state.key_count(key) == 0 {
            return Err(SubscribeFailure::Closed);
        }
        let kept = state.last.get(key).filter(|_| self.is("keeps the last update")).cloned();
        state.next += 1;
        state.keys_ever.insert(key.to_owned());
        let (number, handler): (_, Handler) = (state.next, Arc::new(handler));
        let place = state.members.len();
        state.members.push(Member { number, key: key.to_owned(), handler: handler.clone() });
        drop(state);
        if let Some(kept) = kept {
            handler(&kept);
        }
        Ok(Slip { office: self.clone(), number, key: key.to_owned(), place })
    }

    fn key_count(&self) -> usize {
        let state = self.state();
        match self.0.fault {
            "counts keys for ever" => state.keys_ever.len(),
            "counts subscribers, not keys" => state.members.len(),
            _ => state.members.iter().map(|member| &member.key).collect::<BTreeSet<_>>().len(),
        }
    }

    fn failed_count(&self) -> u64 {
        self.state().failed
    }
}

impl State {
    fn key_count(&self, key: &str) -> usize {
        self.members.iter().filter(|member| member.key == key).count()
    }
}

impl TransportSubscription for Slip {
    fn unsubscribe(&self) {
        match self.office.0.fault {
            "does not unsubscribe" => {}
            "unsubscribes by place" => {
                let there = self.office.state().members.get(self.place).map(|member| member.number);
                there.into_iter().for_each(|number| self.office.remove(number));
            }
            "unsubscribes the key" => {
                let of_key = |member: &&Member| member.key == self.key;
                let all: Vec<_> = self.office.state().members.iter().filter(of_key).map(|it| it.number).collect();
                all.into_iter().for_each(|number| self.office.remove(number));
            }
            _ => self.office.remove(self.number),
        }
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if !self.office.is("does not unsubscribe when dropped") && !self.office.is("does not unsubscribe") {
            self.unsubscribe();
        } else if self.office.is("does not unsubscribe") {
            self.office.remove(self.number);
        }
    }
}
