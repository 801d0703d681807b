//! A set of subscribers that is copied on write: a delivery looks at one state of it, whatever happens meanwhile (law L9).

use smallvec::SmallVec;

use crate::sync::{CopyOnWrite, Loaded};

/// Something with a place in the order of subscriptions, and cheap to clone.
pub(crate) trait Member: Clone {
    /// Lower numbers subscribed earlier.
    fn number(&self) -> u64;
}

pub(crate) struct Set<M>(CopyOnWrite<State<M>>);

/// A set without a state is empty, and takes members.
pub(crate) struct State<M> {
    /// In subscription order.
    pub(crate) members: SmallVec<[M; 2]>,
    /// Who holds on to the set without being a member.
    handles: u32,
    /// Takes neither members nor handles any more: see [`keyed`](super::keyed).
    retired: bool,
}

/// What leaving did to a set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It was not in.
    Absent,
    Others,
    /// It was the last member.
    LastMember,
    /// And nobody holds on to the set: it is retired.
    Retired,
}

impl<M: Member> Set<M> {
    pub(crate) fn new() -> Self {
        Self(CopyOnWrite::new())
    }

    /// The set as it is now. Wait-free.
    #[inline]
    pub(crate) fn load(&self) -> Loaded<State<M>> {
        self.0.load()
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.0.load().get().map_or(0, |state| state.members.len())
    }

    /// One who holds on to the set more; false when it is retired.
    pub(crate) fn hold(&self) -> bool {
        self.0.change(|old| match old {
            Some(old) if old.retired => None,
            Some(old) => Some(Some(State { handles: old.handles + 1, ..old.copy() })),
            None => Some(Some(State { members: SmallVec::new(), handles: 1, retired: false })),
        })
    }

    /// One less; true when that retired the set.
    pub(crate) fn let_go(&self) -> bool {
        let mut retired = false;
        self.0.change(|old| {
            let mut next = old?.copy();
            next.handles -= 1;
            next.retired = next.members.is_empty() && next.handles == 0;
            retired = next.retired;
            Some(Some(next))
        });
        retired
    }

    /// Adds a member, in its place in the order. None when the set is retired, else whether it is the first member.
    pub(crate) fn enter(&self, member: &M) -> Option<bool> {
        let mut first = false;
        let entered = self.0.change(|old| {
            let mut next = match old {
                Some(old) if old.retired => return None,
                Some(old) => old.copy(),
                None => State { members: SmallVec::new(), handles: 0, retired: false },
            };
            first = next.members.is_empty();
            let place = next.members.partition_point(|other| other.number() < member.number());
            next.members.insert(place, member.clone());
            Some(Some(next))
        });
        entered.then_some(first)
    }

    /// Removes a member; a set of a key is `keyed`, and retires with the last one.
    pub(crate) fn leave(&self, number: u64, keyed: bool) -> Left {
        let mut left = Left::Absent;
        self.0.change(|old| {
            left = Left::Absent;
            let old = old?;
            let at = old.members.iter().position(|member| member.number() == number)?;
            let mut next = old.copy();
            next.members.remove(at);
            let empty = next.members.is_empty();
            next.retired = keyed && empty && next.handles == 0;
            left = match (empty, next.retired) {
                (_, true) => Left::Retired,
                (true, _) => Left::LastMember,
                _ => Left::Others,
            };
            // An empty set takes no memory.
            Some((!empty || keyed).then_some(next))
        });
        left
    }
}

impl<M> State<M> {
    pub(crate) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }
}

impl<M: Member> State<M> {
    fn copy(&self) -> Self {
        let mut members = SmallVec::with_capacity(self.members.len() + 1);
        members.extend(self.members.iter().cloned());
        Self { members, handles: self.handles, retired: self.retired }
    }
}
