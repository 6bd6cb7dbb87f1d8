//! Where the `mercurio` binary under test is.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The binary under test: `MERCURIO_BIN`, else the one of this build profile, built first
/// (once per test process) so that nobody tests yesterday's.
pub fn mercurio() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("MERCURIO_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// The repository's root.
pub fn repository() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().expect("a member has a parent").to_owned()
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "mercurio"])
        .current_dir(repository())
        .status()
        .expect("run cargo build");
    assert!(status.success(), "cargo build -p mercurio: {status}");
    // This test runs from <target>/<profile>/deps/.
    let here = std::env::current_exe().expect("own path");
    let profile = here.ancestors().nth(2).expect("a profile directory");
    let target = profile.parent().expect("a target directory");
    target.join("debug").join("mercurio")
}
