//! One log at a time in a directory; and what else is in it stays as it is.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use annals::durable::{Directory, Flaw, OpenError, Storage};
use annals::{Log, Message};

use crate::basics::{directory, small};
use crate::crash_check::{open, options};
use crate::crash_disk::CrashDisk;

/// Where the child process opens its log.
const CHILD: &str = "ANNALS_TEST_LOCKS";

fn event() -> Message<'static> {
    Message::event("E", vec![b'x'; 1000]).unwrap()
}

fn filled(directory: &Path, count: u64) -> Log {
    let log = Log::builder().open(directory, small()).unwrap();
    (0..count).for_each(|_| drop(log.append("s", event()).unwrap()));
    log
}

/// All that is in a directory, but for the file of the lock.
fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = directory
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock")
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

fn holder(directory: &Path) -> String {
    match Log::builder().open(directory, small()) {
        Err(OpenError::Locked { directory: named, holder, .. }) => {
            assert_eq!(*named, *directory.display().to_string());
            holder.into()
        }
        other => panic!("{other:?}"),
    }
}

/// Who opens a log a second time is told who has it, and changes nothing; when the last handle is gone it opens.
#[test]
fn a_log_is_open_once() {
    let there = directory();
    let log = filled(there.path(), 3);
    let other_handle = log.clone();
    let before = contents(there.path());
    assert_eq!(holder(there.path()), format!("process {}", std::process::id()));
    drop(log);
    assert_eq!(holder(there.path()), format!("process {}", std::process::id()));
    assert_eq!(contents(there.path()), before);
    drop(other_handle);
    assert_eq!(Log::builder().open(there.path(), small()).unwrap().end(), 3);
}

/// The same in memory.
#[test]
fn a_disk_in_memory_is_open_once() {
    let disk = CrashDisk::new();
    let log = open(&disk, options()).unwrap();
    assert!(matches!(open(&disk, options()), Err(OpenError::Locked { .. })));
    drop(log);
    open(&disk, options()).unwrap();
}

/// What the child of the next test does: opens a log, says so, and has it until it is told to end, or killed.
#[test]
fn child_that_has_a_log() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let _log = filled(Path::new(&path), 2);
    println!("\nopen");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Another process that has the log keeps this one out, until it ends or is killed.
#[test]
fn another_process_has_the_log() {
    for kill in [false, true] {
        let there = directory();
        let mut child = Command::new(std::env::current_exe().expect("a test knows its executable"))
            .args(["--exact", "locks::child_that_has_a_log", "--nocapture"])
            .env(CHILD, there.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts again");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert!(lines.any(|line| line.expect("the child writes text") == "open"));
        assert_eq!(holder(there.path()), format!("process {}", child.id()));
        if kill {
            child.kill().unwrap();
        } else {
            writeln!(child.stdin.take().expect("it is piped")).unwrap();
        }
        lines.for_each(drop);
        child.wait().unwrap();
        let log = Log::builder().open(there.path(), small()).unwrap();
        let recovered = log.journal().unwrap().recovered();
        assert_eq!((log.end().get(), recovered.unclean), (2, kill));
    }
}

/// A file of a format that is newer is refused, and everything is left as it is.
#[test]
fn a_newer_format_is_refused() {
    let there = directory();
    drop(filled(there.path(), 10));
    let (name, mut bytes) = contents(there.path()).pop().unwrap();
    bytes[8] = 9;
    std::fs::write(there.path().join(&name), bytes).unwrap();
    let before = contents(there.path());
    match Log::builder().open(there.path(), small()) {
        Err(OpenError::Newer { file, version, known, .. }) => assert_eq!((&*file, version, known), (&*name, 9, 1)),
        other => panic!("{other:?}"),
    }
    assert_eq!(contents(there.path()), before);
}

/// What is no file of the log is not looked at, whatever it is called, and stays.
#[test]
fn foreign_files_stay() {
    let there = directory();
    let path = there.path();
    drop(filled(path, 10));
    let ours = contents(path);
    for name in
        ["notes.txt", "1.seg", "00000000000000001.seg", "000000000000000x.seg", "0000000000000001.seg.bak", ".seg"]
    {
        std::fs::write(path.join(name), "not a log").unwrap();
    }
    for name in ["0000000000000099.seg", "0000000000000099.new", "directory"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(path.join("notes.txt"), path.join("0000000000000098.seg")).unwrap();
        std::os::unix::fs::symlink(path.join("nowhere"), path.join("0000000000000097.seg")).unwrap();
        std::os::unix::fs::symlink(path.join("nowhere"), path.join("0000000000000097.new")).unwrap();
    }
    let before = contents(path);
    let log = Log::builder().open(path, small()).unwrap();
    assert_eq!((log.end().get(), log.read().iter().count()), (10, 10));
    drop(log);
    assert_eq!(contents(path), before);
    let log = filled(path, 10);
    log.truncate_before(18);
    drop(log);
    let after = contents(path);
    let is_ours = |name: &str| ours.iter().any(|(own, _)| own == name);
    for (name, bytes) in before.iter().filter(|(name, _)| !is_ours(name)) {
        assert!(after.contains(&(name.clone(), bytes.clone())), "{name} has changed");
    }
}

/// A file that was being made when power failed is made again.
#[test]
fn an_unfinished_file_is_made_again() {
    let there = directory();
    drop(filled(there.path(), 3));
    let last = contents(there.path()).len() + 1;
    std::fs::write(there.path().join(format!("{last:016}.new")), [7; 300]).unwrap();
    let log = filled(there.path(), 10);
    assert!(log.journal().unwrap().recovered().unclean);
    assert_eq!(log.read().iter().count(), 13);
    drop(log);
    assert!(contents(there.path()).iter().all(|(name, _)| !name.contains(".new")));
}

/// Numbers with a gap, and a copy of a file under another number, are refused; nothing is changed.
#[test]
fn gaps_and_copies_are_refused() {
    let there = directory();
    let path = there.path();
    drop(filled(path, 20));
    let names: Vec<String> = contents(path).into_iter().map(|(name, _)| name).collect();
    assert!(names.len() > 3);
    let damage = |expected: (&str, Flaw)| {
        let before = contents(path);
        match Log::builder().open(path, small()) {
            Err(OpenError::Damaged(damage)) => assert_eq!((&*damage.file, damage.flaw), expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(path), before);
    };
    let copy = format!("{:016}.seg", names.len() + 1);
    std::fs::copy(path.join(&names[0]), path.join(&copy)).unwrap();
    damage((&copy, Flaw::Foreign));
    std::fs::remove_file(path.join(&copy)).unwrap();
    std::fs::rename(path.join(&names[1]), path.join("away")).unwrap();
    damage((&names[1], Flaw::Missing));
    std::fs::rename(path.join("away"), path.join(&names[1])).unwrap();
    assert_eq!(Log::builder().open(path, small()).unwrap().end(), 20);
}

/// Whoever locks the storage keeps logs out.
#[test]
fn a_directory_can_be_locked_by_hand() {
    let there = directory();
    let storage = Directory::create(there.path()).unwrap();
    let held = storage.lock().unwrap().unwrap_or_else(|holder| panic!("{holder}"));
    assert!(holder(there.path()).contains(&std::process::id().to_string()));
    drop(held);
    assert_eq!(Log::builder().open(there.path(), small()).unwrap().end(), 0);
}
