//! `mercurio check-config`: what a start would say, without one.

use std::{fs, net::TcpListener, path::Path, process::Command};

use mercurio_tests::{
    certs::Authority,
    prelude::*,
    service::{finish, mercurio},
};
use tempfile::TempDir;

/// The exit code, what is printed, what is said.
async fn check(home: &Path, change: impl FnOnce(&mut Command)) -> (i32, String, String) {
    let mut command = mercurio();
    command.current_dir(home).arg("check-config");
    change(&mut command);
    let (status, out, err) = finish("check-config", &mut command, SOON).await;
    (status.code().expect("ended by itself"), out, err)
}

fn home() -> TempDir {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("key"), "0123456789abcdef0123456789abcdef").unwrap();
    home
}

#[tokio::test]
async fn what_holds_is_printed_with_its_origin_and_nothing_is_made_or_started() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let secret = "hunter2hunter2hunter2hunter2hunter2";
    fs::write(home.path().join(".env"), "MERCURIO_RETRY=7s\n").unwrap();
    fs::write(
        home.path().join("settings.toml"),
        "heartbeat = \"9s\"\nstreams-max = 77\nretry = \"1s\"\ncors-origin = [\"https://a.example\"]\n",
    )
    .unwrap();
    let (code, out, err) = check(home.path(), |command| {
        command
            .args(["serve", "--config", "settings.toml", "--http-addr", &taken])
            .args(["--data-dir", "deep/data"])
            .env("MERCURIO_JWT_SECRET", secret);
    })
    .await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(err, "");
    let lines: Vec<&str> = out.lines().collect();
    for line in [
        "grpc-addr = \"127.0.0.1:50051\"  # default",
        &format!("http-addr = \"{taken}\"  # --http-addr"),
        "data-dir = \"deep/data\"  # --data-dir",
        "retry = \"7s\"  # MERCURIO_RETRY (.env)",
        "heartbeat = \"9s\"  # settings.toml line 1",
        "streams-max = 77  # settings.toml line 2",
        "cors-origin = [\"https://a.example\"]  # settings.toml line 4",
        "jwt-allow-missing-exp = false  # default",
        "# config = \"settings.toml\"  # --config",
        "# jwt-secret is set, and not shown  # MERCURIO_JWT_SECRET (environment)",
    ] {
        assert!(lines.contains(&line), "{line} in\n{out}");
    }
    assert!(!out.contains("hunter2"), "{out}");
    assert!(!home.path().join("deep").exists());

    // What was printed is a file that says the same.
    fs::write(home.path().join("printed.toml"), &out).unwrap();
    fs::remove_file(home.path().join(".env")).unwrap();
    let (code, again, err) = check(home.path(), |command| {
        command
            .args(["serve", "--config", "printed.toml"])
            .env("MERCURIO_JWT_SECRET", secret);
    })
    .await;
    assert_eq!(code, 0, "{err}");
    let values = |text: &str| {
        let values = text.lines().filter(|line| !line.starts_with('#'));
        let values = values.map(|line| line.split("  # ").next().unwrap().to_owned());
        values.collect::<Vec<_>>()
    };
    assert_eq!(values(&out), values(&again));
}

#[tokio::test]
async fn all_that_is_wrong_with_files_is_said_at_once_and_a_start_says_the_same() {
    let home = home();
    let authority = Authority::default();
    let (one, other) = (authority.server("one"), authority.server("other"));
    fs::write(home.path().join("keys.json"), "{}").unwrap();
    fs::write(home.path().join("in-the-way"), "").unwrap();
    let path = |path: &Path| path.display().to_string();
    let args = [
        "--jwt-secret-file",
        "missing-key",
        "--jwt-jwks-file",
        "keys.json",
        "--tls-cert",
        &path(&one.cert),
        "--tls-key",
        &path(&other.key),
        "--grpc-tls-cert",
        &path(&one.cert),
        "--log",
        "nats",
        "--log-cert-file",
        &path(&one.cert),
        "--log-key-file",
        &path(&other.key),
        "--otlp-endpoint",
        "https://collector:4317",
        "--otlp-ca",
        "missing-ca",
        "--data-dir",
        "in-the-way/data",
    ];
    let (code, _, err) = check(home.path(), |command| {
        command.arg("serve").args(args);
    })
    .await;
    assert_eq!(code, 2, "{err}");
    for said in [
        "--jwt-secret-file missing-key: ",
        "keys.json",
        "--tls-cert: ",
        "--grpc-tls-cert: --grpc-tls-key is needed with it",
        "--log-url: it is needed with --log nats",
        "--log-cert-file: ",
        "--otlp-ca: ",
        "--data-dir in-the-way/data: in-the-way is no directory",
    ] {
        assert!(err.contains(said), "{said} in\n{err}");
    }
    assert!(
        err.starts_with("mercurio: 8 settings are wrong:\n"),
        "{err}"
    );

    let mut start = mercurio();
    start.current_dir(home.path()).arg("serve").args(args);
    let (status, _, said) = finish("serve", &mut start, SOON).await;
    assert_eq!(status.code(), Some(2), "{said}");
    for line in err
        .lines()
        .skip(1)
        .filter(|line| !line.contains("data-dir"))
    {
        assert!(said.contains(line), "{line} in\n{said}");
    }
}

#[tokio::test]
async fn each_command_is_checked_for_what_it_takes() {
    let home = home();
    // A public key alone does for a core, and not for a gateway: it can't sign for itself.
    let key = binary_key();
    let (code, out, err) = check(home.path(), |command| {
        command.args(["core", "--jwt-public-key-file", &key]);
    })
    .await;
    assert_eq!(code, 0, "{err}");
    assert!(!out.contains("http-addr"), "{out}");
    let (code, _, err) = check(home.path(), |command| {
        command.args(["gateway", "--jwt-public-key-file", &key]);
    })
    .await;
    assert_eq!(code, 2);
    assert!(err.contains("--core-token-file is needed"), "{err}");
    // An authority for nobody.
    for command in ["core", "gateway", "serve"] {
        let (code, _, err) = check(home.path(), |process| {
            process
                .args([command, "--jwt-secret-file", "key", "--otlp-ca", "ca.pem"])
                .args(["--otlp-endpoint", "http://collector:4317"]);
        })
        .await;
        assert_eq!(code, 2, "{command}");
        let said = "--otlp-ca: there is no --otlp-endpoint that begins with https://";
        assert!(err.contains(said), "{command}: {err}");
    }
    // What the table refuses, and what nobody knows.
    let (code, out, err) = check(home.path(), |command| {
        command
            .args(["serve", "--jwt-secret-file", "key", "--retry", "soon"])
            .env("MERCURIO_RETRO", "1s");
    })
    .await;
    assert_eq!(code, 2);
    for said in [
        "--retry: \"soon\" is not",
        "MERCURIO_RETRO (environment): unknown",
    ] {
        assert!(err.contains(said), "{said} in\n{err}");
    }
    assert!(
        out.contains("heartbeat = ") && !out.contains("\nretry = "),
        "{out}"
    );
    // A command that has no such settings, a flag of another, and none.
    for args in [&["token"][..], &["core", "--http-addr", "127.0.0.1:1"], &[]] {
        let (code, _, err) = check(home.path(), |command| {
            command.args(args);
        })
        .await;
        assert_eq!(code, 2, "{args:?} {err}");
    }
}

fn binary_key() -> String {
    let key = mercurio_tests::binary::repository().join("auth/tests/keys/ed25519.pub.pem");
    key.display().to_string()
}
