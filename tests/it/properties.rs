//! Random programs: whatever is done to a log by one thread, it cannot be told from the model (L1, L2, L4, L5, L7, L8).

use proptest::array::uniform22;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

use crate::lockstep;
use crate::program::{CHUNK, HEAD, Program};

/// Programs of whole chunks: leaving out a chunk makes a smaller program, which is how failures are made small.
fn programs() -> impl Strategy<Value = Program> {
    (any::<[u8; HEAD]>(), vec(uniform22(any::<u8>()), 0..60)).prop_map(|(head, operations)| {
        let operations: &[[u8; CHUNK]] = &operations;
        Program::decode(&[head.as_slice(), operations.as_flattened()].concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(800) })]

    /// L1, L2, L4, L5, L7, L8: log and model give the same answers, and show the same log after every operation.
    #[test]
    fn a_log_cannot_be_told_from_the_model(program in programs()) {
        lockstep::run(&program);
    }

    /// Every byte string is a program, so what a fuzzer writes is never rejected.
    #[test]
    fn every_byte_string_is_a_program(bytes in vec(any::<u8>(), 0..200)) {
        let program = Program::decode(&bytes);
        prop_assert_eq!(program.operations.len(), bytes.len().saturating_sub(HEAD).div_ceil(CHUNK));
        lockstep::run(&program);
    }
}
