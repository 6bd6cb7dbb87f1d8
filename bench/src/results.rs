//! RESULTS.md: a section for each workload, with its own date, machine and command. A run replaces
//! the sections of what it ran, and leaves the others.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path, process::Command};

use crate::{
    plot,
    report::{Line, Report, Row, Section, Table},
    spread::{Spread, short, thousands},
    target::Kind,
    workloads::Workload,
};

const HEAD: &str = "# Results

Written by `cargo run --release -p mercurio-bench`; what is measured, and how to read it, stands in
[README.md](README.md). Medians of the rounds, in brackets the least and the most. The machine's noise
is in the absolute figures: trust the ratios.
";

/// Before each section.
const MARKER: &str = "<!-- workload: ";

/// Writes the sections that there are, and their plots, into this directory.
pub fn write(report: &Report, out: &Path) {
    fs::create_dir_all(out).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    let put = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    };
    let before = fs::read_to_string(out.join("RESULTS.md")).unwrap_or_default();
    let mut sections = sections(&before);
    let origin = origin();
    for section in &report.sections {
        let mut text = format!("## {}\n\n{origin}\n", section.workload.title());
        if let Some((name, alternative, svg)) = plot::of(section) {
            put(name, &svg);
            let _ = writeln!(text, "\n![{alternative}]({name})");
        }
        text.push_str(&markdown(section));
        sections.insert(section.workload.name(), text);
    }
    let mut text = HEAD.to_owned();
    for workload in Workload::ALL {
        if let Some(section) = sections.get(&workload.name()) {
            let name = workload.name();
            let _ = write!(text, "\n{MARKER}{name} -->\n{}\n", section.trim_end());
        }
    }
    put("RESULTS.md", &text);
}

/// The sections of such a file, by their workload's name.
fn sections(text: &str) -> HashMap<String, String> {
    let parts = text.split(MARKER).skip(1);
    parts
        .filter_map(|part| part.split_once(" -->\n"))
        .map(|(name, section)| (name.to_owned(), section.to_owned()))
        .collect()
}

/// When, where, and by which command.
fn origin() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find(|line| line.starts_with("model name"));
    let cpu = cpu
        .and_then(|line| line.split_once(": "))
        .map_or("CPU unknown", |(_, model)| model);
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    format!(
        "{}, commit {}. {cores} cores ({cpu}), {}. `cargo run --release -p mercurio-bench -- {command}`",
        run("date", &["+%Y-%m-%d"]),
        Some(run("git", &["describe", "--always", "--dirty"]))
            .filter(|commit| !commit.is_empty())
            .unwrap_or_else(|| "unknown".to_owned()),
        run("uname", &["-srm"]),
    )
}

/// What a section says, without its heading.
pub fn markdown(section: &Section) -> String {
    let mut text = String::new();
    for (what, list) in [("Failed", &section.failures), ("Peers", &section.notes)] {
        if !list.is_empty() {
            let _ = writeln!(text, "\n{what}:\n");
        }
        for line in list {
            let _ = writeln!(text, "- {line}");
        }
    }
    for table in &section.tables {
        put_table(&mut text, section.workload, table);
    }
    put_rows(&mut text, section);
    text
}

const COLUMNS: [&str; 15] = [
    "",
    "CPU µs a delivery",
    "÷ nchan",
    "÷ floor",
    "÷ floor with a sync",
    "÷ that with gRPC",
    "CPU µs an event",
    "p50 ms",
    "p99 ms",
    "max ms",
    "MiB to begin with",
    "KiB a stream",
    "÷ nchan",
    "connected/s",
    "slowest ms",
];

fn put_table(text: &mut String, workload: Workload, table: &Table) {
    if table.title != workload.title() {
        let _ = writeln!(text, "\n### {}", table.title);
    }
    let _ = writeln!(
        text,
        "\n{} streams.\n\n| {} |\n{}|",
        thousands(table.streams as u64),
        COLUMNS.join(" | "),
        "|---".repeat(COLUMNS.len())
    );
    let of = |kind: Kind| table.lines.iter().find(|line| line.kind == kind);
    let (nchan, floor) = (of(Kind::Nchan), of(Kind::Floor));
    let (safe_floor, grpc_floor) = (of(Kind::SafeFloor), of(Kind::GrpcFloor));
    for line in &table.lines {
        let cells = [
            line.kind.name().to_owned(),
            cpu(line),
            line.cpu_per_delivery
                .over(nchan.map(|line| line.cpu_per_delivery)),
            line.cpu_per_delivery
                .over(floor.map(|line| line.cpu_per_delivery)),
            line.cpu_per_delivery
                .over(safe_floor.map(|line| line.cpu_per_delivery)),
            line.cpu_per_delivery
                .over(grpc_floor.map(|line| line.cpu_per_delivery)),
            line.cpu_per_event.show(),
            line.p50.show(),
            line.p99.show(),
            line.max.show(),
            line.begun.show(),
            line.memory.show(),
            line.memory.over(nchan.map(|line| line.memory)),
            line.connects.show(),
            line.slowest.show(),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

/// CPU time a delivery, each process apart where there are several.
fn cpu(line: &Line) -> String {
    let all = line.cpu_per_delivery.show();
    if line.of_process.len() < 2 {
        return all;
    }
    let processes = line.of_process.iter();
    let processes: Vec<String> = processes
        .map(|(name, cpu)| format!("{name} {}", short(cpu.median)))
        .collect();
    format!("{all}: {}", processes.join(", "))
}

/// A table for each set of columns.
fn put_rows(text: &mut String, section: &Section) {
    let columns_of = |row: &Row| -> Vec<&'static str> {
        row.figures.iter().map(|(column, _)| *column).collect()
    };
    let mut tables: Vec<Vec<&str>> = Vec::new();
    for row in &section.rows {
        let columns = columns_of(row);
        if !tables.contains(&columns) {
            tables.push(columns);
        }
    }
    for columns in tables {
        let _ = writeln!(
            text,
            "\n| | {} |\n|---{}|",
            columns.join(" | "),
            "|---".repeat(columns.len())
        );
        let rows = || section.rows.iter().filter(|row| columns_of(row) == columns);
        let mut names: Vec<&str> = rows().map(|row| row.name.as_str()).collect();
        names.dedup();
        for name in names {
            let rounds = || rows().filter(|row| row.name == name);
            let cells =
                (0..columns.len()).map(|at| Spread::of(rounds().map(|row| row.figures[at].1)));
            let cells: Vec<String> = cells.map(Spread::show).collect();
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_replaces_the_sections_of_what_it_ran() {
        let out = tempfile::TempDir::new().expect("a temporary directory");
        for (workload, says) in [
            (Workload::Idle, "first"),
            (Workload::Broadcast1k, "second"),
            (Workload::Idle, "third"),
        ] {
            let mut report = Report::default();
            report.begin(workload);
            report.fail(says.to_owned());
            write(&report, out.path());
        }
        let text = fs::read_to_string(out.path().join("RESULTS.md")).expect("written");
        assert_eq!(text.matches(MARKER).count(), 2);
        let at = |says: &str| text.find(says);
        assert_eq!(at("first"), None);
        assert!(
            at("second").is_some() && at("second") < at("third"),
            "{text}"
        );
    }
}
