//! The benchmark: real `mercurio` processes, real streams, events at a fixed rate; the same load on
//! nchan and on bare `write(2)` calls, interleaved. What it measures and how: `bench/README.md`.

mod floor;
mod load;
mod process;
mod publisher;
mod readers;
mod report;
mod stored;
mod target;
mod throughput;
mod workloads;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{report::Report, target::Kind, workloads::Workload};

/// Measures Mercurio beside nchan and beside bare writes.
#[derive(Parser)]
struct Arguments {
    /// What to run (repeatable). Without: everything.
    #[arg(long = "workload", value_enum)]
    workloads: Vec<Workload>,
    /// How often each target gets each load, in turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Small and short, for its verdict alone: nothing lost, nothing repeated. No peers, no files.
    #[arg(long)]
    quick: bool,
    /// Only Mercurio.
    #[arg(long)]
    alone: bool,
    /// Where RESULTS.md and the plots go.
    #[arg(long, default_value = "bench")]
    out: PathBuf,
    /// Runs on a build that is there, `target/release/mercurio` or $MERCURIO_BIN.
    #[arg(long)]
    no_build: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("floor") {
        floor::run(&arguments.next().unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    if !arguments.no_build && std::env::var_os("MERCURIO_BIN").is_none() {
        build();
    }
    let mut kinds = vec![Kind::Serve, Kind::Apart];
    if !arguments.quick && !arguments.alone {
        if target::nchan_is_there() {
            kinds.push(Kind::Nchan);
        } else {
            eprintln!("nchan is not there and can't be installed: left out");
        }
        kinds.push(Kind::Floor);
    }
    let chosen = match arguments.workloads.is_empty() {
        true => Workload::ALL.to_vec(),
        false => arguments.workloads,
    };
    let mut report = Report::default();
    for workload in chosen {
        eprintln!("\n== {}", workload.title());
        workload.run(&kinds, arguments.rounds, arguments.quick, &mut report);
    }
    println!("{}", report.text());
    if !arguments.quick {
        report.write(&arguments.out);
    }
    if report.failures.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("failed:\n  {}", report.failures.join("\n  "));
    ExitCode::FAILURE
}

/// The service, as this program was built.
fn build() {
    let mut cargo = std::process::Command::new("cargo");
    cargo.args(["build", "--quiet", "--package", "mercurio"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.status().is_ok_and(|status| status.success());
    assert!(built, "building the service failed");
}
