//! Any bytes are what is asked of a JSON payload and the payload (see `tests/json/filter.rs`): a log must find it exactly
//! when a naive evaluator does.
#![no_main]

#[path = "../../tests/json/filter.rs"]
mod filter;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| filter::check_bytes(bytes));
