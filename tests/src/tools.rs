//! The tools that are not ours: grpcurl, curl, node, chromium, loop mounts.
//!
//! `tests/run` installs them and sets `MERCURIO_TESTS_TOOLS=required`: from then on a missing one
//! fails the test that needs it. Under a bare `cargo test` such a test says that it was skipped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A tool's path. `None`, with a notice, where it is missing and may be.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = optional(name);
    if found.is_none() {
        missing(&format!("{name} is not installed (tests/run installs it)"));
    }
    found
}

/// A tool that lies outside the path. `None` as for [`tool`].
pub fn tool_at(path: PathBuf) -> Option<PathBuf> {
    let found = path.is_file().then_some(path.clone());
    if found.is_none() {
        missing(&format!(
            "{} is not installed (tests/run installs it)",
            path.display()
        ));
    }
    found
}

/// A tool's path, where it is there.
pub fn optional(name: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// A folder beside `src` that has this package in its node_modules. `None` as for [`tool`].
pub fn node_modules(folder: &str, package: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let installed = folder.join("node_modules").join(package);
    if installed.join("package.json").is_file() {
        return Some(folder);
    }
    missing(&format!(
        "{package} is not installed (tests/run installs it)"
    ));
    None
}

/// The client's folder with its development tools in its node_modules. `None` as for [`tool`].
pub fn web() -> Option<PathBuf> {
    let folder = crate::binary::repository().join("web");
    if folder
        .join("node_modules/typescript/package.json")
        .is_file()
    {
        return Some(folder);
    }
    missing("typescript is not installed (tests/run installs it)");
    None
}

/// Fails, or says that the test is skipped.
fn missing(what: &str) {
    assert!(!required(), "{what}");
    notice(what);
}

/// True where all that the tests need was installed before them.
pub fn required() -> bool {
    std::env::var_os("MERCURIO_TESTS_TOOLS").is_some_and(|v| v == "required")
}

/// Says that a test is skipped, past the test runner's capture.
pub fn notice(why: &str) {
    use std::io::Write as _;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Written to the stream itself: `eprintln!` would be captured and lost.
    let _ = writeln!(std::io::stderr(), "NOTICE: {test} skipped: {why}");
}

/// Runs a command to its end. What it said where it failed is the error.
pub(crate) fn run(command: &mut Command) -> Result<Output, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// Held by a test that loads the machine: one at a time, also over several test processes.
pub struct Heavy(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Waits until no other heavy test runs.
pub async fn heavy() -> Heavy {
    let path = std::env::temp_dir().join("mercurio-tests-heavy.lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("open the lock file");
    let locked = tokio::task::spawn_blocking(move || {
        file.lock().expect("lock");
        file
    });
    Heavy(locked.await.expect("lock"))
}
