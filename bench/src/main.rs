//! The benchmark: real `mercurio` processes, real streams, events at a fixed rate; the same load on
//! nchan and on bare `write(2)` calls, interleaved. What it measures and how: `bench/README.md`.

mod bare_grpc;
mod cluster;
mod disk;
mod floor;
mod gateways;
mod load;
mod plot;
mod process;
mod publisher;
mod readers;
mod report;
mod results;
mod spread;
mod stored;
mod storm;
mod target;
mod throughput;
mod workloads;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;

use crate::{floor::Floor, report::Report, target::Kind, workloads::Workload};

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["floor", address] => Floor::new(None).run(address),
        ["floor", address, file] => Floor::new(Some(file)).run(address),
        ["floor", address, file, grpc] => {
            let (floor, grpc) = (Floor::new(Some(file)), grpc.to_owned());
            let published_to = floor.clone();
            std::thread::spawn(move || bare_grpc::run(&grpc, Some(published_to)));
            floor.run(address);
        }
        ["bare-grpc", address] => bare_grpc::run(address, None),
        _ => return measure(),
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
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
        kinds.extend([Kind::Floor, Kind::SafeFloor, Kind::GrpcFloor]);
    }
    let chosen = match arguments.workloads.is_empty() {
        true => Workload::ALL.to_vec(),
        false => arguments.workloads,
    };
    let mut report = Report::default();
    for workload in chosen {
        eprintln!("\n== {}", workload.title());
        report.begin(workload);
        // A panic ends this workload (its processes with it), and the others go on.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            workload.run(&kinds, arguments.rounds, arguments.quick, &mut report);
        }));
        if ran.is_err() {
            report.fail(format!("{}: broke off", workload.title()));
        }
        if !arguments.quick {
            results::write(&report, &arguments.out);
        }
    }
    if !arguments.quick {
        for section in &report.sections {
            println!("\n## {}", section.workload.title());
            print!("{}", results::markdown(section));
        }
    }
    let failures = report.failures();
    if failures.is_empty() {
        eprintln!("\nnothing lost, nothing repeated, nothing refused, nothing dead");
        return ExitCode::SUCCESS;
    }
    eprintln!("\nfailed:\n  {}", failures.join("\n  "));
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
