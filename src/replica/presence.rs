//! Who is at a key, over any transport.
//!
//! Each peer publishes what it says of itself and takes in what others say: [`Peers`], in a cell that is swapped. A newcomer
//! subscribes, then says hello; whoever hears that says again what it said last. So a newcomer knows everybody when those who
//! are there have answered, and nobody has to keep anything for it.
//!
//! Handlers cannot wait for a publish. What is to be said is therefore noted in the state, as a count of how often it was asked
//! for, and said by a future that the user polls: [`Announcer`]. A count, because who asks during a publish may have come too
//! late for it: what is answered is what was asked before the publish began.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use futures_core::Stream;

use super::peers::{Announcement, Peers};
use super::shared::guarded;
use super::transport::{PublishFailure, SubscribeFailure, Transport};
use super::update::Update;
use super::watched::{Look, Watched};
use crate::model::{Clock, Timestamp};
use crate::sync::{CopyOnWrite, StdArc};

/// What peers publish to the key at which they are.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Said<V> {
    /// Somebody is new, and wants to hear from everybody.
    #[non_exhaustive]
    Hello {
        /// Who asks: it need not answer itself.
        peer: StdArc<str>,
        /// Which of its sessions.
        writer: u64,
    },
    /// What a peer says of itself.
    Here(Announcement<V>),
}

impl<V> Said<V> {
    /// A hello, for who receives it from elsewhere.
    pub fn hello(peer: impl Into<StdArc<str>>, writer: u64) -> Self {
        Self::Hello { peer: peer.into(), writer }
    }
}

/// A peer's presence at a key, and what it knows of the others there.
///
/// A clone is another handle. When the last one is dropped the peer leaves, as by [`leave`](Self::leave): others hear of it as
/// long as the [`Announcer`] is polled. A process that ends without that is a peer that falls silent: those who
/// [expire](Self::expire) forget it.
///
/// A peer's name is for one session at a time. Of two at once the one that has said something last stands, so when one of them
/// leaves, the peer has left until the other says something again.
///
/// ```
/// use std::sync::Arc;
/// use std::thread;
///
/// use annals::replica::Presence;
/// use annals::store::{block_on, iterate};
/// use annals::{Bus, Timestamp};
///
/// let (bus, clock) = (Arc::new(Bus::new()), || Timestamp::from(std::time::SystemTime::now()));
/// let (ann, mut announcer) = block_on(Presence::join(&bus, "room", "ann", "reads", clock))?;
/// let announces = thread::spawn(move || block_on(announcer.run()));
/// let (ben, mut announcer) = block_on(Presence::join(&bus, "room", "ben", "writes", clock))?;
/// let also = thread::spawn(move || block_on(announcer.run()));
///
/// let both = iterate(ben.watch()).find(|peers| peers.len() == 2).expect("ben has not left");
/// assert_eq!(both.get("ann").map(|value| **value), Some("reads"));
/// drop(ann);
/// announces.join().expect("nothing panics")?;
/// assert_eq!(ben.peers().len(), 1);
/// ben.leave();
/// also.join().expect("nothing panics")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Presence<V>(StdArc<Owned<V>>);

/// What handles own. What receives and announces has a share of the room, and none of this.
struct Owned<V> {
    room: StdArc<Watched<Room<V>>>,
    clock: Box<dyn Clock>,
    /// Ends the subscription when it is dropped.
    subscription: CopyOnWrite<Box<dyn Any + Send + Sync>>,
}

struct Room<V> {
    peers: StdArc<Peers<V>>,
    /// What this peer has said last.
    own: Announcement<V>,
    /// How often somebody wanted to hear it, and how many of them have been answered.
    asked: u64,
    answered: u64,
    has_said_hello: bool,
    /// How often the map was changed, or left.
    changes: u64,
}

/// Says what its [`Presence`] has to say. Nobody hears of the peer, and nobody is answered, unless [`run`](Self::run) is polled.
#[must_use = "peers are announced while this runs"]
pub struct Announcer<V, T> {
    room: StdArc<Watched<Room<V>>>,
    transport: StdArc<T>,
    key: Box<str>,
}

impl<V: Send + Sync + 'static> Presence<V> {
    /// Joins those at a key: subscribes to it; the announcer then says hello, and what the peer is.
    ///
    /// The clock stamps what is said, and nothing else: it has to be the same for a peer's sessions, so that a later one's word
    /// stands, and for all who [expire](Self::expire). The time of joining tells a peer's sessions apart.
    ///
    /// # Errors
    /// [`SubscribeFailure`].
    pub async fn join<T: Transport<Said<V>>>(
        transport: &StdArc<T>,
        key: &str,
        peer: &str,
        value: V,
        clock: impl Clock + 'static,
    ) -> Result<(Self, Announcer<V, T>), SubscribeFailure> {
        let now = counter(clock.now());
        let mut peers = Peers::new();
        let own = peers.announce(peer, now, now, Some(StdArc::new(value)));
        let room = Room { peers: StdArc::new(peers), own, asked: 1, answered: 0, has_said_hello: false, changes: 0 };
        let room = Watched::new(room);
        let hears = room.clone();
        let hear = move |update: &Update<Said<V>>| hears.hear(&update.value);
        let mut subscription: Option<Box<dyn Any + Send + Sync>> =
            Some(Box::new(transport.subscribe(key, hear).await?));
        let kept = CopyOnWrite::new();
        // Nobody else has the cell, so this is asked once.
        kept.change(|_| subscription.take().map(Some));
        let announcer = Announcer { room: room.clone(), transport: transport.clone(), key: key.into() };
        Ok((Self(StdArc::new(Owned { room, clock: Box::new(clock), subscription: kept })), announcer))
    }

    /// Says something else. False, and nothing, when the peer has left. Lock-free; does not wait for anybody to hear it.
    pub fn update(&self, value: V) -> bool {
        self.0.say(Some(&StdArc::new(value)))
    }

    /// Says the same again, as of now: that the peer is still there. False, and nothing, when it has left. Lock-free; does not
    /// wait for anybody to hear it.
    pub fn touch(&self) -> bool {
        let value = self.0.room.read(|room| room.own.value.clone());
        value.is_some_and(|value| self.0.say(Some(&value)))
    }

    /// Forgets those who left, or were silent, for so long, and does not take in what was said before that: a message that is
    /// late by more does nothing. The peer itself stays: it says the same again, if it has been silent for so long.
    ///
    /// Who touches at least twice in that time is not forgotten, as long as clocks differ by less than half of it.
    pub fn expire(&self, silent_for: Duration) {
        let horizon = counter(self.0.clock.now().before(silent_for));
        if self.0.room.read(|room| room.own.stamp.counter < horizon) {
            self.touch();
        }
        self.0.room.change(|room| {
            let mut peers = Peers::clone(&room.peers);
            (room.is_here() && peers.expire(horizon)).then(|| room.with(peers))
        });
    }

    /// Who is there, as far as this peer has heard, as of one instant; itself included. Wait-free.
    pub fn peers(&self) -> StdArc<Peers<V>> {
        self.0.room.read(|room| room.peers.clone())
    }

    /// Watches who is there: the peers of now, and then once for each change. What changes while nobody looks is told as one
    /// change. Ends when the peer has left, after the peers of then.
    pub fn watch(&self) -> impl Stream<Item = StdArc<Peers<V>>> + Send + Unpin + use<V> {
        let look = |room: &Room<V>| Look { change: room.changes, is_last: !room.is_here(), shown: room.peers.clone() };
        self.0.room.watch(look)
    }

    /// Leaves: hears nothing any more, and the announcer comes to its end when it has said so. Idempotent; lock-free; does
    /// not wait for anybody to hear it.
    pub fn leave(&self) {
        self.0.leave();
    }
}

impl<V> Owned<V> {
    /// Says something, with the time of now. Nothing when the peer has left.
    fn say(&self, value: Option<&StdArc<V>>) -> bool {
        let now = counter(self.clock.now());
        self.room.change(|room| room.is_here().then(|| room.saying(now, value)))
    }

    fn leave(&self) {
        self.say(None);
        drop(self.subscription.take());
    }
}

impl<V> Drop for Owned<V> {
    fn drop(&mut self) {
        // The clock is the user's. Without a time the peer falls silent.
        _ = guarded(|| self.leave());
    }
}

impl<V> Room<V> {
    fn is_here(&self) -> bool {
        self.own.value.is_some()
    }

    /// Whether the announcer has something to do, or has come to its end.
    fn is_due(&self) -> bool {
        self.asked != self.answered || !self.has_said_hello || !self.is_here()
    }

    fn with(&self, peers: Peers<V>) -> Self {
        Self { peers: StdArc::new(peers), changes: self.changes + 1, ..self.clone() }
    }

    fn saying(&self, now: u64, value: Option<&StdArc<V>>) -> Self {
        let mut peers = Peers::clone(&self.peers);
        let own = peers.announce(self.own.peer.clone(), self.own.stamp.writer, now, value.cloned());
        Self { own, asked: self.asked + 1, ..self.with(peers) }
    }
}

impl<V> Watched<Room<V>> {
    fn hear(&self, said: &Said<V>) {
        match said {
            Said::Here(said) => self.change(|room| {
                let is_news = room.is_here() && room.peers.is_news(said);
                is_news.then(|| {
                    let mut peers = Peers::clone(&room.peers);
                    peers.hear(said);
                    room.with(peers)
                })
            }),
            Said::Hello { peer, writer } => self.change(|room| {
                let is_own = room.own.peer == *peer && room.own.stamp.writer == *writer;
                (room.is_here() && !is_own).then(|| Room { asked: room.asked + 1, ..room.clone() })
            }),
        };
    }
}

impl<V: Send + Sync + 'static, T: Transport<Said<V>>> Announcer<V, T> {
    /// Says hello, what the peer is, whatever it says from now on, and what it said last to whoever is new. Ready when it has
    /// said that the peer left.
    ///
    /// Dropped before it is ready, it goes on where it was when it is run again.
    ///
    /// # Errors
    /// [`PublishFailure`] of the transport. What was not said is said when this is run again.
    pub async fn run(&mut self) -> Result<(), PublishFailure> {
        loop {
            let room = self.room.wait_for(|room| room.is_due().then(|| room.clone())).await;
            let has_left = !room.is_here();
            if !room.has_said_hello && !has_left {
                self.publish(Said::hello(room.own.peer.clone(), room.own.stamp.writer)).await?;
                self.note(|room| Room { has_said_hello: true, ..room.clone() });
            }
            if room.asked == room.answered {
                if has_left {
                    return Ok(());
                }
                continue;
            }
            self.publish(Said::Here(room.own)).await?;
            self.note(|now| Room { answered: room.asked, ..now.clone() });
            if has_left {
                return Ok(());
            }
        }
    }

    async fn publish(&self, said: Said<V>) -> Result<(), PublishFailure> {
        self.transport.publish(&self.key, Update::new(0, said)).await
    }

    fn note(&self, next: impl Fn(&Room<V>) -> Room<V>) {
        self.room.change_unseen(|room| Some(next(room)));
    }
}

/// The time as a counter: nanoseconds since 1970.
fn counter(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(0)
}

impl<V> Clone for Room<V> {
    fn clone(&self) -> Self {
        Self { peers: self.peers.clone(), own: self.own.clone(), ..*self }
    }
}

impl<V> Clone for Said<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Hello { peer, writer } => Self::Hello { peer: peer.clone(), writer: *writer },
            Self::Here(said) => Self::Here(said.clone()),
        }
    }
}

impl<V> Clone for Presence<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: fmt::Debug> fmt::Debug for Presence<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Presence").field(&self.0.room.read(|room| room.peers.clone())).finish()
    }
}

impl<V, T> fmt::Debug for Announcer<V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("key", &self.key).finish_non_exhaustive()
    }
}
