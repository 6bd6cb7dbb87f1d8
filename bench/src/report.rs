//! What came of the workloads: their figures, and what must not be.

use crate::{
    load::{self, Outcome},
    spread::{Spread, short},
    target::{Kind, Target},
    workloads::Workload,
};

/// Everything that was measured, a section for each workload.
#[derive(Default)]
pub struct Report {
    pub sections: Vec<Section>,
}

/// What one workload gave.
pub struct Section {
    pub workload: Workload,
    pub tables: Vec<Table>,
    pub rows: Vec<Row>,
    /// What must not be: losses, repeats, refusals, processes that ended.
    pub failures: Vec<String>,
    /// The same of peers: to be known, but not for us to fail.
    pub notes: Vec<String>,
}

/// One load on several targets.
pub struct Table {
    pub title: String,
    pub streams: usize,
    pub lines: Vec<Line>,
}

/// One target under it.
pub struct Line {
    pub kind: Kind,
    pub cpu_per_delivery: Spread,
    pub cpu_per_event: Spread,
    pub p50: Spread,
    pub p99: Spread,
    pub max: Spread,
    pub begun: Spread,
    pub memory: Spread,
    pub connects: Spread,
    pub slowest: Spread,
    /// CPU time a delivery of each process.
    pub of_process: Vec<(&'static str, Spread)>,
}

/// A line of a workload with figures of its own.
pub struct Row {
    pub name: String,
    pub figures: Vec<(&'static str, f64)>,
}

impl Row {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            figures: Vec::new(),
        }
    }

    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, value));
        self
    }
}

impl Line {
    fn of(kind: Kind, outcomes: &[Outcome]) -> Self {
        let spread = |figure: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(figure));
        let processes = outcomes.first().map_or(&[][..], |outcome| &outcome.cpu);
        let of_process = processes.iter().enumerate().map(|(at, (name, _))| {
            let of = |outcome: &Outcome| {
                load::micros(outcome.cpu[at].1) / outcome.measured.max(1) as f64
            };
            (*name, Spread::of(outcomes.iter().map(of)))
        });
        Self {
            kind,
            cpu_per_delivery: spread(Outcome::cpu_per_delivery),
            cpu_per_event: spread(Outcome::cpu_per_event),
            p50: spread(|outcome| outcome.latencies.value_at_quantile(0.5) as f64 / 1e6),
            p99: spread(|outcome| outcome.latencies.value_at_quantile(0.99) as f64 / 1e6),
            max: spread(|outcome| outcome.latencies.max() as f64 / 1e6),
            begun: spread(|outcome| outcome.begun as f64 / 1024.0 / 1024.0),
            memory: spread(|outcome| outcome.memory / 1024.0),
            connects: spread(|outcome| {
                outcome.streams as f64 / outcome.connecting.took.as_secs_f64()
            }),
            slowest: spread(|outcome| outcome.connecting.slowest.as_secs_f64() * 1e3),
            of_process: of_process.collect(),
        }
    }
}

impl Report {
    /// What comes next is of this workload.
    pub fn begin(&mut self, workload: Workload) {
        self.sections.push(Section {
            workload,
            tables: Vec::new(),
            rows: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        });
    }

    fn section(&mut self) -> &mut Section {
        self.sections.last_mut().expect("begun")
    }

    /// Notes what must not be.
    pub fn fail(&mut self, failure: String) {
        eprintln!("  FAILED {failure}");
        self.section().failures.push(failure);
    }

    /// All that must not be.
    pub fn failures(&self) -> Vec<&str> {
        let failures = self.sections.iter().flat_map(|section| &section.failures);
        failures.map(String::as_str).collect()
    }

    /// Whether all came, once, to streams that are open.
    pub fn check(&mut self, title: &str, kind: Kind, outcome: &Outcome) {
        let (lost, repeated, ended) = (outcome.lost(), outcome.repeated, outcome.ended);
        let (refused, dead) = (outcome.connecting.refused, outcome.dead);
        if lost + repeated + ended + refused + dead == 0 {
            return;
        }
        let failure = format!(
            "{title}, {}: {lost} lost, {repeated} repeated, {ended} streams ended, {refused} refused, {dead} processes dead",
            kind.name()
        );
        if kind.is_mercurio() {
            self.fail(failure);
        } else {
            eprintln!("  (peer) {failure}");
            self.section().notes.push(failure);
        }
    }

    /// Whether its processes still run.
    pub fn check_alive(&mut self, target: &mut Target) {
        let dead = target.dead();
        if dead > 0 {
            self.fail(format!("{}: {dead} processes dead", target.kind.name()));
        }
    }

    pub fn add(&mut self, title: &str, streams: usize, all: &[(Kind, Vec<Outcome>)]) {
        let lines = all.iter().map(|(kind, outcomes)| Line::of(*kind, outcomes));
        let table = Table {
            title: title.to_owned(),
            streams,
            lines: lines.collect(),
        };
        self.section().tables.push(table);
    }

    /// A line of its own; those of the same name are rounds of the same.
    pub fn row(&mut self, row: Row) {
        let figures = row.figures.iter();
        let figures: Vec<String> = figures
            .map(|(name, value)| format!("{name} {}", short(*value)))
            .collect();
        eprintln!("  {:<28} {}", row.name, figures.join(", "));
        self.section().rows.push(row);
    }
}
