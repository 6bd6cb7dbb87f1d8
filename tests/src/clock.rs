//! A clock that is wrong: a process that sees another time of day than the machine's.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use crate::{service::Setup, tools};

/// What makes a process's clock wrong; lives as long as the processes.
pub struct Clock(TempDir);

impl Clock {
    /// `None` where there is no C compiler.
    pub fn new() -> Option<Clock> {
        let compiler = tools::tool("cc")?;
        let dir = TempDir::new().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/clock.c");
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-o"]);
        let status = command
            .arg(dir.path().join("clock.so"))
            .arg(source)
            .status();
        assert!(status.expect("run the compiler").success());
        Some(Clock(dir))
    }

    /// A process whose clock is ahead by so many seconds.
    pub fn ahead(&self, setup: Setup, seconds: u32) -> Setup {
        let library = self.0.path().join("clock.so");
        setup
            .env("LD_PRELOAD", library.to_str().expect("a path in UTF-8"))
            .env("CLOCK_AHEAD", &seconds.to_string())
    }
}
