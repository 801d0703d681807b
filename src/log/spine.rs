//! How to get from one end of a chain to any link of it in O(log n) steps, without a table.
//!
//! Segments of the log and blocks of a stream's index are chains that grow at one end and are cut at the other. A table
//! of pointers to their links would have to grow, be copied, and shrink, all while it is read. Instead every link holds,
//! beside its predecessor, a *jump* to an earlier link, fixed when it is made: the scheme of Myers, "An applicative
//! random-access stack" (1983). Which link is jumped to depends on the number of the link alone, so racing makers agree.
//!
//! Links before the first one that is still there have been freed, and pointers to them dangle. They are never followed:
//! a search has a target that is still there, and neither `prev` nor a taken `jump` goes further back than the target.

/// A link of a chain.
pub(crate) trait Link {
    /// Its place in the chain: 0, 1, 2, …
    fn number(&self) -> u64;
    /// The link with the number before; dangling or null when that one is gone.
    fn prev(&self) -> *mut Self;
    /// The link with the number `jump_number()`; dangling or null when that one is gone.
    fn jump(&self) -> *mut Self;
    /// `jump_of(self.number())`.
    fn jump_number(&self) -> u64;
}

/// The number that link `number` jumps to: `number` less the last digit of its skew-binary form, whose digits weigh
/// 2^k − 1. Link 0 jumps to itself.
pub(crate) fn jump_of(number: u64) -> u64 {
    let mut rest = number;
    let mut weight = 0;
    while rest > 0 {
        // The largest 2^k − 1 that fits.
        weight = u64::MAX >> (rest.saturating_add(1).leading_zeros() + 1);
        rest -= weight;
    }
    number - weight
}

/// The link with number `target`, found from the later link `from`.
///
/// # Safety
/// `from` and every link from `target` to `from` stay allocated during the call, and `target` is not greater than the
/// number of `from`.
pub(crate) unsafe fn find<L: Link>(from: *mut L, target: u64) -> *mut L {
    let mut at = from;
    loop {
        // SAFETY: `at` is `from` or was reached by a step that does not pass `target`; the caller keeps those allocated.
        let link = unsafe { &*at };
        debug_assert!(link.number() >= target, "a search never passes its target");
        if link.number() == target {
            return at;
        }
        at = if link.jump_number() >= target { link.jump() } else { link.prev() };
    }
}

#[cfg(test)]
mod tests {
    use super::jump_of;

    #[test]
    fn jumps_follow_the_rule_of_myers() {
        // The next link jumps to the jump of the jump when both are equally long, else to its predecessor.
        for number in 1..100_000u64 {
            let before = number - 1;
            let (first, second) = (jump_of(before), jump_of(jump_of(before)));
            let equal = before - first == first - second && before > 0;
            let expected = if equal { second } else { before };
            assert_eq!(jump_of(number), expected, "link {number}");
        }
    }

    #[test]
    fn searches_take_few_steps() {
        for from in [1u64, 10, 1_000, 1 << 20, (1 << 20) + 12_345, (1 << 40) - 1] {
            for target in [0, 1, from / 3, from / 2, from - 1] {
                let (mut at, mut steps) = (from, 0);
                while at > target {
                    at = if jump_of(at) >= target { jump_of(at) } else { at - 1 };
                    steps += 1;
                }
                assert_eq!(at, target);
                assert!(steps <= 3 * (64 - from.leading_zeros()), "{steps} steps from {from} to {target}");
            }
        }
    }
}
