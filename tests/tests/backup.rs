//! Backups of a core that runs: what they have, how they come where connections don't last, and
//! what `restore` and `verify` make of them.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mercurio_tests::{
    prelude::*,
    process::Process,
    service::{finish, mercurio},
    verify::{verify, verify_idempotency},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// `mercurio backup` from this address.
fn backup(core: &Service, from: SocketAddr, destination: &Path) -> Command {
    let mut command = mercurio();
    command
        .args(["backup", "--core-url", &format!("http://{from}")])
        .arg("--jwt-secret-file")
        .arg(core.secret().path())
        .arg(destination);
    command
}

async fn run(command: &mut Command) -> (ExitStatus, Value, String) {
    let (status, out, err) = finish("mercurio", command, LATER).await;
    let answer = serde_json::from_str(&out).unwrap_or(Value::Null);
    (status, answer, err)
}

/// Runs a command that has to succeed.
async fn done(command: &mut Command) -> Value {
    let (status, answer, err) = run(command).await;
    assert!(status.success(), "{status}: {err}");
    answer
}

fn restore(backup: &Path, to: &Path) -> Command {
    let mut command = mercurio();
    command.arg("restore").arg(backup).arg("--data-dir").arg(to);
    command
}

fn look_through(dir: &Path) -> Command {
    let mut command = mercurio();
    command.args(["verify", "--data-dir"]).arg(dir);
    command
}

/// The id of the entry that a backup ends with.
fn cursor(answer: &Value) -> u64 {
    answer["cursor"].as_u64().expect("a cursor")
}

/// A core with so many bytes that nothing makes smaller, in small segments.
async fn filled(notifications: usize, bytes: usize) -> (Service, Ledger) {
    let setup = Setup::core().args(["--segment-rows", "200"]);
    let core = setup.start().await;
    let ledger = Ledger::default();
    let api = core.service_api();
    for first in (0..notifications).step_by(20) {
        let calls: Vec<_> = (first..first + 20)
            .map(|n| {
                let (api, ledger) = (api.clone(), ledger.clone());
                let request = to(&[USERS[n % 3]], "t", &"x".repeat(bytes));
                let request = with_id(&n.to_string(), request);
                tokio::spawn(async move { publish_surely(&api, &ledger, request).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    }
    (core, ledger)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn one_taken_under_load_has_all_up_to_its_end_and_nothing_behind() {
    let home = tempfile::TempDir::new().unwrap();
    let setup = Setup::core().args(["--segment-rows", "300", "--max-per-recipient", "1000000"]);
    let core = setup.start().await;
    let ledger = Ledger::default();
    let publishers: Vec<Publisher> = (0..6)
        .map(|p| {
            Publisher::start(core.service_api(), ledger.clone(), move |n| {
                let data = "d".repeat((n as usize * 97) % 3000);
                let request = match n % 5 {
                    0 => to_everyone("t", &data),
                    1 => to(&USERS, "t", &data),
                    _ => to(&[USERS[n as usize % 3]], "t", &data),
                };
                with_id(&format!("{p}-{n}"), request)
            })
        })
        .collect();
    let goal = async |more: usize| {
        let goal = ledger.len() + more;
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= goal).then_some(())
        })
        .await;
    };
    let api = core.service_api();
    let mut marks: Vec<(u64, u64)> = Vec::new();
    let mut backups = Vec::new();
    for round in 0..3 {
        goal(400).await;
        for (id, _) in ledger.all().iter().rev().step_by(7).take(10) {
            let marked = api.mark("alice", &[*id], true).await;
            if marked.changed > 0 {
                marks.push((marked.cursor, *id));
            }
        }
        let at = home.path().join(round.to_string());
        let answer = done(&mut backup(&core, core.grpc(), &at)).await;
        eventually("publishing went on", LATER, async || {
            (ledger.last() > cursor(&answer)).then_some(())
        })
        .await;
        backups.push((at, cursor(&answer)));
    }
    for publisher in publishers {
        publisher.stop().await;
    }
    for (at, end) in backups {
        let found = done(&mut look_through(&at)).await;
        assert_eq!(
            (cursor(&found), &found["isBackup"]),
            (end, &Value::Bool(true))
        );
        let restored = home.path().join(format!("{end}-restored"));
        assert_eq!(cursor(&done(&mut restore(&at, &restored)).await), end);
        let setup = Setup::core().secret_of(&core).data(&restored);
        let mut copy = setup.args(["--max-per-recipient", "1000000"]).start().await;
        let api = copy.service_api();
        let there = ledger.up_to(end);
        verify(&api, &there, &USERS).await;
        verify(&api, &there, &["someone-new"]).await;
        let history = api.history("alice").await;
        let read = history.iter().filter(|one| one.read_at.is_some());
        let read: BTreeSet<u64> = read.map(|one| one.id).collect();
        let marked = marks.iter().filter(|(cursor, _)| *cursor <= end);
        assert_eq!(read, marked.map(|(_, id)| *id).collect());
        verify_idempotency(&api, &there).await;
        assert!(copy.stop().await.success());
        let found = done(&mut look_through(&restored)).await;
        assert_eq!(found["isBackup"], false, "a service has used it");
        let (status, _, err) = run(&mut restore(&restored, &home.path().join("x"))).await;
        assert_eq!(status.code(), Some(1));
        assert!(err.contains("MANIFEST"), "{err}");
    }
    verify(&core.service_api(), &ledger, &USERS).await;
}

/// What stands in for a network on which no connection lasts: each passes so many bytes, and then it
/// is closed, or nothing comes any more.
struct Short {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Short {
    async fn to(core: SocketAddr, bytes: u64, closes: bool) -> Short {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let short = Short {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            passed: Arc::default(),
        };
        let (connections, passed) = (short.connections.clone(), short.passed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let passed = passed.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(core).await.unwrap();
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let there = tokio::io::copy(&mut from_client, &mut to_server);
                    let back = async {
                        let mut left = bytes;
                        let mut part = vec![0; 64 << 10];
                        while left > 0 {
                            let Ok(read @ 1..) = from_server.read(&mut part).await else {
                                return;
                            };
                            if to_client.write_all(&part[..read]).await.is_err() {
                                return;
                            }
                            passed.fetch_add(read as u64, Ordering::Relaxed);
                            left = left.saturating_sub(read as u64);
                        }
                        if !closes {
                            std::future::pending::<()>().await;
                        }
                    };
                    tokio::select! {
                        _ = there => {}
                        () = back => {}
                    }
                });
            }
        });
        short
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_a_connection_broke() {
    let home = tempfile::TempDir::new().unwrap();
    let (core, ledger) = filled(300, 60_000).await;
    // Begun anew each time, it would never come to its end.
    let short = Short::to(core.grpc(), 2 << 20, true).await;
    let at = home.path().join("backup");
    let answer = done(&mut backup(&core, short.address, &at)).await;
    let bytes = answer["bytes"].as_u64().unwrap();
    assert!(bytes > 15 << 20, "{answer}");
    assert!(short.connections.load(Ordering::Relaxed) >= 8);
    let passed = short.passed.load(Ordering::Relaxed);
    assert!(passed < 2 * bytes, "{passed} bytes for {bytes}");
    done(&mut look_through(&at)).await;
    let copy = Setup::core().secret_of(&core).data(&at).start().await;
    verify(&copy.service_api(), &ledger, &USERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_killed_is_nothing_until_it_is_gone_on_with() {
    let home = tempfile::TempDir::new().unwrap();
    let (core, ledger) = filled(300, 60_000).await;
    let short = Short::to(core.grpc(), 6 << 20, false).await;
    let at = home.path().join("backup");
    let mut process = Process::spawn("backup", &mut backup(&core, short.address, &at));
    let come = || {
        let there = at.join("import/segments");
        let files = if there.exists() {
            files(&there)
        } else {
            Vec::new()
        };
        files
            .iter()
            .map(|file| file.metadata().map_or(0, |it| it.len()))
            .sum::<u64>()
    };
    eventually("some of it has come", SOON, async || {
        (come() > 2 << 20).then_some(())
    })
    .await;
    process.kill();
    let before = come();

    let (_, said) = Setup::core().secret_of(&core).data(&at).refused().await;
    assert!(said.contains("part of a copy only"), "{said}");
    let (status, _, said) = run(&mut look_through(&at)).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("part of a copy only"), "{said}");

    let rest = Short::to(core.grpc(), u64::MAX, true).await;
    let answer = done(&mut backup(&core, rest.address, &at)).await;
    let bytes = answer["bytes"].as_u64().unwrap();
    let passed = rest.passed.load(Ordering::Relaxed);
    assert!(
        passed < bytes - before + (1 << 20),
        "{passed} of {bytes}, {before} were there"
    );
    let copy = Setup::core().secret_of(&core).data(&at).start().await;
    verify(&copy.service_api(), &ledger, &USERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_wherever_it_is() {
    let home = tempfile::TempDir::new().unwrap();
    let (mut core, _) = filled(500, 500).await;
    let at = home.path().join("backup");
    done(&mut backup(&core, core.grpc(), &at)).await;
    let (status, _, said) = run(&mut look_through(&core.setup.data_dir())).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("in use by process"), "{said}");

    let skipped = ["LOCK", "high-water"];
    let empty = |path: &Path| path.metadata().unwrap().len() == 0;
    for path in files(&at) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if skipped.contains(&name) || empty(&path) {
            continue;
        }
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        // In FORMAT the end is a newline, which means nothing.
        damaged[whole.len() / 2] ^= 1;
        fs::write(&path, damaged).unwrap();
        let (status, _, said) = run(&mut look_through(&at)).await;
        assert_eq!(status.code(), Some(1), "{}", path.display());
        assert!(said.contains("mercurio: "), "{said}");
        if name != "FORMAT" {
            let to = home.path().join("restored");
            let (status, _, said) = run(&mut restore(&at, &to)).await;
            assert_eq!(status.code(), Some(1), "{}", path.display());
            assert!(
                said.contains("damaged") && !said.contains("panicked"),
                "{said}"
            );
            let _ = fs::remove_dir_all(to);
        }
        fs::write(&path, whole).unwrap();
    }
    let found = done(&mut look_through(&at)).await;
    assert_eq!(
        (&found["problems"], &found["segmentsFromJournal"]),
        (&0.into(), &0.into())
    );

    // Not only of backups: of what a core left when it was killed, too.
    core.kill();
    let data = core.setup.data_dir();
    done(&mut look_through(&data)).await;
    let packed = files(&data.join("segments"));
    let packed = packed.iter().find(|path| path.ends_with("data")).unwrap();
    let mut damaged = fs::read(packed).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(packed, damaged).unwrap();
    let (status, found, said) = run(&mut look_through(&data)).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        found["problems"].as_u64().unwrap() > 0 && said.contains("segments/"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_refused_and_says_why() {
    let home = tempfile::TempDir::new().unwrap();
    let (core, _) = filled(20, 100).await;
    let path = |name: &str| home.path().join(name);
    done(&mut backup(&core, core.grpc(), &path("a"))).await;

    // There is something.
    fs::create_dir(path("full")).unwrap();
    fs::write(path("full/mine"), "mine").unwrap();
    for mut command in [
        backup(&core, core.grpc(), &path("a")),
        backup(&core, core.grpc(), &path("full")),
        restore(&path("a"), &path("full")),
        restore(&path("a"), &core.setup.data_dir()),
    ] {
        let (status, _, said) = run(&mut command).await;
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(
            said.contains("is there already") || said.contains("not empty"),
            "{said}"
        );
    }
    assert_eq!(files(&path("full")), [path("full/mine")]);
    // It is none.
    for dir in ["full", "nowhere"] {
        let (status, _, said) = run(&mut restore(&path(dir), &path("b"))).await;
        assert_eq!(status.code(), Some(1));
        assert!(said.contains("MANIFEST"), "{said}");
        let (status, _, said) = run(&mut look_through(&path(dir))).await;
        assert_eq!(status.code(), Some(1));
        assert!(said.contains("is no data directory"), "{said}");
        assert!(!path("b").exists() && !path("full/LOCK").exists());
    }
    // Nobody is there, or says no; nothing is left of it.
    let nobody = mercurio_tests::service::free_address();
    let (status, _, said) = run(&mut backup(&core, nobody, &path("b"))).await;
    assert_eq!(status.code(), Some(3), "{said}");
    let mut command = mercurio();
    command
        .args(["backup", "--core-url", &format!("http://{}", core.grpc())])
        .arg(path("b"))
        .env("MERCURIO_TOKEN", core.secret().service());
    let (status, _, said) = run(&mut command).await;
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("notifications:admin"), "{said}");
    assert!(!path("b").exists());
}
