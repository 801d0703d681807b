//! Any bytes are the file of a log (see `tests/durable/segment.rs`): it opens, or says what is wrong; what opens goes on.
#![no_main]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/durable/crash_disk.rs"]
mod crash_disk;
#[path = "../../tests/durable/segment.rs"]
mod segment;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if bytes.len() <= segment::MOST {
        segment::run(bytes);
    }
});
