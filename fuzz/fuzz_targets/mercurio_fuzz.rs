//! Every fuzz target in one binary, which is linked once: `FUZZ_TARGET` says which. Run by `fuzz/run`.

#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../cli/src/settings/mod.rs"]
mod settings;

use std::{io::Write as _, os::fd::AsRawFd as _, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use mercurio_auth::fuzzing as auth;
use mercurio_core::fuzzing as core;
use mercurio_gateway::fuzzing as gateway;
use rustix::fs::{MemfdFlags, memfd_create};

/// Each has a folder of its name in `corpus/`.
const TARGETS: [(&str, fn(&[u8])); 14] = [
    ("token", auth::token),
    ("claims", auth::claims),
    ("keys", auth::keys),
    ("page_token", core::page_token),
    ("topics", |data| core::topics(data, gateway::matches)),
    ("grpc_requests", core::requests),
    ("log_message", core::log_message),
    ("stored", core::stored),
    ("journal", core::journal),
    ("manifest", core::manifest),
    ("constant", core::constant),
    ("body", gateway::body),
    ("request", gateway::request),
    ("config", config),
];

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|(target, _)| *target == name);
        let Some((_, target)) = found else {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("FUZZ_TARGET is {name:?}; allowed: {}", names.join(" "));
            std::process::exit(2);
        };
        let _ = TARGET.set(*target);
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(data);
        }
    }
);

/// The file of `--config`.
fn config(data: &[u8]) {
    static COMMAND: OnceLock<clap::Command> = OnceLock::new();
    let serve = settings::Command::Serve;
    let command = COMMAND.get_or_init(|| settings::flags(serve, clap::Command::new("serve")));
    let file = memfd_create("config", MemfdFlags::CLOEXEC).expect("memory");
    let mut file = std::fs::File::from(file);
    file.write_all(data).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let matches = command
        .clone()
        .try_get_matches_from(["serve", "--config", &path])
        .expect("these are its flags");
    if let Err(problems) = settings::Settings::read(serve, &matches) {
        assert!(!problems.to_string().is_empty());
    }
}
