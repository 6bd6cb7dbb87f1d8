//! Data of every released format: this version opens it, finds it whole, answers as the version that
//! wrote it did, and goes on. The fixtures, and how the next one is made: `tests/fixtures/README.md`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use mercurio_proto::v1::{PublishRequest, SubscribeRequest, subscribe_response::Change};
use mercurio_tests::{
    binary::repository,
    prelude::*,
    service::{finish, mercurio},
    tools::tool,
};
use serde_json::{Value, json};

/// Whose history is recorded. The last one is known by what went to everyone alone.
const USERS: [&str; 4] = ["alice", "bob", "ünï-carol", "nobody-yet"];
/// So that what is recorded is true in years, too.
const FOREVER: [&str; 2] = ["--max-age", "36500d"];

fn fixtures() -> PathBuf {
    repository().join("tests/fixtures")
}

/// Runs a command that has to succeed; its answer.
async fn done(command: &mut Command) -> Value {
    let (status, out, err) = finish("a command", command, LATER).await;
    assert!(status.success(), "{command:?}: {status}: {err}");
    serde_json::from_str(&out).unwrap_or(Value::Null)
}

async fn find_whole(dir: &Path) {
    let found = done(mercurio().args(["verify", "--data-dir"]).arg(dir)).await;
    assert_eq!(found["problems"], 0, "{found:#}");
}

/// What users are answered: histories, counts, and what a reader is told who comes from before the
/// oldest that is kept, and from in between.
async fn answers(service: &Service) -> Value {
    let api = service.service_api();
    let mut answers = serde_json::Map::new();
    for user in USERS {
        let token = service.secret().service();
        let at = |query: &str| format!("/api/clients/{}/notifications{query}", escape(user));
        let list = Request::get(at("?limit=500")).bearer(&token);
        let mut list = list.send(service.http()).await.expect(200);
        let next = list["nextPageToken"].as_str().unwrap_or_default();
        assert_eq!(next, "", "{user} has one page");
        for one in list["notifications"].as_array_mut().expect("a list") {
            // Large ones by their length and their end.
            let data = one["data"].as_str().expect("text");
            if data.len() > 200 {
                one["data"] = json!([data.len(), &data[data.len() - 20..]]);
            }
        }
        let mut opened = Vec::new();
        for after in [1, list["cursor"].as_u64().expect("a cursor") - 40] {
            let request = SubscribeRequest {
                until_current: true,
                ..feed(user, Some(after))
            };
            let entries = api.subscribe(request).await.to_end().await;
            let Some(Change::Opened(first)) = &entries[0].change else {
                panic!("{:?}", entries[0]);
            };
            let cursors: Vec<u64> = entries[1..].iter().map(|entry| entry.cursor).collect();
            opened.push(json!({
                "after": after, "complete": first.complete, "oldest": first.oldest,
                "unread": first.unread_count, "cursors": cursors,
            }));
        }
        answers.insert(user.into(), json!({ "history": list, "opened": opened }));
    }
    answers.into()
}

/// Whether each of these is known as having been published as this id.
async fn expect_known(api: &Api, published: &Value) {
    for (key, id) in published.as_object().expect("keys and ids") {
        let answer = api.publish(with_id(key, to(&["alice"], "again", ""))).await;
        assert_eq!(json!(answer.id), *id, "{key}");
        assert!(answer.duplicate, "{key}");
    }
}

/// `mercurio revoke` of what the fixtures have as revoked, until 2125.
fn revoke(service: &Service) -> Command {
    let mut command = mercurio();
    command
        .args(["revoke", "--jti", "of-the-fixture"])
        .args(["--until", "2125-01-01T00:00:00Z"])
        .args(["--core-url", &format!("http://{}", service.grpc())])
        .arg("--jwt-secret-file")
        .arg(service.secret().path());
    command
}

/// `mercurio delete` of these.
async fn delete(service: &Service, what: &[&str]) {
    let mut command = mercurio();
    command
        .arg("delete")
        .args(what)
        .args(["--core-url", &format!("http://{}", service.grpc())])
        .arg("--jwt-secret-file")
        .arg(service.secret().path());
    let deleted = done(&mut command).await;
    assert!(deleted["deleted"].as_u64() > Some(0), "{deleted}");
}

/// An archive of `tests/fixtures`, unpacked in a directory of its own.
async fn unpacked(archive: &Path) -> Option<tempfile::TempDir> {
    let tar = tool("tar")?;
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(tar);
    done(command.arg("-xzf").arg(archive).arg("-C").arg(dir.path())).await;
    Some(dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_released_format_is_read() {
    let formats = fs::read_dir(fixtures()).expect("the fixtures");
    let formats = formats.map(|entry| entry.expect("the fixtures").path());
    let is_store = |path: &PathBuf| path.join("answers.json").is_file();
    let formats: Vec<PathBuf> = formats.filter(is_store).collect();
    assert!(!formats.is_empty());
    for format in formats {
        let recorded = fs::read(format.join("answers.json")).expect("what was recorded");
        let recorded: Value = serde_json::from_slice(&recorded).expect("JSON");
        let Some(store) = unpacked(&format.join("store.tar.gz")).await else {
            return;
        };
        goes_on(&store.path().join("data"), &recorded).await;
        let backup = unpacked(&format.join("backup.tar.gz")).await;
        let backup = backup.expect("tar is there");
        let restored = backup.path().join("restored");
        let from = backup.path().join("backup");
        done(
            mercurio()
                .arg("restore")
                .arg(from)
                .arg("--data-dir")
                .arg(&restored),
        )
        .await;
        goes_on(&restored, &recorded).await;
    }
}

/// A data directory answers as it was recorded, also after something was published and after a
/// restart.
async fn goes_on(dir: &Path, recorded: &Value) {
    find_whole(dir).await;
    let mut service = Setup::serve().args(FOREVER).data(dir).start().await;
    assert_eq!(answers(&service).await, recorded["answers"]);
    let api = service.service_api();
    expect_known(&api, &recorded["published"]).await;
    assert_eq!(answers(&service).await, recorded["answers"], "nothing new");

    // What was revoked is so still.
    let again = done(&mut revoke(&service)).await;
    assert_eq!(again["alreadyRevoked"], true, "{again}");

    let before = api.unread("alice").await;
    let next = with_id("the-next", to(&["alice"], "next", "goes on"));
    let id = api.publish(next.clone()).await.id;
    let latest = recorded["answers"]["alice"]["history"]["cursor"].as_u64();
    assert!(Some(id) > latest);
    let oldest = &recorded["answers"]["alice"]["history"]["notifications"];
    let oldest = oldest.as_array().expect("a list").last().expect("some");
    let oldest = oldest["notificationID"].as_u64().expect("an id");
    assert_eq!(api.mark_up_to("alice", oldest, false).await.unread_count, {
        let was_read = recorded["answers"]["alice"]["history"]["notifications"]
            .as_array()
            .expect("a list")
            .last()
            .expect("some")
            .get("readAt")
            .is_some();
        before + 1 + u64::from(was_read)
    });
    service.restart().await;
    let api = service.service_api();
    assert_eq!(api.history("alice").await.last().expect("one").id, id);
    assert_eq!(api.publish(next).await.id, id);
    expect_known(&api, &recorded["published"]).await;
    service.stop().await;
    find_whole(dir).await;
}

/// Makes the fixture of this version's format in `target/fixture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a fixture, before a release: tests/fixtures/README.md"]
async fn make_the_fixture() {
    let made = repository().join("target/fixture");
    let _ = fs::remove_dir_all(&made);
    fs::create_dir_all(&made).expect("a folder");
    let small = ["--segment-rows", "100", "--sweep-interval", "100ms"];
    // What is buried: past by its age, before anything that stays.
    let mut first = Setup::serve().args(small).args(["--max-age", "1s"]);
    first = first.data(made.join("data"));
    let mut service = first.start().await;
    let api = service.service_api();
    for n in 0..120 {
        api.publish(to(&["alice", "bob"], "past", &format!("past {n}")))
            .await;
    }
    eventually("all is buried", LATER, async || {
        let names = segments(&made.join("data"));
        let is_one = names.len() == 2 && names[0].contains('.');
        (is_one && api.unread("alice").await == 0).then_some(())
    })
    .await;
    service.stop().await;

    // What is packed and merged (eight segments become one), what is packed, and what is live.
    let setup = Setup::serve().args(small).args(FOREVER);
    let mut service = setup.data(made.join("data")).start().await;
    let api = service.service_api();
    let mut published = serde_json::Map::new();
    let many: Vec<String> = (0..30).map(|n| format!("of-many-{n}")).collect();
    let mut ids = Vec::new();
    for n in 0..150 {
        let topic = ["", "invoice.paid", "news.é"][n % 3];
        let body = format!("notification {n}, 🦀 <&>\n");
        let mut audience: Vec<&str> = match n % 5 {
            0 => vec!["alice"],
            1 => vec!["alice", "bob"],
            2 => vec!["ünï-carol"],
            _ => many.iter().map(String::as_str).collect(),
        };
        if n % 5 == 4 {
            audience.push("alice");
        }
        let request = match n % 30 {
            7 => to_everyone(topic, &body),
            // A body that stands apart from its rows.
            11 => to(&audience, topic, &body.repeat(100)),
            13 => with_ttl(Duration::from_millis(200), to(&["alice"], topic, &body)),
            17 => with_ttl(
                Duration::from_secs(99 * 365 * 24 * 3600),
                to(&["alice"], topic, &body),
            ),
            _ => to(&audience, topic, &body),
        };
        ids.push(keyed(&api, &mut published, n, request).await);
        let id_of = |n: usize| ids[n].to_string();
        match n {
            20 => drop(done(&mut revoke(&service)).await),
            45 => {
                delete(
                    &service,
                    &["--recipient", "alice", "--id", &id_of(25), &id_of(35)],
                )
                .await
            }
            50 => delete(&service, &["--id", &id_of(37)]).await,
            130 => delete(&service, &["--recipient", "of-many-3", "--all"]).await,
            60 => drop(api.mark("alice", &ids[..20], true).await),
            70 => drop(api.mark("alice", &ids[3..8], false).await),
            100 => drop(api.mark_up_to("bob", ids[50], true).await),
            _ => {}
        }
        if n == 125 {
            eventually("eight segments are one", LATER, async || {
                let names = segments(&made.join("data"));
                // Numbers that are missing went into others.
                let last = names.last()?.split('.').next()?.parse::<usize>().ok()?;
                (names.len() + 4 < last).then_some(())
            })
            .await;
        }
    }
    // A segment that is packed and not merged, and behind it a live one with the newest marks.
    let is_packed = |name: &String| name.ends_with(".1");
    let of_many: Vec<&str> = many.iter().map(String::as_str).collect();
    eventually("a segment is packed and not merged", LATER, async || {
        for _ in 0..4 {
            api.publish(to(&of_many, "", "one of many")).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let names = segments(&made.join("data"));
        names.iter().any(is_packed).then_some(())
    })
    .await;
    api.mark("ünï-carol", &ids[140..], true).await;
    let everyones = to_everyone("last", "the last one");
    keyed(&api, &mut published, 150, everyones).await;
    // What expires has expired by now: that was a second before.
    let recorded = json!({ "answers": answers(&service).await, "published": published });
    expect_known(&api, &recorded["published"]).await;
    let mut backup = mercurio();
    backup
        .args([
            "backup",
            "--core-url",
            &format!("http://{}", service.grpc()),
        ])
        .arg("--jwt-secret-file")
        .arg(service.secret().path())
        .arg(made.join("backup"));
    done(&mut backup).await;
    assert_eq!(answers(&service).await, recorded["answers"]);
    service.stop().await;
    println!("{:?}", segments(&made.join("data")));
    let tar = tool("tar").expect("tar");
    for name in ["data", "backup"] {
        let archive = match name {
            "data" => "store.tar.gz",
            _ => "backup.tar.gz",
        };
        let mut command = Command::new(&tar);
        command.current_dir(&made).env("GZIP", "-9");
        command.args([
            "--owner=0",
            "--group=0",
            "--exclude=LOCK",
            "-czf",
            archive,
            name,
        ]);
        done(&mut command).await;
    }
    let text = serde_json::to_vec(&recorded).expect("JSON");
    fs::write(made.join("answers.json"), text).expect("written");
}

/// Publishes under a key; every tenth is recorded.
async fn keyed(
    api: &Api,
    published: &mut serde_json::Map<String, Value>,
    n: usize,
    request: PublishRequest,
) -> u64 {
    let key = format!("event-{n}");
    let id = api.publish(with_id(&key, request)).await.id;
    // That of one that expires may be used anew.
    if n.is_multiple_of(10) {
        published.insert(key, id.into());
    }
    id
}

/// The names of the segments, in order.
fn segments(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data.join("segments")).expect("the segments");
    let names = names.map(|entry| entry.expect("a segment").file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}
