//! Smoke.
use annals::*;
#[test]
fn smoke() {
    let log = Log::builder().segment_slots(4).build().unwrap();
    for i in 0..100u64 {
        let s = format!("s-{}", i % 7);
        let a = log.append(&s, Message::event("E", &i.to_le_bytes()).unwrap()).unwrap();
        assert_eq!(a.position, i + 1);
        assert_eq!(a.revision, i / 7);
    }
    assert_eq!(log.read().iter().count(), 100);
    assert_eq!(log.read().backwards().iter().next().unwrap().position(), 100);
    for k in 0..7u64 {
        let v: Vec<_> = log.read_stream(&format!("s-{k}")).iter().map(|e| e.position().get() - 1).collect();
        assert_eq!(v, (0..100).filter(|i| i % 7 == k).collect::<Vec<_>>());
        let v: Vec<_> = log.read_stream(&format!("s-{k}")).backwards().iter().map(|e| e.position().get() - 1).collect();
        assert_eq!(v, (0..100).filter(|i| i % 7 == k).rev().collect::<Vec<_>>());
    }
    let held: Vec<_> = log.read().iter().collect();
    assert_eq!(log.truncate_before(50), 50);
    assert_eq!(log.read().iter().count(), 51);
    assert_eq!(log.read_stream("s-0").iter().count(), 8);
    log.maintain();
    println!("{}", log.unreturned_segments());
    assert_eq!(log.unreturned_segments(), 0);
    assert_eq!(held[3].payload(), 3u64.to_le_bytes());
    drop(log);
    assert_eq!(held[3].stream(), "s-3");
}
#[test]
fn threads() {
    let log = Log::builder().segment_slots(8).build().unwrap();
    std::thread::scope(|s| {
        for t in 0..4 {
            let log = &log;
            s.spawn(move || {
                for i in 0..20000u64 {
                    if i % 10 == 0 {
                        let mut b = Batch::new();
                        for k in 0..5 {
                            b = b.add(format!("x-{}", (i + k) % 3), Message::event("B", "").unwrap());
                        }
                        log.append_batch(b).unwrap();
                    } else {
                        log.append(
                            &format!("x-{}", i % 3),
                            Message::event("E", &[t as u8]).map(|m| m.into_owned()).unwrap(),
                        )
                        .unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(log.end(), 4 * (2000 * 5 + 18000));
    let mut next = std::collections::HashMap::new();
    for (i, e) in log.read().iter().enumerate() {
        assert_eq!(e.position(), i as u64 + 1);
        let n = next.entry(e.stream().to_owned()).or_insert(0);
        assert_eq!(e.revision(), *n);
        *n += 1;
    }
}
