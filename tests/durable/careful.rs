//! Who sees only what is safe: sequential subscribers by default, followers if they ask for it.

use std::sync::mpsc;
use std::time::Duration;

use annals::durable::Options;
use annals::{Ack, AppendOptions, Followed, Log, Message, NothingYet, Position};

use crate::basics::directory;
use crate::crash_disk::{CrashDisk, Fault, Kind};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn event() -> Message<'static> {
    Message::event("E", "").unwrap()
}

fn unsynced() -> AppendOptions<'static> {
    AppendOptions::new().acknowledge(Ack::Memory)
}

/// A log that syncs by itself only when asked.
fn log(disk: &CrashDisk, ack: Ack) -> Log {
    let options = Options::new().acknowledge(ack).sync_every(Duration::from_secs(3600));
    Log::builder().open_on(disk.clone(), options).unwrap()
}

/// A sequential subscriber gets what the disk has, even when the append itself would not wait for it; an observer gets it at
/// once.
#[test]
fn a_subscriber_gets_what_the_disk_has() {
    let disk = CrashDisk::new();
    let log = log(&disk, Ack::Synced);
    let (told, met) = mpsc::channel();
    let journal = || log.journal().unwrap().synced();
    let subscriber = {
        let (log, told) = (log.clone(), told);
        let weak = log.clone();
        log.subscribe(move |envelope: &annals::Envelope| {
            told.send((envelope.position(), weak.journal().unwrap().synced())).unwrap();
        })
        .unwrap()
    };
    log.append("s", event()).unwrap();
    log.append_with("s", event(), unsynced()).unwrap();
    log.append_with("s", event(), unsynced().stored()).unwrap();
    for n in 1..=3 {
        let (position, synced) = met.recv_timeout(PATIENCE).unwrap();
        assert_eq!(position, n);
        assert!(synced >= position, "{position} was delivered when the disk had {synced}");
    }
    assert!(journal() >= Position::new(3));
    subscriber.close();
}

/// In a log whose appends wait for nothing, subscribers wait for nothing either, unless they ask for it.
#[test]
fn a_subscriber_may_ask_for_what_the_disk_has() {
    let disk = CrashDisk::new();
    let log = log(&disk, Ack::Memory);
    let (told, met) = mpsc::channel();
    let subscriptions = [Ack::Memory, Ack::Synced].map(|ack| {
        let (told, log) = (told.clone(), log.clone());
        let feed = log.clone().feed().at_least(ack);
        feed.subscribe(move |envelope: &annals::Envelope| {
            told.send((ack, log.journal().unwrap().synced() >= envelope.position())).unwrap();
        })
        .unwrap()
    });
    log.append("s", event()).unwrap();
    assert_eq!(met.recv_timeout(PATIENCE).unwrap(), (Ack::Memory, false));
    assert_eq!(met.recv_timeout(PATIENCE).unwrap(), (Ack::Synced, true));
    for subscription in subscriptions {
        subscription.close();
    }
}

/// A follower that asks for what the disk has, of the log or of a stream, gets nothing else, and is woken when the disk has it.
#[test]
fn a_follower_waits_for_the_disk() {
    let disk = CrashDisk::new();
    let log = log(&disk, Ack::Memory);
    let stream = log.stream("s").unwrap();
    let feeds = [log.feed(), stream.feed()];
    let mut followers = feeds.map(|feed| feed.from_beginning().at_least(Ack::Synced).follow());
    let mut all = log.feed().from_beginning().follow();
    stream.append(event()).unwrap();
    assert!(matches!(all.try_next(), Ok(Followed::Envelope(_))));
    for follower in &mut followers {
        assert!(matches!(follower.try_next(), Ok(Followed::CaughtUp(position)) if position == 0));
        assert_eq!(follower.try_next().unwrap_err(), NothingYet::Empty);
    }
    let waiting = followers.map(|mut follower| std::thread::spawn(move || (follower.wait(), follower)));
    log.sync().unwrap();
    for waiting in waiting {
        let (met, follower) = waiting.join().unwrap();
        assert!(matches!(met, Some(Followed::Envelope(envelope)) if envelope.position() == 1));
        drop(follower);
    }
}

/// When the disk fails, who waits for it is told, and does not wait for ever.
#[test]
fn a_follower_of_a_log_that_stopped_is_told() {
    let disk = CrashDisk::new();
    let log = log(&disk, Ack::Memory);
    let mut follower = log.feed().at_least(Ack::Synced).follow();
    assert!(matches!(follower.try_next(), Ok(Followed::CaughtUp(_))));
    log.append("s", event()).unwrap();
    let waiting = std::thread::spawn(move || follower.wait());
    disk.fail(Fault { forever: true, ..Fault::nth(Kind::Sync, 0) });
    log.sync().unwrap_err();
    assert!(matches!(waiting.join().unwrap(), Some(Followed::Unreadable(_))));
}

/// On a real disk, with the settings of whoever sets none.
#[test]
fn subscribers_of_a_directory_get_everything_once() {
    let there = directory();
    let (told, met) = mpsc::channel();
    let log = Log::open(there.path()).unwrap();
    let subscription = {
        let told = told.clone();
        log.subscribe(move |envelope: &annals::Envelope| told.send(envelope.position().get()).unwrap()).unwrap()
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..25).for_each(|_| _ = log.append("s", event()).unwrap()));
        }
    });
    subscription.close();
    drop(told);
    assert_eq!(met.try_iter().collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
}
