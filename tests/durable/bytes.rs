//! Files of any bytes, see `segment`: those that the fuzzer has found, and real ones with changes.

use std::path::Path;

use annals::Ack;

use crate::crash_check::Run;
use crate::crash_disk::{CrashDisk, Dice};
use crate::segment::{MOST, file, run};

/// What stands for the file of a real log, closed or killed, with some records.
fn real(records: usize, bytes: usize, closed: bool) -> Vec<u8> {
    let disk = CrashDisk::new();
    let log = Run::new(&disk, bytes);
    (0..records).for_each(|n| if n % 4 == 3 { log.batch(2, Ack::Written) } else { log.one(Ack::Synced) });
    let killed = disk.model().shown();
    drop(log.finish());
    let image = if closed { disk.model().shown() } else { killed };
    let (_, file) = image.first_key_value().expect("a file");
    let how = if closed { 15 } else { 3 };
    [&[how], &file[96..]].concat()
}

/// A real file is one that opens, with its records: so what is made of it is near one.
#[test]
fn real_files_are_valid() {
    for closed in [false, true] {
        let bytes = real(9, 40, closed);
        let image = [("0000000000000001.seg".to_owned(), file(&bytes).into())].into();
        let log = crate::crash_check::open(&CrashDisk::of(&image), crate::crash_check::options()).unwrap();
        assert_eq!((log.end().get(), log.read().iter().count()), (11, 11));
        assert_ne!(log.journal().unwrap().recovered().unclean, closed);
        run(&bytes);
    }
}

/// Real files with some bytes changed, checksums put right or not.
#[test]
fn changed_files() {
    let mut dice = Dice(1);
    let samples: Vec<Vec<u8>> = (1..13).map(|n| real(n, 20 * n, n % 2 == 0)).collect();
    for _ in 0..1_500 {
        let mut bytes = samples[dice.below(samples.len())].clone();
        if dice.below(4) == 0 {
            bytes[0] = dice.roll().to_le_bytes()[0];
        }
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len());
            match dice.below(6) {
                0 => bytes.truncate(at + 1),
                1 => drop(bytes.drain(at..)),
                2 => bytes.insert(at, dice.roll().to_le_bytes()[0]),
                3 => bytes[at] = [0, 1, 127, 128, 255][dice.below(5)],
                _ => bytes[at] ^= 1 << dice.below(8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let text = format!("{bytes:?}");
        assert!(std::panic::catch_unwind(|| run(&bytes)).is_ok(), "{text}");
    }
}

/// The fuzzer's corpus.
#[test]
fn the_corpus_of_the_fuzzer() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/segment");
    if !corpus.exists() {
        // The published package leaves the fuzzer out.
        return;
    }
    let files: Vec<_> = corpus.read_dir().expect("the corpus is there").collect();
    assert!(files.len() >= 10, "the corpus is there");
    for file in files {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
        if bytes.len() <= MOST {
            run(&bytes);
        }
    }
}

/// Writes the files that the corpus begins with.
#[test]
#[ignore = "writes to the corpus"]
fn write_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/segment");
    std::fs::create_dir_all(&corpus).unwrap();
    for n in 1..7 {
        for closed in [false, true] {
            let mut bytes = real(n * n, 10 * n, closed);
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
            bytes.truncate(if closed { bytes.len() } else { used + 20 });
            std::fs::write(corpus.join(format!("real_{n}_{closed}")), bytes).unwrap();
        }
    }
}
