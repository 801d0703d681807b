//! Any bytes are a program of what may happen to a replica: a source that publishes, a way on which updates are lost, repeated,
//! late and damaged, some of them patches, refetches that are late and fail. The reconciler is told, and so is the model; after each step both must
//! stand alike, and what always holds must hold.
//!
//! In the end the way is mended: from then on everything arrives, and the reconciler must come to what the source has.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals::replica::{Decision, Input, OnGap, Parsed, Patch, Reconciler, Rules, Schema, Status, Update};

use crate::model::{Came, Model, Reads};

/// Bytes of one step.
pub const STEP: usize = 3;

/// What a program came to, for the tests to see that programs come to something.
pub type Seen = BTreeMap<&'static str, u64>;

/// The choices of one step, drawn from its bytes.
struct Draw<'b>(&'b [u8]);

impl Draw<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        u64::from(*first) % bound
    }

    fn reads(&mut self) -> Reads {
        match self.below(8) {
            0 => Reads::NotParsed,
            1 => Reads::Skewed,
            _ => Reads::Well,
        }
    }
}

struct World {
    reconciler: Reconciler<u64>,
    model: Model,
    /// Two of three values are published as patches.
    has_patches: bool,
    /// The sequence of the last value that the source published.
    source: u64,
    /// Published, and on the way.
    way: Vec<u64>,
    /// The refetch in flight, and what it read when it began.
    flight: Option<(u64, u64)>,
    /// A flight that came to its end before, and may come once more.
    stray: Option<u64>,
    seen: Seen,
}

/// Runs a program.
pub fn run(program: &[u8]) -> Seen {
    let choice = program.first().copied().unwrap_or(0);
    let (applies_gaps, refetches) = (choice & 1 != 0, choice & 2 == 0);
    let mut rules = Rules::default();
    rules.schema = Some(Schema::new(2));
    rules.refetches = refetches;
    rules.on_gap = if applies_gaps { OnGap::Apply } else { OnGap::Refetch };
    let mut world = World {
        reconciler: Reconciler::new(rules),
        model: Model::new(applies_gaps, refetches),
        has_patches: choice & 16 != 0,
        // Near the last one there is, too.
        source: if choice & 12 == 12 { u64::MAX - 40 } else { 0 },
        way: Vec::new(),
        flight: None,
        stray: None,
        seen: Seen::new(),
    };
    for step in program.get(1..).unwrap_or_default().chunks(STEP) {
        world.step(Draw(step));
    }
    world.mend();
    world.seen
}

/// A value that says which sequence it is of, or cannot be read.
fn sent(sequence: u64, reads: Reads) -> Parsed<u64> {
    match reads {
        Reads::Well => Update::new(sequence, Ok(Arc::new(sequence))).schema("2.7"),
        Reads::NotParsed => Update::new(sequence, Err(Arc::from("damaged"))),
        Reads::Skewed => Update::new(sequence, Ok(Arc::new(sequence))).schema("3.0"),
    }
}

/// Makes the value of this sequence of the one before; must not be given another.
fn patch(sequence: u64, reads: Reads) -> Patch<u64> {
    Patch::new(move |before: &u64| {
        assert_eq!(before + 1, sequence, "a patch of the value before");
        if reads == Reads::NotParsed { Err("it does not fit") } else { Ok(sequence) }
    })
}

impl World {
    fn step(&mut self, mut draw: Draw<'_>) {
        match draw.below(32) {
            0..12 => self.publish(draw.below(4) != 0),
            12..20 => self.arrive(draw),
            20..24 => self.land(draw),
            24 => self.tell(Input::Seed(sent(self.source, Reads::Well)), Came::Seed(self.source, Reads::Well)),
            25 => {
                let (sequence, reads) = (self.source.saturating_sub(draw.below(8)), draw.reads());
                self.tell(Input::Seed(sent(sequence, reads)), Came::Seed(sequence, reads));
            }
            26 => self.tell(Input::Refetch, Came::Asked),
            // What landed before lands again; or what never began.
            27 => {
                let number = self.stray.unwrap_or(u64::MAX);
                if self.flight.is_none() {
                    let again = sent(self.source, Reads::Well);
                    self.tell(Input::Refetched(number, Some(again)), Came::Refetched(Some((self.source, Reads::Well))));
                }
            }
            28 => {
                if draw.below(4) == 0 {
                    self.source = draw.below(8);
                    self.way.clear();
                    self.tell(Input::Rebase, Came::Rebased);
                }
            }
            29 => {
                if draw.below(16) == 0 {
                    self.tell(Input::RefetchEnds, Came::NoMore);
                }
            }
            30 => {
                if draw.below(16) == 0 {
                    self.tell(Input::Dispose, Came::Disposed);
                }
            }
            // Nobody published that: a sequence from anywhere.
            _ => {
                let sequence = self.source.saturating_add(draw.below(3));
                let reads = draw.reads();
                if reads != Reads::Well {
                    self.tell(Input::Update(sent(sequence, reads)), Came::Update(sequence, reads));
                }
            }
        }
    }

    /// The source has a new value; whether it is on its way, or lost.
    fn publish(&mut self, is_sent: bool) {
        let Some(next) = self.source.checked_add(1) else { return };
        self.source = next;
        if is_sent {
            self.way.push(next);
        }
    }

    /// One of what is on the way arrives: mostly the first, sometimes a later one; sometimes it stays, to arrive again;
    /// sometimes it is damaged.
    fn arrive(&mut self, mut draw: Draw<'_>) {
        if self.way.is_empty() {
            return;
        }
        let how = draw.below(16);
        let at = if how & 3 == 0 { draw.below(self.way.len() as u64) as usize } else { 0 };
        let sequence = if how & 12 == 4 { self.way[at] } else { self.way.remove(at) };
        let reads = if how & 12 == 12 { draw.reads() } else { Reads::Well };
        self.come(sequence, reads);
    }

    fn is_patch(&self, sequence: u64) -> bool {
        self.has_patches && !sequence.is_multiple_of(3)
    }

    fn come(&mut self, sequence: u64, reads: Reads) {
        if self.is_patch(sequence) {
            let schema = if reads == Reads::Skewed { "3.0" } else { "2.7" };
            let update = Update::new(sequence, patch(sequence, reads)).schema(schema);
            self.tell(Input::Patch(update), Came::Patch(sequence, reads));
        } else {
            self.tell(Input::Update(sent(sequence, reads)), Came::Update(sequence, reads));
        }
    }

    /// The refetch in flight comes to its end.
    fn land(&mut self, mut draw: Draw<'_>) {
        let Some((number, read)) = self.flight else { return };
        let (input, came) = match draw.below(8) {
            0 => (Input::RefetchFailed(number, Arc::from("gone")), Came::Failed),
            1 => (Input::Refetched(number, None), Came::Refetched(None)),
            2 => {
                let reads = draw.reads();
                (Input::Refetched(number, Some(sent(read, reads))), Came::Refetched(Some((read, reads))))
            }
            // It was read late.
            3 => {
                let now = self.source;
                (Input::Refetched(number, Some(sent(now, Reads::Well))), Came::Refetched(Some((now, Reads::Well))))
            }
            _ => (Input::Refetched(number, Some(sent(read, Reads::Well))), Came::Refetched(Some((read, Reads::Well)))),
        };
        self.stray = Some(number);
        self.tell(input, came);
    }

    fn tell(&mut self, input: Input<u64>, came: Came) {
        let before = self.reconciler.snapshot();
        let decided = self.reconciler.take(&input);
        let begun = self.model.begun;
        let should = self.model.told(came);
        let after = self.reconciler.snapshot();
        assert_eq!(decided.decision, should, "the decision on {came:?} (left) and the model's (right)");
        let stands = (after.value.as_deref().copied(), after.sequence, after.status, after.is_refetching);
        assert_eq!(stands, self.model.stands(), "after {came:?}: the reconciler (left) and the model (right)");
        assert_eq!(decided.refetch, (self.model.begun > begun).then_some(self.model.begun), "what {came:?} begins");
        *self.seen.entry(name(decided.decision)).or_default() += 1;
        if let Came::Patch(..) = came {
            *self.seen.entry(patch_name(decided.decision)).or_default() += 1;
        }

        // It never goes backwards, but when it is told that the source counts anew.
        if !matches!(came, Came::Rebased) {
            assert!(after.sequence >= before.sequence, "{:?} after {:?}", after.sequence, before.sequence);
        }
        // The value is the one of its sequence; who says live has one.
        assert!(after.sequence.is_none() || after.value.as_deref() == after.sequence.as_ref());
        assert!(after.status != Status::Live || after.sequence.is_some());
        // One refetch at a time.
        if let Some(number) = decided.refetch {
            let goes_on = self.flight.is_some() && before.is_refetching;
            assert!(!goes_on || matches!(came, Came::Refetched(_) | Came::Failed | Came::Rebased), "two at once");
            assert!(self.stray.is_none_or(|stray| number > stray), "a number is used once");
            self.flight = Some((number, self.source));
        } else if !after.is_refetching {
            self.flight = None;
        }
        // Nothing of what was counted is taken back, and after the end nothing is counted.
        let (was, is) = (before.statistics, after.statistics);
        assert!(is.applied >= was.applied && is.ignored >= was.ignored && is.gaps >= was.gaps);
        if before.is_disposed {
            assert_eq!((is, after.value), (was, before.value));
        }
    }

    /// From now on everything arrives: what is on the way, one more value, and what is refetched.
    fn mend(&mut self) {
        for sequence in std::mem::take(&mut self.way) {
            self.come(sequence, Reads::Well);
        }
        self.publish(true);
        let last = self.source;
        self.come(last, Reads::Well);
        for _ in 0..3 {
            if let Some((number, read)) = self.flight {
                let found = sent(read, Reads::Well);
                self.tell(Input::Refetched(number, Some(found)), Came::Refetched(Some((read, Reads::Well))));
            }
        }
        let end = self.reconciler.snapshot();
        assert!(!end.is_refetching, "refetches do not lead to refetches for ever");
        if end.is_disposed {
            *self.seen.entry("disposed").or_default() += 1;
            return;
        }
        let whole = self.model.refetches || (self.model.applies_gaps && !self.is_patch(last));
        if whole {
            assert_eq!(end.value.as_deref(), Some(&last), "what the source has in the end");
            *self.seen.entry("converged").or_default() += 1;
        } else if end.sequence != Some(last) {
            assert_ne!(end.status, Status::Live, "who is behind does not say live");
            *self.seen.entry("stale").or_default() += 1;
        }
    }
}

fn patch_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Applied => "patch applied",
        Decision::Gap => "patch after a gap",
        Decision::Unparsed => "patch that does not fit",
        _ => "patch, another",
    }
}

fn name(decision: Decision) -> &'static str {
    match decision {
        Decision::Baseline => "baseline",
        Decision::Applied => "applied",
        Decision::AppliedOverGap => "applied over a gap",
        Decision::Ignored => "ignored",
        Decision::Gap => "gap",
        Decision::SchemaSkew => "schema skew",
        Decision::Unparsed => "unparsed",
        Decision::Outdated => "outdated",
        Decision::NotRefetched => "not refetched",
        Decision::UnknownRefetch => "unknown refetch",
        Decision::Done => "done",
        Decision::Disposed => "told after the end",
        _ => "something new",
    }
}
