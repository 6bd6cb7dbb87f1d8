//! The loads, and which targets get them.

use std::time::Duration;

use clap::ValueEnum as _;

use crate::{
    cluster, gateways,
    load::{self, Load, Outcome},
    publisher::To,
    report::Report,
    spread::thousands,
    stored, storm,
    target::{Hears, Kind, Target},
    throughput,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    Broadcast1k,
    Broadcast10k,
    Scale,
    Unicast,
    Mixed,
    Idle,
    Storm,
    Slow,
    Publish,
    Stored,
    Gateways,
    Cluster,
}

impl Workload {
    pub const ALL: [Self; 12] = [
        Self::Broadcast1k,
        Self::Broadcast10k,
        Self::Scale,
        Self::Unicast,
        Self::Mixed,
        Self::Idle,
        Self::Storm,
        Self::Slow,
        Self::Publish,
        Self::Stored,
        Self::Gateways,
        Self::Cluster,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Broadcast1k => "Broadcast to 1,000 streams",
            Self::Broadcast10k => "Broadcast to 10,000 streams",
            Self::Scale => "Broadcast to 100 up to 10,000 streams, 20,000 deliveries a second each",
            Self::Unicast => "Unicast among 5,000 users",
            Self::Mixed => {
                "Mixed: 90 % unicast, 10 % broadcast, a fifth of the users with three tabs"
            }
            Self::Idle => "15,000 idle streams",
            Self::Storm => "10,000 streams drop at once and resume, 100 missed entries each",
            Self::Slow => "A tenth of 1,000 readers is stuck",
            Self::Publish => "Durable publishing",
            Self::Stored => "What is stored: start, memory, history",
            Self::Gateways => "Gateways on one core",
            Self::Cluster => "Logs that cores share",
        }
    }

    /// As it is called on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("none is skipped");
        value.get_name().to_owned()
    }

    pub fn run(self, kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
        let rounds = if quick { 1 } else { rounds };
        // Where an event has thousands of readers, the disk's part of it can't be seen.
        let sees_the_disk = matches!(self, Self::Broadcast1k | Self::Unicast | Self::Mixed);
        let fits =
            |kind: &Kind| sees_the_disk || !matches!(kind, Kind::SafeFloor | Kind::GrpcFloor);
        let kinds: &Vec<Kind> = &kinds.iter().copied().filter(fits).collect();
        let load = match self {
            Self::Broadcast1k => broadcast(1_000, 20.0, 200),
            Self::Broadcast10k => broadcast(10_000, 2.0, 20),
            Self::Unicast => Load {
                streams: (0..5_000).collect(),
                hears: Hears::Own,
                rate: 1_000.0,
                warm_up: warm_up(1_000.0),
                events: 10_000,
                to: |number, users| {
                    To::User((number.wrapping_mul(7_919) % u64::from(users)) as u32)
                },
                users: 5_000,
                stuck_every: None,
                settle: SETTLE,
            },
            Self::Mixed => mixed(),
            Self::Idle => Load {
                events: 1,
                ..broadcast(15_000, 1.0, 1)
            },
            Self::Slow => return slow(kinds, rounds, quick, report),
            Self::Scale => return scale(kinds, quick, report),
            Self::Storm => return storm::run(kinds, rounds, quick, report),
            Self::Publish => return throughput::run(kinds, rounds, quick, report),
            Self::Stored => return stored::run(quick, report),
            Self::Gateways => return gateways::run(quick, report),
            Self::Cluster => return cluster::run(quick, report),
        };
        rounds_of(self.title(), &shrunk(load, quick), kinds, rounds, report);
    }
}

/// What servers may still do once all streams are open, before their memory is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// Events of the seconds in which processes do things for the first time.
fn warm_up(rate: f64) -> u64 {
    (rate * 3.0).ceil() as u64
}

fn broadcast(streams: u32, rate: f64, events: u64) -> Load {
    Load {
        streams: (0..streams).collect(),
        hears: Hears::Everyone,
        rate,
        warm_up: warm_up(rate),
        events,
        to: |_, _| To::Everyone,
        users: streams,
        stuck_every: None,
        settle: SETTLE,
    }
}

fn mixed() -> Load {
    let users = 5_000;
    let tabs = (0..users)
        .filter(|user| user % 5 == 0)
        .flat_map(|user| [user, user]);
    Load {
        streams: (0..users).chain(tabs).collect(),
        hears: Hears::Both,
        rate: 20.0,
        warm_up: warm_up(20.0),
        events: 200,
        to: |number, users| match number % 10 {
            0 => To::Everyone,
            _ => To::User((number.wrapping_mul(7_919) % u64::from(users)) as u32),
        },
        users,
        stuck_every: None,
        settle: SETTLE,
    }
}

/// A twentieth of its users, for a second or two.
fn shrunk(load: Load, quick: bool) -> Load {
    if !quick {
        return load;
    }
    let users = (load.users / 20).max(20);
    Load {
        streams: load
            .streams
            .into_iter()
            .filter(|user| *user < users)
            .collect(),
        warm_up: load.warm_up.min(2),
        events: (load.events / 10).clamp(1, 500),
        users,
        settle: Duration::ZERO,
        ..load
    }
}

fn rounds_of(title: &str, load: &Load, kinds: &[Kind], rounds: usize, report: &mut Report) {
    let mut all: Vec<(Kind, Vec<Outcome>)> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 0..rounds {
        // In turn, and not always in the same order.
        let count = all.len();
        for step in 0..count {
            let (kind, outcomes) = &mut all[(step + round) % count];
            let mut target = Target::start(*kind);
            let outcome = load::run(&mut target, load);
            report.check(title, *kind, &outcome);
            eprintln!(
                "  {:<24} {:>8} of {:>8}, {:>6.2} µs CPU a delivery, p50 {:>7.2} ms, p99 {:>7.2} ms, {:>6.2} KiB a stream",
                kind.name(),
                outcome.received,
                outcome.expected,
                outcome.cpu_per_delivery(),
                outcome.latencies.value_at_quantile(0.5) as f64 / 1e6,
                outcome.latencies.value_at_quantile(0.99) as f64 / 1e6,
                outcome.memory / 1024.0,
            );
            outcomes.push(outcome);
        }
    }
    report.add(title, load.streams.len(), &all);
}

/// Ten seconds of as many deliveries a second, to more and more streams.
fn scale(kinds: &[Kind], quick: bool, report: &mut Report) {
    for streams in [100, 1_000, 3_000, 10_000] {
        let rate = 20_000.0 / f64::from(streams);
        let load = broadcast(streams, rate, (10.0 * rate) as u64);
        let title = format!("To {} streams", thousands(u64::from(streams)));
        eprintln!("  {title}");
        rounds_of(&title, &shrunk(load, quick), kinds, 1, report);
    }
}

/// The same load with and without those who don't read: the others should not notice.
fn slow(kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
    let load = |stuck_every| Load {
        stuck_every,
        ..shrunk(broadcast(1_000, 20.0, 200), quick)
    };
    let kinds = kinds.iter().copied();
    let kinds: Vec<Kind> = kinds.filter(|kind| *kind != Kind::Floor).collect();
    for (title, stuck_every) in [("All read", None), ("A tenth does not read", Some(10))] {
        eprintln!("  {title}");
        rounds_of(title, &load(stuck_every), &kinds, rounds, report);
    }
}
