//! Who is there: a map of peers in which the last write wins.
//!
//! What a peer says of itself is stamped; of two announcements for one peer the one with the higher stamp stands, whichever
//! comes first. To leave is an announcement like any other, with no value, and stays in the map as a tombstone: so a late
//! announcement of before does not undo it. To hear is commutative, associative and idempotent, and so is to merge: all who have
//! heard the same, in any order and however often, have the same map.
//!
//! Tombstones, and peers that fell silent without leaving, are bounded by a *horizon*: what is stamped before it is not in the
//! map, and is not taken in any more. So a message that is late for its horizon does nothing, as if it had been heard and had
//! expired; and a tombstone can be forgotten, because all that it held back is before the horizon as well. The horizon is the
//! caller's: there is no clock in here.

use std::collections::BTreeMap;

use crate::sync::StdArc;

/// When something was said, and by whom: the counter first. No two announcements for one peer have the same stamp.
///
/// The counter is time, as far as clocks agree: at least the writer's, and more than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// Counts up with time.
    pub counter: u64,
    /// Decides between two writers for one peer that count alike: its sessions, say.
    pub writer: u64,
}

/// What a peer says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Announcement<V> {
    /// Which peer.
    pub peer: StdArc<str>,
    /// When.
    pub stamp: Stamp,
    /// What; none: it leaves.
    pub value: Option<StdArc<V>>,
}

/// The peers that have been heard of. One entry for each since the horizon, those that left included: it grows with the number
/// of names that are announced, and shrinks by [`expire`](Self::expire) alone.
///
/// ```
/// use std::sync::Arc;
///
/// use annals::replica::Peers;
///
/// let (mut ours, mut theirs) = (Peers::new(), Peers::new());
/// let came = ours.announce("ann", 1, 100, Some(Arc::new("reads")));
/// let went = ours.announce("ann", 1, 105, None);
/// assert!(theirs.hear(&went) && !theirs.hear(&came), "late, it does not undo that she left");
/// assert_eq!(theirs.len(), 0);
/// assert_eq!(ours, theirs);
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Peers<V> {
    entries: BTreeMap<StdArc<str>, (Stamp, Option<StdArc<V>>)>,
    horizon: u64,
}

impl<V> Peers<V> {
    /// Nobody, and no horizon.
    pub fn new() -> Self {
        Self { entries: BTreeMap::new(), horizon: 0 }
    }

    /// Takes an announcement in, unless a later one of the peer is known, or it is before the horizon. Whether it was news. (Of
    /// two with one stamp, which nobody makes, one that leaves stands; else the one that came first.)
    pub fn hear(&mut self, said: &Announcement<V>) -> bool {
        let is_news = self.is_news(said);
        if is_news {
            self.entries.insert(said.peer.clone(), (said.stamp, said.value.clone()));
        }
        is_news
    }

    /// Whether to hear this would change anything.
    pub fn is_news(&self, said: &Announcement<V>) -> bool {
        let is_later = |(stamp, value): &(Stamp, Option<StdArc<V>>)| {
            (said.stamp, said.value.is_none()) > (*stamp, value.is_none())
        };
        said.stamp.counter >= self.horizon && self.entries.get(&said.peer).is_none_or(is_later)
    }

    /// Announces a peer, or that it leaves, and takes that in: with the time `now`, or more, if that is needed to come after
    /// what is known of the peer.
    pub fn announce(
        &mut self,
        peer: impl Into<StdArc<str>>,
        writer: u64,
        now: u64,
        value: Option<StdArc<V>>,
    ) -> Announcement<V> {
        let peer = peer.into();
        let after = self.entries.get(&peer).map_or(0, |(stamp, _)| stamp.counter.saturating_add(1));
        let counter = now.max(after).max(self.horizon);
        let said = Announcement { peer, stamp: Stamp { counter, writer }, value };
        self.hear(&said);
        said
    }

    /// Takes in everything that another map has, its horizon included. Whether anything changed.
    pub fn merge(&mut self, other: &Self) -> bool {
        let news = other.announcements().filter(|said| self.hear(said)).count();
        self.expire(other.horizon) || news > 0
    }

    /// What is stamped before this counter is forgotten, and not taken in any more: tombstones, and peers that have not
    /// announced themselves since. A horizon never goes back. Whether it moved.
    pub fn expire(&mut self, horizon: u64) -> bool {
        let is_later = horizon > self.horizon;
        if is_later {
            self.horizon = horizon;
            self.entries.retain(|_, (stamp, _)| stamp.counter >= horizon);
        }
        is_later
    }

    /// What a peer has announced last; none when it has left, or nothing is known of it.
    pub fn get(&self, peer: &str) -> Option<&StdArc<V>> {
        self.entries.get(peer)?.1.as_ref()
    }

    /// The peers that are there, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StdArc<V>)> {
        self.entries.iter().filter_map(|(peer, (_, value))| Some((&**peer, value.as_ref()?)))
    }

    /// How many peers are there.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// How many entries are kept: peers that are there, and tombstones.
    pub fn kept(&self) -> usize {
        self.entries.len()
    }

    /// Everything that is kept, as whoever does not know it would have to hear it.
    pub fn announcements(&self) -> impl Iterator<Item = Announcement<V>> {
        let said = |(peer, (stamp, value)): (&StdArc<str>, &(Stamp, Option<StdArc<V>>))| Announcement {
            peer: peer.clone(),
            stamp: *stamp,
            value: value.clone(),
        };
        self.entries.iter().map(said)
    }
}

impl<V> Default for Peers<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for Peers<V> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), horizon: self.horizon }
    }
}

impl<V> Clone for Announcement<V> {
    fn clone(&self) -> Self {
        Self { peer: self.peer.clone(), stamp: self.stamp, value: self.value.clone() }
    }
}
