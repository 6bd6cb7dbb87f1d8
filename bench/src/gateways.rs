//! More and more gateways on one core: what each of them costs it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    load,
    publisher::{Publisher, To, publish_at},
    readers::{self, Shared},
    report::{Report, Row},
    target::{Hears, Kind, Target},
};

/// How long the last events may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Events to everyone, a reader at each gateway.
pub fn run(quick: bool, report: &mut Report) {
    let (counts, events) = match quick {
        true => (&[1, 3][..], 50),
        false => (&[1, 4, 16][..], 1_000),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for count in counts {
        runtime.block_on(once(*count, events, report));
    }
}

async fn once(gateways: u32, events: u64, report: &mut Report) {
    let mut target = Target::start(Kind::Apart);
    let mut doors = vec![target.http];
    doors.extend((1..gateways).map(|_| target.add_gateway()));
    let shared = Shared::new();
    let mut reading = tokio::task::JoinSet::new();
    for (user, door) in (0..).zip(doors) {
        let request = (user, target.stream_request(user, Hears::Everyone, None));
        let (open, _) = readers::connect(door, vec![request], 1, "event: opened\n").await;
        for stream in open {
            reading.spawn(readers::read(stream, shared.clone()));
        }
    }
    let publisher = Publisher::connect(&target).await;
    let cpu = target.cpu();
    publish_at(&publisher, &shared, 100.0, 0..events, |_| To::Everyone).await;
    let expected = u64::from(gateways) * events;
    let received = || shared.received.load(Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while received() < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cpu = target.cpu_since(&cpu);
    shared.stop.cancel();
    let mut repeated = 0;
    while let Some(done) = reading.join_next().await {
        repeated += done.expect("no panic").record.repeated;
    }
    if received() != expected || repeated > 0 {
        report.fail(format!(
            "{gateways} gateways: {} of {expected} came, {repeated} repeated",
            received()
        ));
    }
    report.check_alive(&mut target);
    let of = |name: &str| {
        let of = cpu.iter().filter(|(process, _)| *process == name);
        load::micros(of.map(|(_, time)| *time).sum()) / events as f64
    };
    report.row(
        Row::new(&format!("{gateways} gateways"))
            .with("core's CPU µs an event", of("core"))
            .with("each gateway's", of("gateway") / f64::from(gateways)),
    );
}
