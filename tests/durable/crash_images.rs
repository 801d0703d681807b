//! What a power cut may leave of a disk: of the operations that were not synced none, all, those up to one, or any of the
//! sectors that they changed, in any of the states that they had, torn, zeros or garbage; with any length that a file had.

use std::collections::BTreeMap;
use std::fmt;

use crate::crash_disk::{Change, Dice, Image, Model, Node};

const SECTOR: usize = 512;
/// Of so many sectors every subset is tried, if there is room for that.
const FEW: usize = 10;

/// How an image was made.
#[derive(Clone, Copy)]
pub enum Cut {
    Nothing,
    Everything,
    /// The operations up to a place in the sequence.
    UpTo(u64),
    /// These of the changes of the directory, and all content.
    Names(u64),
    /// These sectors, as they were last; with or without the length.
    Sectors {
        mask: u64,
        long: bool,
    },
    /// The last write, up to a byte.
    Torn(usize),
    /// By dice that showed this.
    Any(u64),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "what was synced"),
            Self::Everything => write!(f, "everything"),
            Self::UpTo(at) => write!(f, "up to {at}"),
            Self::Names(mask) => write!(f, "names {mask:b}"),
            Self::Sectors { mask, long } => write!(f, "sectors {mask:b}, {}", if *long { "long" } else { "short" }),
            Self::Torn(byte) => write!(f, "the last write up to {byte}"),
            Self::Any(seed) => write!(f, "any, {seed}"),
        }
    }
}

/// A file with changes that are not safe.
struct Fork {
    node: usize,
    /// Its content after each of them, the safe one first.
    versions: Vec<Vec<u8>>,
    /// The bytes that were to be written.
    written: Vec<(usize, usize)>,
    /// The sectors that differ.
    sectors: Vec<usize>,
}

/// What becomes of a sector.
enum Fill {
    Version(usize),
    /// The first bytes of one version, the others of another.
    Torn(usize, usize, usize),
    Zeros,
    Garbage(Dice),
}

impl Fork {
    fn of(at: usize, node: &Node) -> Self {
        let (mut versions, mut written) = (vec![node.safe.clone()], Vec::new());
        for (_, change) in &node.pending {
            let mut next = versions.last().expect("the safe one").clone();
            change.apply(&mut next);
            versions.push(next);
            if let Change::Write(offset, bytes) = change {
                let offset = usize::try_from(*offset).expect("test files are small");
                written.push((offset, offset + bytes.len()));
            }
        }
        let end = versions.iter().map(Vec::len).max().unwrap_or_default();
        let differs = |sector: &usize| {
            let safe = sector_of(&versions[0], *sector);
            versions.iter().any(|version| sector_of(version, *sector) != safe)
        };
        let sectors = (0..end.div_ceil(SECTOR)).filter(differs).collect();
        Self { node: at, versions, written, sectors }
    }

    fn last(&self) -> usize {
        self.versions.len() - 1
    }

    fn bytes(&self, len: usize, mut fill: impl FnMut(usize) -> Fill) -> Vec<u8> {
        let mut bytes = self.versions[0].clone();
        bytes.resize(self.sectors.last().map_or(len, |last| len.max((last + 1) * SECTOR)), 0);
        for (which, sector) in self.sectors.iter().enumerate() {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(bytes.len()));
            let mut put = |from: usize, to: usize, version: usize| {
                let version = sector_of(&self.versions[version], *sector);
                bytes[from..to].copy_from_slice(&version[from - sector * SECTOR..to - sector * SECTOR]);
            };
            match fill(which) {
                Fill::Version(version) => put(from, to, version),
                Fill::Torn(cut, first, then) => {
                    put(from, to, then);
                    put(from, to.min(from + cut), first);
                }
                Fill::Zeros => self.each_written(from, to, |at| bytes[at] = 0),
                Fill::Garbage(mut dice) => self.each_written(from, to, |at| bytes[at] = dice.roll().to_le_bytes()[7]),
            }
        }
        bytes.resize(len, 0);
        bytes
    }

    fn each_written(&self, from: usize, to: usize, mut put: impl FnMut(usize)) {
        for (begin, end) in &self.written {
            (from.max(*begin)..to.min(*end)).for_each(&mut put);
        }
    }

    /// Any state that it may be in.
    fn any(&self, dice: &mut Dice) -> Vec<u8> {
        let lens: Vec<usize> = self.versions.iter().map(Vec::len).collect();
        let (least, most) = (lens.iter().min().expect("one"), lens.iter().max().expect("one"));
        let len = match dice.below(4) {
            0 => least + dice.below(most - least + 1),
            1 => *most,
            _ => lens[dice.below(lens.len())],
        };
        let temper = dice.below(4);
        let versions = self.versions.len();
        self.bytes(len, |_| match (temper, dice.below(8)) {
            (0, 0..4) => Fill::Zeros,
            (1, 0..4) => Fill::Garbage(Dice(dice.roll())),
            (2, 0..4) => Fill::Torn(dice.below(SECTOR), dice.below(versions), dice.below(versions)),
            (3, _) => Fill::Version(dice.below(versions)),
            _ => Fill::Version(if dice.below(2) == 0 { 0 } else { versions - 1 }),
        })
    }
}

/// A sector's bytes, zeros where there are none.
fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR] {
    let mut full = [0; SECTOR];
    let there = bytes.get(sector * SECTOR..).unwrap_or_default();
    let len = there.len().min(SECTOR);
    full[..len].copy_from_slice(&there[..len]);
    full
}

/// Up to about `limit` images, in each of these ways.
pub fn images(model: &Model, limit: usize, dice: &mut Dice) -> Vec<(Cut, Image)> {
    let mut images = vec![(Cut::Nothing, model.safe())];
    let forks: Vec<Fork> =
        model.nodes.iter().enumerate().filter(|(_, node)| !node.pending.is_empty()).map(fork).collect();
    if forks.is_empty() && model.pending.is_empty() {
        return images;
    }
    images.push((Cut::Everything, model.shown()));
    names(model, &mut images);
    up_to(model, limit / 4, dice, &mut images);
    sectors(model, &forks, limit / 2, dice, &mut images);
    torn(model, &forks, limit / 8, dice, &mut images);
    let left = limit.saturating_sub(images.len()).max(1);
    for _ in 0..left {
        let seed = dice.roll();
        images.push((Cut::Any(seed), any(model, &forks, &mut Dice(seed))));
    }
    images
}

fn fork((at, node): (usize, &Node)) -> Fork {
    Fork::of(at, node)
}

/// Each subset of the changes of the directory, when they are few.
fn names(model: &Model, images: &mut Vec<(Cut, Image)>) {
    let count = model.pending.len().min(5);
    for mask in 1..(1 << count) - 1 {
        let mut names = model.safe_names.clone();
        for (at, (_, change)) in model.pending.iter().enumerate() {
            if mask >> at.min(63) & 1 == 1 {
                change.apply(&mut names);
            }
        }
        images.push((Cut::Names(mask), model.image(&names, |node| node.cache.clone())));
    }
}

/// The operations up to each one.
fn up_to(model: &Model, limit: usize, dice: &mut Dice, images: &mut Vec<(Cut, Image)>) {
    let of_nodes = model.nodes.iter().flat_map(|node| node.pending.iter().map(|(at, _)| *at));
    let mut places: Vec<u64> = of_nodes.chain(model.pending.iter().map(|(at, _)| *at)).collect();
    places.sort_unstable();
    // The last one: everything.
    places.pop();
    while places.len() > limit.max(1) {
        places.swap_remove(dice.below(places.len()));
    }
    for place in places {
        let mut names = model.safe_names.clone();
        model.pending.iter().take_while(|(at, _)| *at <= place).for_each(|(_, change)| change.apply(&mut names));
        let image = model.image(&names, |node| {
            let mut bytes = node.safe.clone();
            node.pending.iter().take_while(|(at, _)| *at <= place).for_each(|(_, change)| change.apply(&mut bytes));
            bytes
        });
        images.push((Cut::UpTo(place), image));
    }
}

/// Any of the sectors, each as it was last.
fn sectors(model: &Model, forks: &[Fork], limit: usize, dice: &mut Dice, images: &mut Vec<(Cut, Image)>) {
    let count: usize = forks.iter().map(|fork| fork.sectors.len()).sum();
    let all = if count <= FEW { (1 << count) - 1 } else { u64::MAX };
    let is_every = all < limit as u64 / 2;
    let masks: Vec<u64> =
        if is_every { (0..=all).collect() } else { (0..limit / 2).map(|_| dice.roll() & all).collect() };
    for mask in masks {
        for long in [false, true] {
            let mut first = 0;
            let image = blend(model, &model.names, forks, |fork| {
                let len = fork.versions[if long { fork.last() } else { 0 }].len();
                let bytes = fork.bytes(len, |which| {
                    let chosen = mask.rotate_right(u32::try_from((first + which) % 64).expect("small")) & 1 == 1;
                    Fill::Version(if chosen { fork.last() } else { 0 })
                });
                first += fork.sectors.len();
                bytes
            });
            images.push((Cut::Sectors { mask, long }, image));
        }
    }
}

/// All but the end of the last write.
fn torn(model: &Model, forks: &[Fork], limit: usize, dice: &mut Dice, images: &mut Vec<(Cut, Image)>) {
    let last = forks
        .iter()
        .filter_map(|fork| model.nodes[fork.node].pending.last().map(|(at, change)| (at, fork.node, change)));
    let Some((_, node, Change::Write(offset, bytes))) = last.max_by_key(|(at, ..)| **at) else { return };
    for _ in 0..limit.min(bytes.len()) {
        let cut = dice.below(bytes.len());
        let image = blend(model, &model.names, forks, |fork| {
            let last = fork.last();
            if fork.node != node {
                return fork.versions[last].clone();
            }
            let mut before = fork.versions[last - 1].clone();
            Change::Write(*offset, bytes[..cut].into()).apply(&mut before);
            before
        });
        images.push((Cut::Torn(cut), image));
    }
}

/// Anything.
fn any(model: &Model, forks: &[Fork], dice: &mut Dice) -> Image {
    let mut names = model.safe_names.clone();
    for (_, change) in &model.pending {
        if dice.below(2) == 0 {
            change.apply(&mut names);
        }
    }
    blend(model, &names, forks, |fork| fork.any(dice))
}

fn blend(
    model: &Model,
    names: &BTreeMap<String, usize>,
    forks: &[Fork],
    mut of: impl FnMut(&Fork) -> Vec<u8>,
) -> Image {
    let mut forked: BTreeMap<usize, Vec<u8>> = forks.iter().map(|fork| (fork.node, of(fork))).collect();
    let mut content = |node: usize| forked.remove(&node).unwrap_or_else(|| model.nodes[node].safe.clone());
    names.iter().map(|(name, node)| (name.clone(), content(*node).into())).collect()
}

/// An image in a few words.
pub struct Summary<'i>(pub &'i Image);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, bytes)| {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            write!(f, "{name}: {} bytes, {used} used; ", bytes.len())
        })
    }
}

/// Every subset of a few sectors comes up, and nothing that was synced ever changes.
#[test]
fn images_are_of_what_was_not_synced() {
    use annals::durable::Storage;

    let disk = crate::crash_disk::CrashDisk::new();
    let file = disk.create("a").unwrap();
    Storage::sync(&disk).unwrap();
    file.write(&[1; 2048], 0).unwrap();
    file.sync().unwrap();
    file.write(&[2; 1024], 1024).unwrap();
    file.write(&[3; 512], 2048).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let found = images(&disk.model(), 400, &mut Dice(1));
    for (cut, image) in &found {
        let bytes = &image["a"];
        assert!(bytes[..1024].iter().all(|byte| *byte == 1), "{cut}");
        seen.insert((1024..2560).step_by(512).map(|at| bytes.get(at).copied()).collect::<Vec<_>>());
    }
    for state in 0..8 {
        let one = |bit: u8, old: u8, new: u8| Some(if state & bit == 0 { old } else { new });
        assert!(seen.contains(&vec![one(1, 1, 2), one(2, 1, 2), one(4, 0, 3)]), "{state}");
    }
    let any = seen.iter().flatten().flatten().any(|byte| *byte > 3);
    assert!(any, "no garbage among {} images", found.len());
}
