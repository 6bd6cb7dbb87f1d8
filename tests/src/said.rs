//! Programs that drive what others wrote, and say what happens, one JSON a line.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    process::Process,
    tools::{node_modules, tool},
    wait::{LATER, SOON, within},
};

/// Such a program.
pub struct Driver {
    process: Process,
    /// How many lines have been taken.
    taken: usize,
}

impl Driver {
    /// Starts it.
    pub fn spawn(name: &str, command: &mut Command) -> Driver {
        let process = Process::spawn_with_input(name, command.stdin(Stdio::piped()));
        Driver { process, taken: 0 }
    }

    /// A headless Chromium with these arguments besides its usual ones. `None`, with a notice,
    /// where a tool is missing.
    pub async fn chromium(args: &[&str]) -> Option<Driver> {
        let folder = node_modules("browser", "playwright-core")?;
        let (node, chromium) = (tool("node")?, tool("chromium")?);
        let mut command = Command::new(node);
        command.arg("driver.mjs").arg(chromium).args(args);
        let mut driver = Self::spawn("node driver.mjs", command.current_dir(folder));
        driver.process.stdout.wait_for("\"ready\"", LATER).await;
        driver.taken = 1;
        Some(driver)
    }

    /// Gives it a command.
    pub fn tell(&mut self, command: &Value) {
        writeln!(self.process.stdin(), "{command}").expect("the driver runs");
    }

    /// The next thing it says. That a page is there is only checked.
    pub async fn next(&mut self) -> Value {
        loop {
            let line = self.process.stdout.nth(self.taken);
            let line = within("the driver says something", SOON, line).await;
            let line = line.expect("the driver runs");
            self.taken += 1;
            let said: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            let Some(status) = said.get("page") else {
                return said;
            };
            assert_eq!(status, 200, "the page");
        }
    }

    /// The next thing of this type, others passed over.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let said = self.next().await;
            if said["type"] == kind {
                return said;
            }
        }
    }

    /// Opens a page. What it says may come before it is loaded as a whole.
    pub fn page(&mut self, url: &str) {
        self.tell(&json!({ "page": url }));
    }
}

/// The folder with clients of the stream. `None`, with a notice, where they are not installed.
pub fn clients() -> Option<PathBuf> {
    node_modules("clients", "eventsource")
}

/// A web server with the files of a folder, on an origin of its own.
pub struct Pages {
    /// `http://…`, without a slash at the end.
    pub origin: String,
    _process: Process,
}

impl Pages {
    /// Starts it. `None`, with a notice, where Python is missing.
    pub async fn serve(folder: &Path) -> Option<Pages> {
        let mut command = Command::new(tool("python3")?);
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
        let process = Process::spawn("http.server", command.arg("--directory").arg(folder));
        // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
        let line = process.stdout.wait_for("Serving HTTP", SOON).await;
        let port = line
            .split_whitespace()
            .skip_while(|word| *word != "port")
            .nth(1);
        Some(Pages {
            origin: format!("http://127.0.0.1:{}", port.expect("a port")),
            _process: process,
        })
    }
}
