//! The logs that cores can share: what a publish costs in each, and what one more core and one more
//! gateway add.

use std::time::Duration;

use mercurio_tests::{engine::Engine, nats::Nats, rabbitmq::RabbitMq};
use tempfile::TempDir;

use crate::{
    load,
    publisher::To,
    report::{Report, Row},
    target::{Hears, Kind, Target},
    throughput,
};

/// Publishers at once.
const PUBLISHERS: [usize; 3] = [1, 64, 1_024];

pub fn run(quick: bool, report: &mut Report) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    measure("embedded", None, quick, report);
    for (name, nodes) in [("JetStream, 1 replica", 1), ("JetStream, 3 replicas", 3)] {
        // The quick variant is about being alive.
        if quick && nodes > 1 {
            continue;
        }
        match Nats::start(nodes) {
            Some(nats) => measure(name, Some(&Engine::Nats(nats)), quick, report),
            None => eprintln!("{name}: no nats-server (tests/run installs it): left out"),
        }
    }
    if quick {
        return;
    }
    match runtime.block_on(RabbitMq::start(1)) {
        Some(rabbit) => measure(
            "RabbitMQ, 1 replica",
            Some(&Engine::RabbitMq(rabbit)),
            quick,
            report,
        ),
        None => eprintln!("no RabbitMQ (tests/run installs it): left out"),
    }
}

fn measure(name: &str, engine: Option<&Engine>, quick: bool, report: &mut Report) {
    let data = TempDir::new().expect("a temporary directory");
    let arguments = engine.map(Engine::args).unwrap_or_default();
    let mut target = Target::start_on(Kind::Apart, &data.path().join("data"), &arguments);
    // A stream that was just made has to find its leader first.
    throughput::measure(&target, 1, Duration::from_millis(500));
    let time = Duration::from_millis(if quick { 300 } else { 4_000 });
    for publishers in PUBLISHERS {
        let measured = throughput::measure(&target, publishers, time);
        report.row(
            Row::new(&format!("{name}: {publishers} publishers"))
                .with("acknowledged/s", measured.rate)
                .with("p50 ms", measured.p50)
                .with("p99 ms", measured.p99)
                .with("Mercurio's CPU µs each", measured.cpu),
        );
        if measured.rate == 0.0 {
            report.fail(format!("{name}: nothing was acknowledged"));
        }
    }
    latency(name, &mut target, quick, report);
    if let Some(engine) = engine.filter(|_| !quick) {
        // Each applies everything: what one more costs is one more applying, not one more log.
        target.add_core(&engine.args());
        let core = format!("{name}, one more core");
        latency(&core, &mut target, quick, report);
        target.add_gateway();
        let both = format!("{name}, one more core and gateway");
        latency(&both, &mut target, quick, report);
    }
    report.check_alive(&mut target);
}

/// From publish to browser, a hundred a second to one of a thousand users.
fn latency(name: &str, target: &mut Target, quick: bool, report: &mut Report) {
    let users = if quick { 50 } else { 1_000 };
    let put = load::Load {
        streams: (0..users).collect(),
        hears: Hears::Own,
        rate: 100.0,
        warm_up: if quick { 2 } else { 200 },
        events: if quick { 50 } else { 2_000 },
        to: |number, users| To::User((number.wrapping_mul(7_919) % u64::from(users)) as u32),
        users,
        stuck_every: None,
        settle: Duration::ZERO,
    };
    let outcome = load::run(target, &put);
    if outcome.lost() > 0 || outcome.repeated > 0 {
        report.fail(format!(
            "{name}: {} lost, {} repeated",
            outcome.lost(),
            outcome.repeated
        ));
    }
    let at = |quantile| outcome.latencies.value_at_quantile(quantile) as f64 / 1e6;
    report.row(
        Row::new(&format!("{name}: publish to browser, 100/s"))
            .with("p50 ms", at(0.5))
            .with("p99 ms", at(0.99))
            .with("Mercurio's CPU µs an event", outcome.cpu_per_event()),
    );
}
