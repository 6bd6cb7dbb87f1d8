//! What is said of the outcomes: ratios of medians with their spread, beside the floor and nchan.

use std::{fmt::Write as _, fs, path::Path};

use crate::{load::Outcome, target::Kind};

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    tables: Vec<Table>,
    rows: Vec<Row>,
    /// What must not be: losses, repeats, refusals.
    pub failures: Vec<String>,
}

struct Table {
    title: &'static str,
    streams: usize,
    lines: Vec<Line>,
}

struct Line {
    kind: Kind,
    cpu_per_delivery: Spread,
    cpu_per_event: Spread,
    p50: Spread,
    p99: Spread,
    max: Spread,
    memory: Spread,
    connects: Spread,
    slowest: Spread,
    of_process: Vec<(&'static str, f64)>,
}

/// A median, and the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }

    fn show(self) -> String {
        format!(
            "{} ({}–{})",
            short(self.median),
            short(self.least),
            short(self.most)
        )
    }

    /// How often the other goes into it.
    fn over(self, other: Option<Spread>) -> String {
        other.map_or_else(
            || "–".into(),
            |other| format!("{:.2}", self.median / other.median),
        )
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A line of a workload with figures of its own.
#[derive(Clone)]
pub struct Row {
    pub workload: String,
    pub name: String,
    pub figures: Vec<(String, f64)>,
}

impl Row {
    pub fn new(workload: &str, name: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            name: name.to_owned(),
            figures: Vec::new(),
        }
    }

    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.figures.push((name.to_owned(), value));
        self
    }
}

impl Report {
    /// Notes what must not be.
    pub fn check(&mut self, title: &str, kind: Kind, outcome: &Outcome) {
        let (lost, repeated, ended) = (outcome.lost(), outcome.repeated, outcome.ended);
        let refused = outcome.connecting.refused;
        if lost + repeated + ended + refused > 0 {
            let failure = format!(
                "{title}, {}: {lost} lost, {repeated} repeated, {ended} streams ended, {refused} refused",
                kind.name()
            );
            match kind.is_mercurio() {
                true => self.failures.push(failure),
                false => eprintln!("  (peer) {failure}"),
            }
        }
    }

    pub fn add(&mut self, title: &'static str, streams: usize, all: &[(Kind, Vec<Outcome>)]) {
        let lines = all.iter().map(|(kind, outcomes)| {
            let spread = |figure: fn(&Outcome) -> f64| Spread::of(outcomes.iter().map(figure));
            let mut of_process: Vec<(&'static str, f64)> = Vec::new();
            for name in outcomes
                .first()
                .map(|outcome| &outcome.cpu)
                .into_iter()
                .flatten()
                .map(|(name, _)| *name)
            {
                let of = |outcome: &Outcome| {
                    let time = outcome
                        .cpu
                        .iter()
                        .find(|(found, _)| *found == name)
                        .map(|(_, time)| *time);
                    crate::load::micros(time.unwrap_or_default()) / outcome.received.max(1) as f64
                };
                of_process.push((name, Spread::of(outcomes.iter().map(of)).median));
            }
            Line {
                kind: *kind,
                cpu_per_delivery: spread(Outcome::cpu_per_delivery),
                cpu_per_event: spread(Outcome::cpu_per_event),
                p50: spread(|outcome| outcome.latencies.value_at_quantile(0.5) as f64 / 1e6),
                p99: spread(|outcome| outcome.latencies.value_at_quantile(0.99) as f64 / 1e6),
                max: spread(|outcome| outcome.latencies.max() as f64 / 1e6),
                memory: spread(|outcome| outcome.memory / 1024.0),
                connects: spread(|outcome| {
                    outcome.expected_streams() / outcome.connecting.took.as_secs_f64()
                }),
                slowest: spread(|outcome| outcome.connecting.slowest.as_secs_f64() * 1e3),
                of_process,
            }
        });
        self.tables.push(Table {
            title,
            streams,
            lines: lines.collect(),
        });
    }

    pub fn row(&mut self, row: Row) {
        let figures: Vec<String> = row
            .figures
            .iter()
            .map(|(name, value)| format!("{name} {}", short(*value)))
            .collect();
        eprintln!("  {:<28} {}", row.name, figures.join(", "));
        self.rows.push(row);
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let _ = writeln!(
                text,
                "\n### {}\n\n{} streams.\n",
                table.title, table.streams
            );
            text.push_str("| | CPU µs a delivery | ÷ nchan | ÷ floor | CPU µs an event | p50 ms | p99 ms | max ms | KiB a stream | ÷ nchan | connected/s | slowest ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
            let of = |kind: Kind| table.lines.iter().find(|line| line.kind == kind);
            let (nchan, floor) = (of(Kind::Nchan), of(Kind::Floor));
            for line in &table.lines {
                let processes: Vec<String> = line
                    .of_process
                    .iter()
                    .map(|(name, cpu)| format!("{name} {}", short(*cpu)))
                    .collect();
                let processes = if processes.len() > 1 {
                    format!(": {}", processes.join(", "))
                } else {
                    String::new()
                };
                let _ = writeln!(
                    text,
                    "| {} | {}{processes} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    line.kind.name(),
                    line.cpu_per_delivery.show(),
                    line.cpu_per_delivery
                        .over(nchan.map(|line| line.cpu_per_delivery)),
                    line.cpu_per_delivery
                        .over(floor.map(|line| line.cpu_per_delivery)),
                    short(line.cpu_per_event.median),
                    line.p50.show(),
                    line.p99.show(),
                    short(line.max.median),
                    line.memory.show(),
                    line.memory.over(nchan.map(|line| line.memory)),
                    short(line.connects.median),
                    short(line.slowest.median),
                );
            }
        }
        let mut workloads: Vec<&str> = self.rows.iter().map(|row| row.workload.as_str()).collect();
        workloads.dedup();
        for workload in workloads {
            let rows: Vec<&Row> = self
                .rows
                .iter()
                .filter(|row| row.workload == workload)
                .collect();
            let names: Vec<&str> = rows[0]
                .figures
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            let _ = writeln!(
                text,
                "\n### {workload}\n\n| | {} |\n|---{}|",
                names.join(" | "),
                "|---".repeat(names.len())
            );
            for row in rows {
                let values: Vec<String> =
                    row.figures.iter().map(|(_, value)| short(*value)).collect();
                let _ = writeln!(text, "| {} | {} |", row.name, values.join(" | "));
            }
        }
        text
    }

    /// RESULTS.md, with date, machine and command.
    pub fn write(&self, out: &Path) {
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let run = |program: &str, argument: &str| {
            let output = std::process::Command::new(program).arg(argument).output();
            output.map_or_else(
                |_| String::new(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            )
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let text = format!(
            "# Results\n\n{}, {cores} cores, {}. `cargo run --release -p mercurio-bench -- {command}`\n\n\
             Medians, with the least and the most. The machine is noisy: trust the ratios.\n{}",
            run("date", "+%Y-%m-%d"),
            run("uname", "-srm"),
            self.text()
        );
        let path = out.join("RESULTS.md");
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }
}
