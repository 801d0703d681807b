//! Consumers on threads of their own: how fast they get what is appended, and how late.

use std::hint::{black_box, spin_loop};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Followed, Follower, Message, Name};
use hdrhistogram::Histogram;

use super::contention::{Latency, together};
use crate::load::timeless;
use crate::measure::{Group, MakeGroup, Sample};

/// Messages of one run.
const OPS: u64 = 300_000;
/// Places of those queues that are bounded.
const PLACES: usize = 1 << 16;
const TICK: Name = Name::from_static("Tick");

pub const ALL: [MakeGroup; 2] = [one_consumer, two_consumers];

/// Consumes until everything has come.
type Consume = Box<dyn FnOnce(u64) + Send>;
/// Produces so many messages.
type Produce = Box<dyn FnOnce(u64) + Send>;

/// One producer and its consumers, each on a thread of its own, from the first message to the last one consumed.
fn run(ops: u64, produce: Produce, consumers: Vec<Consume>) -> Sample {
    let workers: Vec<Produce> = std::iter::once(produce).chain(consumers).collect();
    together(workers, |work| work(ops)).0
}

fn follow(mut follower: Follower, ops: u64) {
    let mut count = 0;
    while count < ops {
        if let Some(Followed::Envelope(envelope)) = follower.wait() {
            black_box(envelope.payload());
            count += 1;
        }
    }
}

fn annals(consumers: usize) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let log = timeless();
        let followers: Vec<Consume> = (0..consumers)
            .map(|_| {
                let follower = log.follow();
                Box::new(move |ops| follow(follower, ops)) as Consume
            })
            .collect();
        let stream = log.stream("ticks").expect("the name is valid");
        let mut appender = log.appender();
        let produce = move |ops| {
            for n in 0..ops {
                let payload = u64::to_le_bytes(n);
                let message = Message::event(TICK, &payload).expect("it is valid");
                appender.append(&stream, message).expect("nothing is in the way");
            }
        };
        run(ops, Box::new(produce), followers)
    }
}

fn tokio_broadcast(consumers: usize) -> impl FnMut(u64) -> Sample {
    move |ops| {
        // As large as the run: a slow consumer would lose messages.
        let (sender, _) = tokio::sync::broadcast::channel(OPS as usize);
        let receive = |_| {
            let mut receiver = sender.subscribe();
            Box::new(move |ops: u64| (0..ops).for_each(|_| drop(black_box(receiver.blocking_recv().expect("it is there"))))) as Consume
        };
        let receivers = (0..consumers).map(receive).collect();
        let produce = move |ops| (0..ops).for_each(|n: u64| drop(sender.send(n)));
        run(ops, Box::new(produce), receivers)
    }
}

/// A channel for each consumer; the producer sends to all.
fn channels<S: Send + 'static, R: Send + 'static>(
    consumers: usize,
    make: impl Fn() -> (S, R) + 'static,
    send: impl Fn(&mut S, u64) + Send + Copy + 'static,
    receive: impl Fn(&mut R) -> u64 + Send + Copy + 'static,
) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let (mut senders, receivers): (Vec<S>, Vec<R>) = (0..consumers).map(|_| make()).unzip();
        let consume = |mut receiver: R| {
            Box::new(move |ops: u64| (0..ops).for_each(|_| drop(black_box(receive(&mut receiver))))) as Consume
        };
        let produce = move |ops| (0..ops).for_each(|n| senders.iter_mut().for_each(|sender| send(sender, n)));
        run(ops, Box::new(produce), receivers.into_iter().map(consume).collect())
    }
}

fn crossbeam(consumers: usize) -> impl FnMut(u64) -> Sample {
    let send = |sender: &mut crossbeam_channel::Sender<u64>, n| drop(sender.send(n));
    channels(consumers, crossbeam_channel::unbounded, send, |receiver: &mut crossbeam_channel::Receiver<u64>| {
        receiver.recv().expect("it comes")
    })
}

fn flume(consumers: usize) -> impl FnMut(u64) -> Sample {
    let send = |sender: &mut flume::Sender<u64>, n| drop(sender.send(n));
    channels(consumers, flume::unbounded, send, |receiver: &mut flume::Receiver<u64>| receiver.recv().expect("it comes"))
}

fn kanal(consumers: usize) -> impl FnMut(u64) -> Sample {
    let send = |sender: &mut kanal::Sender<u64>, n| drop(sender.send(n));
    channels(consumers, kanal::unbounded, send, |receiver: &mut kanal::Receiver<u64>| receiver.recv().expect("it comes"))
}

fn rtrb(consumers: usize) -> impl FnMut(u64) -> Sample {
    let send = |sender: &mut rtrb::Producer<u64>, n| {
        while sender.push(n).is_err() {
            thread::yield_now();
        }
    };
    let receive = |receiver: &mut rtrb::Consumer<u64>| loop {
        match receiver.pop() {
            Ok(n) => return n,
            Err(_) => spin_loop(),
        }
    };
    channels(consumers, || rtrb::RingBuffer::new(PLACES), send, receive)
}

fn bus(consumers: usize) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let mut bus = bus::Bus::new(PLACES);
        let receive = |_| {
            let mut receiver = bus.add_rx();
            Box::new(move |ops: u64| (0..ops).for_each(|_| drop(black_box(receiver.recv().expect("it comes"))))) as Consume
        };
        let receivers = (0..consumers).map(receive).collect();
        run(ops, Box::new(move |ops| (0..ops).for_each(|n: u64| bus.broadcast(n))), receivers)
    }
}

fn async_broadcast(consumers: usize) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let (sender, receiver) = async_broadcast::broadcast(PLACES);
        let receive = |_| {
            let mut receiver = receiver.new_receiver();
            Box::new(move |ops: u64| (0..ops).for_each(|_| drop(black_box(receiver.recv_blocking().expect("it comes"))))) as Consume
        };
        let receivers = (0..consumers).map(receive).collect();
        drop(receiver);
        run(ops, Box::new(move |ops| (0..ops).for_each(|n: u64| drop(sender.broadcast_blocking(n)))), receivers)
    }
}

/// Its consumers are threads of its own, which spin.
fn disruptor(consumers: usize) -> impl FnMut(u64) -> Sample {
    use disruptor::{BusySpin, Producer, build_single_producer};
    move |ops| {
        let handle = |event: &u64, _: disruptor::Sequence, _: bool| drop(black_box(*event));
        let builder = build_single_producer(PLACES, || 0u64, BusySpin).handle_events_with(handle);
        let produce = |mut producer: Box<dyn FnMut(u64) + Send>| {
            Box::new(move |ops| {
                (0..ops).for_each(&mut producer);
                // Dropping the producer waits until everything has been handled.
                drop(producer);
            }) as Produce
        };
        let producer: Box<dyn FnMut(u64) + Send> = if consumers == 1 {
            let mut producer = builder.build();
            Box::new(move |n| producer.publish(|event| *event = n))
        } else {
            let mut producer = builder.handle_events_with(handle).build();
            Box::new(move |n| producer.publish(|event| *event = n))
        };
        run(ops, produce(producer), Vec::new())
    }
}

fn group(title: &'static str, consumers: usize) -> Group {
    Group::new(title, OPS)
        .by_wall()
        .ours("annals, follower", annals(consumers))
        .rival("tokio broadcast", tokio_broadcast(consumers))
        .rival("crossbeam-channel", crossbeam(consumers))
        .rival("flume", flume(consumers))
        .rival("kanal", kanal(consumers))
        .rival("rtrb, spinning", rtrb(consumers))
        .rival("bus", bus(consumers))
        .rival("async-broadcast", async_broadcast(consumers))
        .rival("disruptor, spinning", disruptor(consumers))
}

fn one_consumer() -> Group {
    group("appended here, consumed on another thread", 1)
}

fn two_consumers() -> Group {
    group("appended here, consumed on two other threads", 2)
}

/// How late a message is on another thread, one at a time with pauses between. Times of the clock of the machine.
fn late(name: &'static str, pause: Duration, count: u64, mut send: impl FnMut(u64), receive: impl FnMut() -> u64 + Send) -> Latency {
    let start = Instant::now();
    let now = move || u64::try_from(start.elapsed().as_nanos()).expect("centuries");
    let times = thread::scope(|scope| {
        let mut receive = receive;
        let consumer = scope.spawn(move || {
            let mut times = Histogram::<u64>::new(3).expect("three digits are possible");
            for _ in 0..count {
                let sent = receive();
                times.record(now() - sent).expect("it grows");
            }
            times
        });
        for _ in 0..count {
            let until = Instant::now() + pause;
            if pause > Duration::from_micros(50) {
                thread::sleep(pause);
            }
            while Instant::now() < until {
                spin_loop();
            }
            send(now());
        }
        consumer.join().expect("nobody panics")
    });
    Latency { name, times }
}

fn number_of(followed: &Followed) -> Option<u64> {
    match followed {
        Followed::Envelope(envelope) => Some(u64::from_le_bytes(envelope.payload().try_into().expect("eight bytes"))),
        _ => None,
    }
}

fn appends(log: &annals::Log) -> impl FnMut(u64) + use<> {
    let stream = log.stream("ticks").expect("the name is valid");
    let mut appender = log.appender();
    move |n: u64| {
        let payload = n.to_le_bytes();
        let message = Message::event(TICK, &payload).expect("it is valid");
        appender.append(&stream, message).expect("nothing is in the way");
    }
}

/// Consumers that spin, then those that are parked.
pub fn latencies() -> Vec<Latency> {
    let (near, far) = (Duration::from_micros(5), Duration::from_millis(1));
    let log = timeless();
    let mut follower = log.follow();
    let spins = late("annals, follower spinning", near, 50_000, appends(&log), move || loop {
        match follower.try_next() {
            Ok(item) => if let Some(n) = number_of(&item) { return n },
            Err(_) => spin_loop(),
        }
    });
    let (sender, receiver) = crossbeam_channel::unbounded();
    let crossbeam_spins = late("crossbeam-channel, spinning", near, 50_000, |n| drop(sender.send(n)), move || loop {
        match receiver.try_recv() {
            Ok(n) => return n,
            Err(_) => spin_loop(),
        }
    });
    let log = timeless();
    let mut follower = log.follow();
    let parked = late("annals, follower parked", far, 2_000, appends(&log), move || loop {
        if let Some(n) = follower.wait().as_ref().and_then(number_of) {
            return n;
        }
    });
    let (sender, mut receiver) = tokio::sync::broadcast::channel(PLACES);
    let tokio_parked =
        late("tokio broadcast, parked", far, 2_000, |n| drop(sender.send(n)), move || receiver.blocking_recv().expect("it comes"));
    let (sender, receiver) = crossbeam_channel::unbounded();
    let crossbeam_parked =
        late("crossbeam-channel, parked", far, 2_000, |n| drop(sender.send(n)), move || receiver.recv().expect("it comes"));
    vec![spins, crossbeam_spins, parked, tokio_parked, crossbeam_parked]
}
