//! Two victims: the first one is frozen somewhere in its operation, the second one then at many positions of its own.

use std::time::Instant;

use crate::position::{Crash, Move};
use crate::scene::Scene;
use crate::sweep::{Case, Extent, Row, length, sweep};

/// A small random number generator: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// At `extent.most` positions for each of `firsts` places of the first victim.
pub fn run(case: &mut Case, firsts: u64, extent: Extent) -> Row {
    let started = Instant::now();
    let mut row = Row::default();
    let mut scene = Some((case.scene)());
    if let Err(Crash(stop)) = sample(case, &mut scene, firsts, extent, &mut row) {
        eprintln!("frozen: {}: a victim came to {stop:?}", case.name);
        row.failed += 1;
    }
    row.microseconds = started.elapsed().as_micros() as u64;
    row
}

fn sample(case: &mut Case, scene: &mut Option<Scene>, firsts: u64, extent: Extent, row: &mut Row) -> Result<(), Crash> {
    let lengths = [length(scene, &[], 0, extent.longest)?, length(scene, &[], 1, extent.longest)?];
    row.instructions = lengths[0] + lengths[1];
    row.left_out = lengths.iter().any(|length| *length >= extent.longest);
    if row.left_out {
        return Ok(());
    }
    let mut random = Random(extent.seed);
    for _ in 0..firsts {
        case.before = vec![Move::Step(0, random.next() % lengths[0])];
        row.instructions = length(scene, &case.before, 1, u64::MAX)?;
        sweep(case, scene, Extent { seed: random.next(), ..extent }, row)?;
    }
    row.instructions += lengths[0];
    Ok(())
}
