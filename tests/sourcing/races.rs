//! Several threads decide on the same aggregate.

use std::sync::Barrier;
use std::thread;

use annals::Log;
use annals::sourcing::{Aggregates, DecideError};
use annals::store::block_on;

use crate::bank::{Account, No, deposit, withdraw};

const THREADS: usize = 4;

/// However many withdraw at once, there is never too little: what was decided on an older state is not appended.
#[test]
fn an_account_is_never_overdrawn() {
    for snapshots in [0, 1, 16] {
        let log = Log::new();
        let accounts = Aggregates::<Account>::new(log.clone()).snapshots(3, snapshots).attempts(u32::MAX);
        for id in ["a", "b"] {
            block_on(accounts.decide(id, deposit(1_000))).unwrap();
        }
        let barrier = Barrier::new(THREADS);
        let take = |_| {
            barrier.wait();
            let mut taken = 0;
            loop {
                let results = ["a", "b"].map(|id| block_on(accounts.decide(id, withdraw(3))));
                for result in &results {
                    match result {
                        Ok(decided) => {
                            assert_eq!(decided.state.cents + 3 * (decided.state.moves - 1), 1_000);
                            taken += 3;
                        }
                        Err(DecideError::Refused(No::TooLittle(left))) => assert_eq!(*left, 1),
                        Err(other) => panic!("{other}"),
                    }
                }
                if results.iter().all(Result::is_err) {
                    return taken;
                }
            }
        };
        let taken: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || take(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 2 * 999);
        assert_eq!(log.end(), 2 + 2 * 333);
    }
}

/// Each of many commands is sent by every thread: each is carried out once.
#[test]
fn each_command_is_carried_out_once() {
    const COMMANDS: u64 = 64;
    let log = Log::builder().indexes(annals::Indexes::new().message_ids()).build().unwrap();
    let accounts = Aggregates::<Account>::new(log.clone()).snapshots(8, 4).attempts(u32::MAX);
    let barrier = Barrier::new(THREADS);
    let carried_out: usize = thread::scope(|scope| {
        let send = || {
            barrier.wait();
            let send = |n: &u64| !block_on(accounts.decide_once("a", &n.to_string(), deposit(1))).unwrap().repeated;
            (0..COMMANDS).filter(send).count()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(carried_out as u64, COMMANDS);
    assert_eq!(block_on(accounts.load("a")).unwrap().state.cents, COMMANDS);
    assert_eq!(log.end(), COMMANDS);
}
