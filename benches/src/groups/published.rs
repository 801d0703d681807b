//! Event stores that others have published: exact expectations, which is what they have in common.

use std::hint::black_box;

use crate::load::{ids, scattered};
use crate::measure::{Group, MakeGroup, Sample, time};
use crate::published::{ByHandle, ByName, Eventcore, Soaprs, Store, Tephra, Umadb};

/// Appends of one run.
const OPS: u64 = 100_000;
/// The same for stores that write files.
const FILE_OPS: u64 = 2_000;

pub const ALL: [MakeGroup; 5] = [memory_1, memory_1_000, memory_100_000, files_1, files_1_000];

/// Runs that open a store with one record in each stream, and append to the streams, not in order.
pub fn appends<S: Store>(streams: usize) -> impl FnMut(u64) -> Sample {
    refuses_what_is_stale::<S>();
    let names = ids(streams);
    move |ops| {
        let mut store = S::open();
        let mut streams: Vec<S::Stream> = names.iter().map(|name| store.stream(name)).collect();
        for stream in &mut streams {
            assert!(store.append(stream), "it is empty");
        }
        let sample = time(|| {
            for n in 0..ops {
                let which = scattered(n, streams.len());
                assert!(black_box(store.append(&mut streams[which])), "it is as known");
            }
        });
        drop(store);
        sample
    }
}

/// A store that lets a late writer through does less than is measured here, and is no rival.
fn refuses_what_is_stale<S: Store>() {
    let mut store = S::open();
    let (mut first, mut late) = (store.stream("account-000000"), store.stream("account-000000"));
    assert!(store.append(&mut first), "nobody was before");
    assert!(!store.append(&mut late), "somebody was before");
    assert!(store.append(&mut first), "nobody was in between");
}

fn memory(title: &'static str, streams: usize) -> Group {
    Group::new(title, OPS)
        .ours("annals, name", appends::<ByName>(streams))
        .ours("annals, handle", appends::<ByHandle>(streams))
        .rival("soaprs-memory", appends::<Soaprs>(streams))
        .rival("eventcore-memory, JSON", appends::<Eventcore>(streams))
}

pub fn memory_1() -> Group {
    memory("published stores in memory, exact expectation, 1 stream", 1)
}

pub fn memory_1_000() -> Group {
    memory("published stores in memory, exact expectation, 1,000 streams", 1_000)
}

pub fn memory_100_000() -> Group {
    memory("published stores in memory, exact expectation, 100,000 streams", 100_000)
}

/// By the clock on the wall: one of them hands over to a thread of its own, and the caller waits.
fn files(title: &'static str, streams: usize) -> Group {
    Group::new(title, FILE_OPS)
        .by_wall()
        .ours("annals, name, no file", appends::<ByName>(streams))
        .rival("tephra, files in tmpfs", appends::<Tephra>(streams))
        .rival("umadb-core, file in tmpfs", appends::<Umadb>(streams))
}

pub fn files_1() -> Group {
    files("published stores in files, exact expectation, 1 stream", 1)
}

pub fn files_1_000() -> Group {
    files("published stores in files, exact expectation, 1,000 streams", 1_000)
}
