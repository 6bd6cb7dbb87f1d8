//! The commands as they are typed: what they print, how they exit, where their settings come from.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mercurio_tests::{
    binary,
    prelude::*,
    process::{Process, Signal},
    service::{free_address, mercurio},
    tokens::{ANY, PUBLISH, Secret},
};
use serde_json::{Value, json};

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// Asserts the exit code.
    #[track_caller]
    fn code(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts success and gives each line of the output as JSON.
    #[track_caller]
    fn lines(self) -> Vec<Value> {
        parse(&self.code(0).out)
    }

    /// Asserts success and one line.
    #[track_caller]
    fn line(self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }

    /// Asserts an exit code, that nothing was printed, and that all of this was said.
    #[track_caller]
    fn refused(self, code: i32, texts: &[&str]) -> String {
        let ended = self.code(code);
        assert_eq!(ended.out, "", "{ended:?}");
        for text in texts {
            assert!(ended.err.contains(text), "{text:?} is not said: {ended:?}");
        }
        ended.err
    }
}

#[track_caller]
fn parse(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"))
    };
    text.lines().map(line).collect()
}

async fn run(mut command: Command) -> Ended {
    run_with_input(command.stdin(Stdio::null())).await
}

async fn run_with_input(command: &mut Command) -> Ended {
    let mut process = Process::spawn_with_input("mercurio", command);
    let status = process.wait(SOON).await;
    Ended {
        code: status.code().expect("ended by itself"),
        out: process.stdout.to_end(SOON).await,
        err: process.stderr.to_end(SOON).await,
    }
}

/// `mercurio` with these arguments in the directory of this core, with its address and its key.
fn mercurio_at(core: &Service, args: &[&str]) -> Command {
    let mut command = mercurio();
    command
        .current_dir(core.setup.home())
        .env("MERCURIO_CORE_URL", format!("http://{}", core.grpc()))
        .env("MERCURIO_JWT_SECRET_FILE", core.secret().path())
        .args(args);
    command
}

async fn at(core: &Service, args: &[&str]) -> Ended {
    run(mercurio_at(core, args)).await
}

/// The same with this token in place of the key.
async fn with_token(core: &Service, token: &str, args: &[&str]) -> Ended {
    let mut command = mercurio_at(core, args);
    command.env_remove("MERCURIO_JWT_SECRET_FILE");
    command.env("MERCURIO_TOKEN", token);
    run(command).await
}

/// An empty directory to run commands in.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = mercurio();
        command.current_dir(self.path()).args(args);
        command
    }

    async fn run(&self, args: &[&str]) -> Ended {
        run(self.command(args)).await
    }

    async fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        run(command).await
    }
}

/// The claims of a token that this secret signed.
#[track_caller]
fn claims(token: &str, secret: &[u8]) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret);
    let token = jsonwebtoken::decode::<Value>(token.trim(), &key, &validation);
    token.expect("a token of this secret").claims
}

const COMMANDS: [&str; 9] = [
    "serve",
    "core",
    "gateway",
    "dev",
    "token",
    "publish",
    "subscribe",
    "history",
    "read",
];

// Help

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_help_with_an_example_of_flags_it_takes() {
    let place = Place::new();
    let all = place.run(&["--help"]).await.code(0).out;
    for command in COMMANDS {
        assert!(all.contains(&format!("  {command} ")), "{command}: {all}");
        let help = place.run(&[command, "--help"]).await.code(0).out;
        let (above, example) = help.split_once("Example:").expect("an example");
        let example = example.trim().lines().next().unwrap();
        assert!(
            example.starts_with(&format!("mercurio {command}")),
            "{example}"
        );
        for flag in example.split_whitespace().filter(|w| w.starts_with("--")) {
            assert!(above.contains(&format!("{flag} ")), "{flag}: {help}");
        }
        for code in 0..=5 {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}: {help}");
        }
    }
    assert_eq!(place.run(&["--version"]).await.code(0).err, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_help_work() {
    let core = Setup::core().start().await;
    fs::copy(core.secret().path(), core.setup.home().join("key")).unwrap();
    let binaries = binary::mercurio().parent().unwrap().display().to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    for (command, prints) in [
        ("token", "eyJ"),
        ("publish", "\"notificationID\":1"),
        ("history", "Invoice 7 was paid"),
        ("subscribe", "Invoice 7 was paid"),
    ] {
        let help = at(&core, &[command, "--help"]).await.code(0).out;
        let example = help.split_once("Example:").unwrap().1.trim();
        let mut line = Command::new("bash");
        line.args(["-c", &format!("exec {}", example.lines().next().unwrap())]);
        // What `mercurio` is started with, and that it is found.
        for (name, value) in mercurio_at(&core, &[]).get_envs() {
            match value {
                Some(value) => line.env(name, value),
                None => line.env_remove(name),
            };
        }
        line.env("PATH", &path).current_dir(core.setup.home());
        let process = Process::spawn(command, &mut line);
        process.stdout.wait_for(prints, SOON).await;
    }
}

// Token

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_token_works_for_its_user_and_within_its_scopes() {
    let core = Setup::core().start().await;
    let secret = core.secret().bytes();
    let token = at(&core, &["token", "--sub", "alice"]).await.code(0).out;
    assert_eq!(token.lines().count(), 1, "{token}");
    let said = claims(&token, secret);
    assert_eq!(said["sub"], "alice");
    assert_eq!(said["scope"], Value::Null);
    let lifetime =
        |claims: &Value| claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    // Rounded up to a whole second.
    assert!((3600..=3601).contains(&lifetime(&said)), "{said}");
    let alice = core.api(&token);
    assert_eq!(alice.unread("alice").await, 0);
    let denied = tonic::Code::PermissionDenied;
    expect_reason(
        alice.try_list(page("bob", 1)).await,
        denied,
        "NOT_YOUR_FEED",
    );
    let request = to(&["alice"], "t", "x");
    expect_reason(
        alice.try_publish(request.clone()).await,
        denied,
        "SCOPE_MISSING",
    );

    let args = [
        "token", "--sub", "shop", "--scope", PUBLISH, "--ttl", "2h 30m",
    ];
    let token = at(&core, &args).await.code(0).out;
    let said = claims(&token, secret);
    assert!((9000..=9001).contains(&lifetime(&said)), "{said}");
    let shop = core.api(&token);
    shop.publish(request).await;
    expect_reason(
        shop.try_list(page("alice", 1)).await,
        denied,
        "NOT_YOUR_FEED",
    );

    let both = format!("{PUBLISH} {ANY}");
    for scopes in [
        vec!["--scope", PUBLISH, "--scope", ANY],
        vec!["--scope", &both],
    ] {
        let args = [vec!["token", "--sub", "shop"], scopes].concat();
        let token = at(&core, &args).await.code(0).out;
        assert_eq!(claims(&token, secret)["scope"], both);
        assert_eq!(core.api(&token).unread("alice").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_token_ends_with_its_ttl() {
    let core = Setup::core().start().await;
    let args = ["token", "--sub", "alice", "--ttl", "1s"];
    let api = core.api(&at(&core, &args).await.code(0).out);
    let refused = eventually("the token expires", SOON, async || {
        api.try_list(page("alice", 1)).await.err()
    })
    .await;
    expect_reason::<()>(Err(refused), tonic::Code::Unauthenticated, "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_can_t_be_is_refused() {
    let place = Place::new();
    let secret = "a secret that is long enough for anybody";
    let long = "x".repeat(129);
    let token = ["token", "--jwt-secret", secret];
    for (args, why) in [
        (["--sub", "alice", "--ttl=0s"], "lifetime"),
        (["--sub", "alice", "--ttl=999ms"], "lifetime"),
        (["--sub", "alice", "--ttl=9000y"], "lifetime"),
        (["--sub", "alice", "--ttl=10"], "--ttl"),
        (["--sub", "alice", "--ttl=soon"], "--ttl"),
        (["--sub", "alice", "--ttl=-5s"], "--ttl"),
        (["--sub", "", "--ttl=5s"], "user"),
        (["--sub", &long, "--ttl=5s"], "user"),
        (["--sub", "a\nb", "--ttl=5s"], "user"),
    ] {
        place
            .run(&[&token[..], &args].concat())
            .await
            .refused(2, &[why]);
    }
    place.run(&token).await.refused(2, &["--sub"]);
    // Without a key, and without one that `dev` has left.
    let ended = place.run(&["token", "--sub", "alice"]).await;
    ended.refused(2, &["--jwt-secret-file"]);
}

#[test]
fn a_token_that_nobody_reads_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["token", "--sub", "alice", "--jwt-secret", "secret"];
    let output = Place::new().command(&args).stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

// Publish

#[tokio::test(flavor = "multi_thread")]
async fn publish_to_one_to_several_and_to_everyone() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    let publish = async |args: &[&str]| {
        let line = at(&core, &[&["publish"], args].concat()).await.line();
        assert_eq!(line["duplicate"], false);
        let id = line["notificationID"].as_u64().expect("an id");
        (id, line["eventID"].as_str().unwrap().to_owned())
    };
    let (one, event) = publish(&["--to", "alice", "--topic", "a.b", "--data", "one"]).await;
    let got = api.get("alice", one).await.unwrap();
    assert_eq!((got.topic.as_str(), got.data.as_str()), ("a.b", "one"));
    assert_eq!((got.event_id, got.expires_at), (event, None));
    assert_eq!(got.source_id, "mercurio-cli");
    let args = [
        "--to", "alice", "--to", "bob", "--data", "", "--source", "shop",
    ];
    let (two, _) = publish(&args).await;
    let (all, _) = publish(&["--everyone", "--data", "all", "--ttl", "1h 1s"]).await;
    assert!(one < two && two < all);
    let seen = async |user: &str| -> Vec<(u64, String)> {
        let all = api.history(user).await;
        all.into_iter().map(|n| (n.id, n.data)).collect()
    };
    let both = (two, String::new());
    let last = (all, "all".to_owned());
    assert_eq!(
        seen("alice").await,
        [(one, "one".to_owned()), both.clone(), last.clone()]
    );
    assert_eq!(seen("bob").await, [both, last.clone()]);
    assert_eq!(seen("carol").await, [last]);
    let got = api.get("carol", all).await.unwrap();
    let (created, expires) = (got.created_at.unwrap(), got.expires_at.unwrap());
    assert!(got.broadcast);
    assert_eq!(expires.seconds - created.seconds, 3601);
    assert_eq!(api.get("bob", two).await.unwrap().source_id, "shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_for_a_moment_goes() {
    let core = Setup::core().start().await;
    let args = ["publish", "--to", "alice", "--data", "x", "--ttl", "300ms"];
    let id = at(&core, &args).await.line()["notificationID"].as_u64();
    assert_eq!(id, Some(1));
    let api = core.service_api();
    eventually("it expires", SOON, async || {
        (api.unread("alice").await == 0).then_some(())
    })
    .await;
    assert!(api.history("alice").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_id_given_twice_prints_duplicate() {
    let core = Setup::core().start().await;
    let publish = async |source: &str, data: &str| {
        let args = [
            "publish",
            "--to",
            "alice",
            "--event-id",
            "e-1",
            "--source",
            source,
            "--data",
            data,
        ];
        at(&core, &args).await.line()
    };
    let first = publish("shop", "first").await;
    assert_eq!(
        first,
        json!({ "notificationID": 1, "eventID": "e-1", "duplicate": false })
    );
    let again = publish("shop", "again").await;
    assert_eq!(
        again,
        json!({ "notificationID": 1, "eventID": "e-1", "duplicate": true })
    );
    // Another service's event of the same name is another one.
    assert_eq!(publish("bank", "other").await["duplicate"], false);
    let history = core.service_api().history("alice").await;
    let data: Vec<&str> = history.iter().map(|n| n.data.as_str()).collect();
    assert_eq!(data, ["first", "other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_taken_as_it_is() {
    let core = Setup::core().start().await;
    let place = Place::new();
    let publish = async |data: &str, input: &[u8]| {
        fs::write(place.path().join("input"), input).unwrap();
        let file = fs::File::open(place.path().join("input")).unwrap();
        let mut command = mercurio_at(&core, &["publish", "--to", "alice", "--data", data]);
        run_with_input(command.stdin(file)).await
    };
    for (data, input, stored) in [
        (
            "-",
            "from standard input,\nwith lines: \u{1f514}\n",
            "from standard input,\nwith lines: \u{1f514}\n",
        ),
        ("-", "", ""),
        ("--", "unread", "--"),
        ("-1 °C", "unread", "-1 °C"),
        ("--everyone", "unread", "--everyone"),
        ("{\"a\": \"\\n\"}", "unread", "{\"a\": \"\\n\"}"),
    ] {
        let line = publish(data, input.as_bytes()).await.line();
        let id = line["notificationID"].as_u64().unwrap();
        let got = core.service_api().get("alice", id).await.unwrap();
        assert_eq!(got.data, stored);
    }
    publish("-", b"\xff\xfe")
        .await
        .refused(2, &["--data", "UTF-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_can_t_be_is_refused_with_what_is_wrong() {
    let core = Setup::core().args(["--data-max-bytes", "10"]).start().await;
    let long = "x".repeat(129);
    for (args, named) in [
        (vec!["--data", "x"], vec!["--to", "--everyone"]),
        (
            vec!["--to", "a", "--everyone", "--data", "x"],
            vec!["--to", "--everyone"],
        ),
        (vec!["--to", "a"], vec!["--data"]),
        (vec!["--to", "a", "--data", "x", "--ttl", "0s"], vec!["ttl"]),
        (
            vec!["--to", "a", "--data", "x", "--ttl", "soon"],
            vec!["--ttl"],
        ),
        (
            vec!["--to", "a", "--data", "x", "--colour", "red"],
            vec!["--colour"],
        ),
        // All that is wrong is said at once.
        (
            vec![
                "--to",
                &long,
                "--data",
                "12345678901",
                "--topic",
                "a..b",
                "--source",
                "",
            ],
            vec![
                "recipients.ids[0]",
                "data",
                "topic",
                "source_id",
                "[INVALID_FIELD]",
            ],
        ),
    ] {
        let ended = at(&core, &[vec!["publish"], args].concat()).await;
        ended.refused(2, &named);
    }
    assert!(core.service_api().history("a").await.is_empty());
}

// Subscribe

/// `mercurio subscribe`, running.
struct Follower(Process);

impl Follower {
    fn start(mut command: Command) -> Follower {
        Follower(Process::spawn("mercurio subscribe", &mut command))
    }

    fn of(core: &Service, args: &[&str]) -> Follower {
        Self::start(mercurio_at(core, &[&["subscribe"], args].concat()))
    }

    fn lines(&self) -> Vec<Value> {
        parse(&self.0.stdout.text())
    }

    /// Waits until a line with this text is printed.
    async fn prints(&self, text: &str) -> Value {
        parse(&self.0.stdout.wait_for(text, SOON).await)[0].clone()
    }

    /// What it has printed of notifications: id and data.
    fn notifications(&self) -> Vec<(u64, String)> {
        let lines = self.lines();
        let found = lines.iter().filter_map(|line| {
            let notification = line.get("notification")?;
            let id = notification["notificationID"].as_u64().unwrap();
            assert_eq!(line["cursor"], id);
            Some((id, notification["data"].as_str().unwrap().to_owned()))
        });
        found.collect()
    }

    /// How often it says how a stream begins.
    fn openings(&self) -> usize {
        let lines = self.lines();
        lines
            .iter()
            .filter(|line| line.get("opened").is_some())
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_prints_each_change_as_it_comes() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    api.publish(to(&["alice"], "t", "before")).await;
    let mut alice = Follower::of(&core, &["--recipient", "alice"]);
    let opened = alice.prints("opened").await;
    assert_eq!(
        opened,
        json!({ "cursor": 1, "opened": { "complete": true, "oldest": 1, "latest": 1, "unreadCount": 1 } })
    );
    // Each is waited for before the next one is made.
    let two = api
        .publish(with_id("e-2", to(&["alice"], "a.b", "line\nbreak")))
        .await;
    let line = alice.prints("notificationID\":2").await;
    let created = line["notification"]["createdAt"].clone();
    assert!(
        created.as_str().is_some_and(|text| text.ends_with('Z')),
        "{line}"
    );
    assert_eq!(
        line,
        json!({ "cursor": two.id, "notification": {
            "notificationID": two.id, "eventID": "e-2", "sourceID": "tests", "clientID": "alice",
            "topic": "a.b", "data": "line\nbreak", "createdAt": created,
        }})
    );
    api.publish(to(&["bob"], "t", "not hers")).await;
    api.publish(to_everyone("t", "hers too")).await;
    let line = alice.prints("hers too").await;
    assert_eq!(line["notification"]["broadcast"], true);
    assert_eq!(line["notification"]["clientID"], "alice");
    api.mark("alice", &[1, 2], true).await;
    assert_eq!(
        alice.prints("readState").await,
        json!({ "cursor": 5, "readState":
            { "notificationIDs": [1, 2], "upTo": null, "status": "read", "unreadCount": 1 } })
    );
    api.mark_up_to("alice", 4, false).await;
    assert_eq!(
        alice.prints("\"unread\"").await,
        json!({ "cursor": 6, "readState":
            { "notificationIDs": [], "upTo": 4, "status": "unread", "unreadCount": 3 } })
    );
    let kinds = alice.lines().len();
    assert_eq!(kinds, 5, "{:?}", alice.lines());
    alice.0.terminate();
    assert_eq!(alice.0.wait(SOON).await.code(), Some(0));
    assert_eq!(alice.0.stderr.text(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_begins_where_it_is_told_to() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    for (topic, data) in [("a.x", "1"), ("b.x", "2"), ("a.y.z", "3"), ("c", "4")] {
        api.publish(to(&["alice"], topic, data)).await;
    }
    let seen = async |args: &[&str]| {
        let until = ["subscribe", "--recipient", "alice", "--until-current"];
        let lines = at(&core, &[&until, args].concat()).await.lines();
        assert!(lines[0].get("opened").is_some(), "{lines:?}");
        let data = lines[1..].iter().map(|line| {
            let data = line["notification"]["data"].as_str();
            data.unwrap_or_else(|| panic!("{line}")).to_owned()
        });
        data.collect::<Vec<_>>()
    };
    assert_eq!(seen(&["--after", "oldest"]).await, ["1", "2", "3", "4"]);
    assert_eq!(seen(&["--after", "0"]).await, ["1", "2", "3", "4"]);
    assert_eq!(seen(&["--after", "2"]).await, ["3", "4"]);
    assert!(seen(&["--after", "now"]).await.is_empty());
    assert!(seen(&[]).await.is_empty());
    let filters = ["--after", "oldest", "--topic", "a.>", "--topic", "c"];
    assert_eq!(seen(&filters).await, ["1", "3", "4"]);
    assert_eq!(
        seen(&["--after", "oldest", "--topic", "*.x"]).await,
        ["1", "2"]
    );

    for after in ["yesterday", "-1", "1.5", ""] {
        let after = format!("--after={after}");
        let ended = at(&core, &["subscribe", "--recipient", "alice", &after]).await;
        ended.refused(2, &["--after", "oldest"]);
    }
    let ended = at(
        &core,
        &["subscribe", "--recipient", "alice", "--topic", "a..b"],
    )
    .await;
    ended.refused(2, &["topics[0]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_resumes_without_gap_or_repeat_when_the_core_is_killed() {
    let mut core = Setup::core().start().await;
    let alice = Follower::of(&core, &["--recipient", "alice", "--after", "oldest"]);
    alice.prints("opened").await;
    let mut published = Vec::new();
    for round in 0..4 {
        let api = core.service_api();
        // Nobody waits until she has seen them: she is anywhere within them when the core goes.
        let ids = api.publish_many("alice", &format!("{round}-"), 150).await;
        published.extend(ids);
        if round % 2 == 0 {
            core.restart().await;
        } else {
            core.restart_gracefully().await;
        }
        let meanwhile = api.publish(to(&["alice"], "t", "meanwhile")).await.id;
        published.push(meanwhile);
        alice
            .prints(&format!("\"notificationID\":{meanwhile},"))
            .await;
        let said = alice.0.stderr.text().matches("reconnecting").count();
        assert!(said > round, "round {round}: {}", alice.0.stderr.text());
    }
    published.sort_unstable();
    let seen: Vec<u64> = alice.notifications().iter().map(|(id, _)| *id).collect();
    assert_eq!(seen, published);
    // Nothing was lost, so nothing is said of it.
    assert_eq!(alice.openings(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_says_so_when_something_was_lost_while_the_core_was_away() {
    let mut core = Setup::core().start().await;
    let api = core.service_api();
    api.publish(to(&["alice"], "t", "seen")).await;
    let alice = Follower::of(&core, &["--recipient", "alice", "--after", "oldest"]);
    alice.prints("\"seen\"").await;
    core.kill();
    alice.0.stderr.wait_for("reconnecting", SOON).await;
    // The log begins anew: her cursor is another one's.
    fs::remove_dir_all(core.setup.data_dir()).unwrap();
    core.restart().await;
    let line = alice.prints("\"complete\":false").await;
    assert!(line.get("opened").is_some(), "{line}");
    core.service_api()
        .publish(to(&["alice"], "t", "after"))
        .await;
    alice.prints("\"after\"").await;
    assert_eq!(alice.openings(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_goes_on_with_a_new_token_when_the_old_one_ends() {
    let core = Setup::core().start().await;
    let file = core.setup.home().join("token");
    let token = file.to_str().unwrap();
    let secret = core.secret();
    let renewed = async |fresh: Option<&str>| {
        fs::write(&file, secret.expiring("alice", "", 4)).unwrap();
        let args = ["subscribe", "--recipient", "alice", "--token-file", token];
        let mut command = mercurio_at(&core, &args);
        command.env_remove("MERCURIO_JWT_SECRET_FILE");
        let alice = Follower::start(command);
        alice.prints("opened").await;
        if let Some(fresh) = fresh {
            fs::write(&file, fresh).unwrap();
        }
        alice.0.stderr.wait_for("expired", SOON).await;
        alice
    };
    let alice = renewed(Some(&secret.user("alice"))).await;
    core.service_api()
        .publish(to(&["alice"], "t", "after"))
        .await;
    alice.prints("\"after\"").await;
    assert_eq!(alice.openings(), 1);
    // Where there is no other token it ends, and says why.
    let mut alice = renewed(None).await;
    assert_eq!(alice.0.wait(SOON).await.code(), Some(4));
    let said = alice.0.stderr.to_end(SOON).await;
    assert!(said.contains("[TOKEN_EXPIRED]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_hangs_is_not_waited_for_for_ever() {
    let core = Setup::core().start().await;
    let alice = Follower::of(&core, &["--recipient", "alice"]);
    alice.prints("opened").await;
    core.process.signal(Signal::STOP);
    let ended = at(&core, &["history", "--recipient", "alice"]).await;
    ended.refused(3, &["mercurio: "]);
    alice.0.stderr.wait_for("reconnecting", SOON).await;
    core.process.signal(Signal::CONT);
    core.service_api()
        .publish(to(&["alice"], "t", "after"))
        .await;
    alice.prints("\"after\"").await;
    assert_eq!(alice.openings(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_ends_when_nobody_reads_it() {
    let core = Setup::core().start().await;
    core.service_api().publish(to(&["alice"], "t", "x")).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["subscribe", "--recipient", "alice", "--after", "oldest"];
    let mut child = mercurio_at(&core, &args)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ends = Mutex::new(&mut child);
    let status = eventually("it ends", SOON, async || {
        ends.lock().unwrap().try_wait().unwrap()
    })
    .await;
    assert_eq!(status.code(), Some(0));
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(said, "");
}

// History

#[tokio::test(flavor = "multi_thread")]
async fn history_by_status_by_topic_and_in_pages() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    for n in 1..=7 {
        let topic = if n % 2 == 0 { "even.x" } else { "odd.x.y" };
        api.publish(to(&["alice"], topic, &n.to_string())).await;
    }
    api.mark("alice", &[2, 3], true).await;
    // The notifications' ids, and the last line.
    let history = async |args: &[&str]| {
        let all = [&["history", "--recipient", "alice"], args].concat();
        let mut lines = at(&core, &all).await.lines();
        let last = lines.pop().expect("a last line");
        assert_eq!(last["unreadCount"], 5, "whatever the filters: {last}");
        assert_eq!(last["cursor"], 8);
        let ids = lines.iter().map(|line| line["notificationID"].as_u64());
        let ids: Vec<u64> = ids.map(|id| id.expect("a notification")).collect();
        (ids, last["nextPageToken"].as_str().unwrap().to_owned())
    };
    let everything = (vec![7, 6, 5, 4, 3, 2, 1], String::new());
    assert_eq!(history(&[]).await, everything);
    assert_eq!(history(&["--status", "all"]).await, everything);
    assert_eq!(history(&["--status", "read"]).await.0, [3, 2]);
    assert_eq!(history(&["--status", "unread"]).await.0, [7, 6, 5, 4, 1]);
    assert_eq!(history(&["--topic", "even.*"]).await.0, [6, 4, 2]);
    assert_eq!(history(&["--topic", "odd.>"]).await.0, [7, 5, 3, 1]);
    let both = ["--topic", "odd.>", "--topic", "even.x", "--status", "read"];
    assert_eq!(history(&both).await.0, [3, 2]);
    assert!(history(&["--topic", "none"]).await.0.is_empty());

    let (first, token) = history(&["--limit", "3"]).await;
    assert_eq!(first, [7, 6, 5]);
    let (second, token) = history(&["--limit", "3", "--page-token", &token]).await;
    assert_eq!(second, [4, 3, 2]);
    let next = ["--limit", "3", "--page-token", &token];
    assert_eq!(history(&next).await, (vec![1], String::new()));
    assert_eq!(history(&["--limit", "2", "--all"]).await, everything);

    // As the gateway's JSON has it.
    let lines = at(
        &core,
        &["history", "--recipient", "alice", "--status", "read"],
    )
    .await;
    let lines = lines.lines();
    assert_eq!(
        (&lines[0]["data"], &lines[0]["clientID"]),
        (&json!("3"), &json!("alice"))
    );
    assert!(lines[0]["readAt"].is_string() && lines[0].get("expiresAt").is_none());
    // One who has none.
    let none = at(&core, &["history", "--recipient", "bob"]).await.line();
    assert_eq!(
        none,
        json!({ "cursor": 8, "unreadCount": 0, "nextPageToken": "" })
    );

    let bobs = ["--recipient", "bob", "--page-token", &token];
    for (args, named) in [
        (&["--recipient", "alice", "--limit", "0"][..], "--limit"),
        (&["--recipient", "alice", "--limit", "501"], "--limit"),
        (&["--recipient", "alice", "--status", "seen"], "--status"),
        (&["--recipient", "alice", "--topic", "a..b"], "topics[0]"),
        (&["--recipient", ""], "recipient_id"),
        (&[], "--recipient"),
        (&bobs, "page_token"),
    ] {
        let ended = at(&core, &[&["history"], args].concat()).await;
        ended.refused(2, &[named]);
    }
}

// Read

#[tokio::test(flavor = "multi_thread")]
async fn read_by_ids_up_to_and_all_and_unread_again() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    api.publish_many("alice", "n", 6).await;
    let read = async |args: &[&str]| {
        let line = at(&core, &[&["read", "--recipient", "alice"], args].concat())
            .await
            .line();
        let number = |key: &str| line[key].as_u64().unwrap_or_else(|| panic!("{line}"));
        assert_eq!(number("unreadCount"), api.unread("alice").await);
        assert!(number("cursor") >= 6, "{line}");
        let history = api.history("alice").await;
        let read = history.iter().filter(|n| n.read_at.is_some());
        (number("changed"), read.map(|n| n.id).collect::<Vec<_>>())
    };
    assert_eq!(read(&["2", "5"]).await, (2, vec![2, 5]));
    // What is read already is there all the same.
    assert_eq!(read(&["2", "2", "3"]).await, (1, vec![2, 3, 5]));
    assert_eq!(read(&["3", "--unread"]).await, (1, vec![2, 5]));
    assert_eq!(read(&["--up-to", "4"]).await, (3, vec![1, 2, 3, 4, 5]));
    assert_eq!(
        read(&["--up-to", "2", "--unread"]).await,
        (2, vec![3, 4, 5])
    );
    assert_eq!(read(&["--all"]).await, (3, vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(read(&["--all", "--unread"]).await, (6, vec![]));
    // Nothing there, nothing to do.
    let none = at(&core, &["read", "--recipient", "bob", "--all"])
        .await
        .line();
    assert_eq!(
        (&none["changed"], &none["unreadCount"]),
        (&json!(0), &json!(0))
    );

    for (args, named) in [
        (&[][..], "--all"),
        (&["1", "--all"], "--all"),
        (&["--up-to", "1", "--all"], "--all"),
        (&["--up-to", "0"], "up_to"),
        (&["--up-to", "x"], "--up-to"),
        (&["one"], "one"),
        (&["-1"], "-1"),
    ] {
        let ended = at(&core, &[&["read", "--recipient", "alice"], args].concat()).await;
        ended.refused(2, &[named]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_what_is_not_there_says_which() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    api.publish(to(&["alice"], "t", "hers")).await;
    api.publish(to(&["bob"], "t", "his")).await;
    let read = async |ids: &[&str]| {
        let args = [&["read", "--recipient", "alice"], ids].concat();
        at(&core, &args).await
    };
    let ended = read(&["1", "2", "99"]).await.code(5);
    assert!(
        ended.err.contains("2, 99") && ended.err.contains("alice"),
        "{ended:?}"
    );
    // What is there is marked.
    assert_eq!(parse(&ended.out)[0]["changed"], 1);
    assert_eq!((api.unread("alice").await, api.unread("bob").await), (0, 1));
    read(&["99"]).await.code(5);
    read(&["0"]).await.code(5);
    read(&["1"]).await.code(0);
}

// Exit codes

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_what_went_wrong() {
    let core = Setup::core().start().await;
    let clients: [&[&str]; 4] = [
        &["publish", "--to", "alice", "--data", "x"],
        &["subscribe", "--recipient", "alice", "--until-current"],
        &["history", "--recipient", "alice"],
        &["read", "--recipient", "alice", "--all"],
    ];
    let nobody = format!("http://{}", free_address());
    let here = format!("http://{}", core.grpc());
    let other = Secret::default();
    let other_file = other.path().to_str().unwrap();
    for args in clients {
        at(&core, args).await.code(0);
        let with = async |more: &[&str]| at(&core, &[args, more].concat()).await;
        with(&["--core-url", &nobody]).await.refused(3, &[&nobody]);
        // The next one is tried.
        with(&["--core-url", &nobody, "--core-url", &here])
            .await
            .code(0);
        with(&["--jwt-secret-file", other_file])
            .await
            .refused(4, &["signature", "[TOKEN_INVALID]"]);
        with(&["--no-such-flag"])
            .await
            .refused(2, &["--no-such-flag"]);
        with(&["--core-url", "here"])
            .await
            .refused(2, &["--core-url", "http://HOST:PORT"]);
        with(&["--token-file", "/nonexistent"])
            .await
            .refused(2, &["--token-file"]);
        let expired = core.secret().expiring("service", ANY, -1);
        with_token(&core, &expired, args)
            .await
            .refused(4, &["[TOKEN_EXPIRED]"]);
        let bob = core.secret().user("bob");
        let ended = with_token(&core, &bob, args).await;
        ended.refused(
            4,
            &[if args[0] == "publish" {
                "[SCOPE_MISSING]"
            } else {
                "[NOT_YOUR_FEED]"
            }],
        );
        // Without a key nobody is anybody.
        let mut command = mercurio_at(&core, args);
        command.env_remove("MERCURIO_JWT_SECRET_FILE");
        run(command)
            .await
            .refused(2, &["--token-file", "--jwt-secret-file"]);
    }
    let place = Place::new();
    place.run(&["colour"]).await.refused(2, &["colour"]);
    place
        .run(&["--http-adr", "x"])
        .await
        .refused(2, &["--http-adr"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_a_file_or_a_variable_is_what_is_shown() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    api.publish(to(&["alice"], "t", "x")).await;
    let alice = core.secret().user("alice");
    let file = core.setup.home().join("token");
    fs::write(&file, format!("{alice}\n")).unwrap();
    let history = ["history", "--recipient", "alice"];
    let by_file = [&history[..], &["--token-file", "token"]].concat();
    // The token is used though there is a key.
    assert_eq!(at(&core, &by_file).await.lines().len(), 2);
    let bobs = ["history", "--recipient", "bob", "--token-file", "token"];
    at(&core, &bobs).await.refused(4, &["[NOT_YOUR_FEED]"]);
    assert_eq!(with_token(&core, &alice, &history).await.lines().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_dev_a_command_needs_no_key() {
    let dev = Setup::new(mercurio_tests::service::Role::Dev).start().await;
    let url = format!("http://{}", dev.grpc());
    let here = async |args: &[&str]| {
        let mut command = mercurio();
        command.current_dir(dev.setup.home()).args(args);
        command.env("MERCURIO_CORE_URL", &url);
        run(command).await
    };
    here(&["publish", "--to", "alice", "--data", "x"])
        .await
        .line();
    let token = here(&["token", "--sub", "alice"]).await.code(0).out;
    assert_eq!(dev.api(&token).unread("alice").await, 1);
    here(&["read", "--recipient", "alice", "--all"])
        .await
        .line();
    assert_eq!(dev.api(&token).unread("alice").await, 0);
}

// Settings

const KEY: &str = "a secret that is long enough for anybody";

/// The issuer in the token that this prints: where the setting `jwt-issuer` came from.
async fn issuer(place: &Place, variables: &[(&str, &str)], args: &[&str]) -> Value {
    let all = [&["token", "--sub", "alice", "--jwt-secret", KEY], args].concat();
    let token = place.run_with(variables, &all).await.code(0).out;
    claims(&token, KEY.as_bytes())["iss"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_beats_a_variable_beats_dot_env_beats_the_file() {
    let place = Place::new();
    let config = ["--config", "settings.toml"];
    let variable = [("MERCURIO_JWT_ISSUER", "variable")];
    let flag = [&config[..], &["--jwt-issuer", "flag"]].concat();
    assert_eq!(issuer(&place, &[], &[]).await, Value::Null);
    place.write("settings.toml", "jwt-issuer = \"file\"\n");
    // The file is read where it is named, and nowhere else.
    assert_eq!(issuer(&place, &[], &[]).await, Value::Null);
    assert_eq!(issuer(&place, &[], &config).await, "file");
    place.write(".env", "MERCURIO_JWT_ISSUER=dot-env\n");
    assert_eq!(issuer(&place, &[], &config).await, "dot-env");
    assert_eq!(issuer(&place, &variable, &config).await, "variable");
    assert_eq!(issuer(&place, &variable, &flag).await, "flag");
    // A layer that is left out is passed through.
    assert_eq!(issuer(&place, &[], &flag).await, "flag");
    fs::remove_file(place.path().join(".env")).unwrap();
    assert_eq!(issuer(&place, &variable, &config).await, "variable");
    // The file itself is named in any layer above it.
    let named = [("MERCURIO_CONFIG", "settings.toml")];
    assert_eq!(issuer(&place, &named, &[]).await, "file");
    place.write(".env", "MERCURIO_CONFIG=settings.toml\n");
    assert_eq!(issuer(&place, &[], &[]).await, "file");
    place.write("other.toml", "jwt-issuer = \"other\"\n");
    assert_eq!(
        issuer(&place, &[], &["--config", "other.toml"]).await,
        "other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_beats_the_default() {
    let place = Place::new();
    let user = async |variables: &[(&str, &str)], args: &[&str]| {
        let all = [&["token", "--sub", "alice", "--jwt-secret", KEY], args].concat();
        let token = place.run_with(variables, &all).await.code(0).out;
        let claims = claims(&token, KEY.as_bytes());
        let claims = claims.as_object().unwrap();
        let found = claims.iter().find(|(_, value)| *value == "alice");
        found.expect("the user").0.clone()
    };
    assert_eq!(user(&[], &[]).await, "sub");
    assert_eq!(user(&[], &["--jwt-user-claim", "flag"]).await, "flag");
    assert_eq!(
        user(&[("MERCURIO_JWT_USER_CLAIM", "variable")], &[]).await,
        "variable"
    );
    place.write("settings.toml", "jwt-user-claim = \"file\"\n");
    assert_eq!(user(&[], &["--config", "settings.toml"]).await, "file");
    place.write(".env", "MERCURIO_JWT_USER_CLAIM=dot-env\n");
    assert_eq!(user(&[], &[]).await, "dot-env");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_values_in_each_layer() {
    let publishers = async |setup: Setup, expected: &[&str]| {
        let core = setup.start().await;
        for user in ["alice", "bob", "carol", "666"] {
            let api = core.api(&core.secret().user(user));
            let published = api.try_publish(to(&["x"], "t", "x")).await.is_ok();
            assert_eq!(published, expected.contains(&user), "{user}");
        }
    };
    let flags = ["--publisher", "alice", "--publisher", "bob"];
    publishers(Setup::core().args(flags), &["alice", "bob"]).await;
    let variable = Setup::core().env("MERCURIO_PUBLISHER", "bob, carol");
    publishers(variable, &["bob", "carol"]).await;
    // In the file also as the number it is. One layer replaces what is below it.
    let in_file = Setup::core();
    let path = in_file.home().join("settings.toml");
    fs::write(&path, "publisher = [\"alice\", 666]\n").unwrap();
    let in_file = in_file.args(["--config", path.to_str().unwrap()]);
    publishers(in_file.clone(), &["alice", "666"]).await;
    publishers(in_file.args(["--publisher", "bob"]), &["bob"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_nobody_knows_is_refused_in_every_layer_at_once() {
    let place = Place::new();
    let token = ["token", "--sub", "alice", "--jwt-secret", KEY];
    let unknown_flag = [&token[..], &["--jwt-isuer", "x"]].concat();
    place
        .run(&unknown_flag)
        .await
        .refused(2, &["--jwt-isuer", "--jwt-issuer"]);

    let variable = [("MERCURIO_JWT_ISUER", "x")];
    let ended = place.run_with(&variable, &token).await;
    let hint = "MERCURIO_JWT_ISUER (environment): unknown; did you mean MERCURIO_JWT_ISSUER?";
    ended.refused(2, &[hint]);

    let dot_env = "MERCURIO_COLOUR=red\n";
    place.write(".env", dot_env);
    let ended = place.run(&token).await;
    let hint = ended.refused(2, &["MERCURIO_COLOUR (.env): unknown"]);
    assert!(!hint.contains("did you mean"), "{hint}");

    place.write(
        "settings.toml",
        "# a comment\njwt-issuer = \"ok\"\n\"jwt-isuer\" = \"x\"\n\n[gateway]\nretry = \"1s\"\n",
    );
    let with_file = [&token[..], &["--config", "settings.toml"]].concat();
    let ended = place.run_with(&variable, &with_file).await;
    ended.refused(
        2,
        &[
            "4 settings are wrong:",
            "MERCURIO_JWT_ISUER (environment)",
            "MERCURIO_COLOUR (.env)",
            "jwt-isuer (settings.toml line 3): unknown; did you mean jwt-issuer?",
            "gateway (settings.toml line 5): unknown",
        ],
    );
    // A file can't name another one, nor what only a variable may hold in another way.
    fs::remove_file(place.path().join(".env")).unwrap();
    place.write("settings.toml", "config = \"other.toml\"\n");
    let ended = place.run(&with_file).await;
    ended.refused(2, &["config (settings.toml line 1): unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_passed_over() {
    let place = Place::new();
    place.write(
        ".env",
        "DATABASE_URL=x\nMERCURIOUS=1\nMERCURIO_HTTP_ADDR=127.0.0.1:1\n",
    );
    // A file that several commands share: what this one does not use is not its concern.
    place.write(
        "settings.toml",
        "retry = \"1s\"\ncore-url = [\"http://h:1\"]\njwt-issuer = \"file\"\n",
    );
    let variables = [("mercurio_x", "1"), ("DATABASE_URL", "x")];
    let config = ["--config", "settings.toml"];
    assert_eq!(issuer(&place, &variables, &config).await, "file");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_said_at_once_with_its_layer_and_limit() {
    let place = Place::new();
    place.write(
        ".env",
        "MERCURIO_RETRY=1h\nMERCURIO_STREAMS_MAX=10000001\nMERCURIO_JWT_ALLOW_MISSING_EXP=yes\n",
    );
    place.write(
        "settings.toml",
        "heartbeat = \"1ms\"\nrecipients-max = 0\nlog-level = 1.5\ncors-origin = [\"*\", \"https://ok.example\"]\nretry = \"also wrong, and hidden\"\n",
    );
    let variables = [
        ("MERCURIO_SHUTDOWN_GRACE", "never"),
        ("MERCURIO_HTTP_ADDR", "8000"),
        ("MERCURIO_RETRI", "1s"),
    ];
    let args = [
        "serve",
        "--config",
        "settings.toml",
        "--log-format",
        "loud",
        "--data-max-bytes",
        "16777217",
        "--jwt-secret-file",
        "/nonexistent",
    ];
    let said = place.run_with(&variables, &args).await.refused(
        2,
        &[
            "12 settings are wrong:",
            "--log-format: \"loud\" is not text or json",
            "--data-max-bytes: \"16777217\" is not a whole number from 1 to 16777216",
            "MERCURIO_SHUTDOWN_GRACE (environment): \"never\" is not a time from 100ms to 1h",
            "MERCURIO_HTTP_ADDR (environment): \"8000\" is not HOST:PORT",
            "MERCURIO_RETRI (environment): unknown; did you mean MERCURIO_RETRY?",
            "MERCURIO_RETRY (.env): \"1h\" is not a time from 1ms to 10m",
            "MERCURIO_STREAMS_MAX (.env): \"10000001\" is not a whole number from 1 to 10000000",
            "MERCURIO_JWT_ALLOW_MISSING_EXP (.env): \"yes\" is not true or false",
            "heartbeat (settings.toml line 1): \"1ms\" is not a time from 100ms to 10m",
            "recipients-max (settings.toml line 2): \"0\" is not a whole number from 1 to 100000",
            "log-level (settings.toml line 3): the value is not error, warn",
            "cors-origin (settings.toml line 4): \"*\" is not an origin",
        ],
    );
    assert!(!said.contains("hidden"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_the_keys_is_said_at_once() {
    let place = Place::new();
    place.write("not.pem", "no key");
    let args = [
        "--jwt-secret-file",
        "/nonexistent/secret",
        "--jwt-public-key-file",
        "/nonexistent/public",
        "--jwt-public-key-file",
        "not.pem",
        "--jwt-user-claim",
        "exp",
    ];
    for command in ["serve", "core"] {
        place.run(&[&[command], &args[..]].concat()).await.refused(
            2,
            &[
                "4 settings are wrong:",
                "--jwt-secret-file /nonexistent/secret: ",
                "--jwt-public-key-file /nonexistent/public: ",
                "--jwt-public-key-file not.pem: ",
                "--jwt-user-claim: ",
            ],
        );
    }
    // With its newline and without, it is one thing that is wrong.
    place.write(
        "key",
        "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----\n",
    );
    let public = place.run(&["core", "--jwt-secret-file", "key"]).await;
    let said = public.refused(2, &["public key file"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    let none = [
        "gateway",
        "--jwt-user-claim",
        "aud",
        "--core-token-file",
        "none",
    ];
    place.run(&none).await.refused(
        2,
        &[
            "3 settings",
            "a key is needed: --jwt-secret-file",
            "--jwt-user-claim: ",
            "--core-token-file none: ",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_can_t_be_read_are_named() {
    let place = Place::new();
    let token = ["token", "--sub", "alice", "--jwt-secret", KEY];
    let config = [&token[..], &["--config", "settings.toml"]].concat();
    place
        .run(&config)
        .await
        .refused(2, &["--config settings.toml: "]);
    for (text, line) in [
        ("a\n", 1),
        ("# x\n\njwt-issuer = x\n", 3),
        ("a = 1\na = 2\n", 2),
    ] {
        place.write("settings.toml", text);
        let named = format!("settings.toml line {line}: ");
        place.run(&config).await.refused(2, &[&named]);
    }
    for text in ["=x\n", "MERCURIO_JWT_ISSUER='x\n", "no name\n"] {
        place.write(".env", text);
        place.run(&token).await.refused(2, &[".env: "]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_text_is_refused_not_mended() {
    let place = Place::new();
    let value = OsString::from_vec(b"sec\xffret".to_vec());
    let mut command = place.command(&["token", "--sub", "alice"]);
    command.env("MERCURIO_JWT_SECRET", &value);
    let said = run(command)
        .await
        .refused(2, &["MERCURIO_JWT_SECRET (environment)", "UTF-8"]);
    assert!(!said.contains("sec\u{fffd}"), "{said}");
    let mut command = place.command(&["token", "--sub", "alice", "--jwt-secret"]);
    command.arg(&value);
    run(command).await.refused(2, &["UTF-8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_message() {
    const SECRET: &str = "hunter2";
    let long = SECRET.repeat(1200);
    let lined = format!("{SECRET}\n{SECRET}");
    let token = ["token", "--sub", "alice"];
    let history = [
        "history",
        "--recipient",
        "alice",
        "--core-url",
        "http://127.0.0.1:1",
    ];
    let mut said = BTreeSet::new();
    let mut check = |how: &str, ended: Ended| {
        let ended = ended.code(2);
        let text = format!("{}{}", ended.out, ended.err);
        assert!(!text.contains(SECRET), "{how}: {text}");
        assert!(!text.is_empty(), "{how}");
        said.insert(text);
    };
    let place = Place::new();
    for args in [
        &["--jwt-secret", &long][..],
        &["--jwt-secret", &lined],
        &["--jwt-secret", SECRET, "--jwt-secret", SECRET],
        &["--jwt-secret", SECRET, "--ttl", "0s"],
        &["--jwt-secret", SECRET, "--jwt-issuer", ""],
        &["--jwt-secret", SECRET, "--jwt-user-claim", "exp"],
        &["--jwt-secret", SECRET, "--log-level", "info"],
        &["--jwt-secrett", SECRET],
        &["--jwt-secrett=hunter2"],
        &["--token=hunter2"],
    ] {
        check(
            &format!("{args:?}"),
            place.run(&[&token, args].concat()).await,
        );
    }
    for args in [&["--token=hunter2"][..], &["--token", SECRET]] {
        check(
            &format!("{args:?}"),
            place.run(&[&history, args].concat()).await,
        );
    }
    for (name, value) in [
        ("MERCURIO_JWT_SECRET", &long),
        ("MERCURIO_JWT_SECRET", &lined),
        ("MERCURIO_TOKEN", &long),
        ("MERCURIO_TOKEN", &lined),
        ("MERCURIO_JWT_SECRETT", &lined),
    ] {
        check(name, place.run_with(&[(name, value)], &history).await);
    }
    for text in [
        format!("MERCURIO_JWT_SECRET={long}"),
        format!("MERCURIO_JWT_SECRET={SECRET} {SECRET} \"x"),
        format!("MERCURIO_JWT_SECRETT={SECRET}"),
        format!("MERCURIO_TOKEN=\"{lined}\""),
        SECRET.to_owned(),
    ] {
        let place = Place::new();
        place.write(".env", &text);
        check(&text, place.run(&history).await);
    }
    for text in [
        format!("jwt-secret = {SECRET}"),
        format!("jwt-secret = \"{SECRET}"),
        format!("jwt-secret = \"{SECRET}\" {SECRET}"),
        format!("jwt-secret = \"{SECRET}\\q{SECRET}\""),
        format!("jwt-secret = [\"{SECRET}\"]"),
        format!("jwt-secret = {{ {SECRET} = \"{SECRET}\" }}"),
        format!("jwt-secret = \"{long}\""),
        format!("jwt-secret = \"\"\"{lined}\"\"\""),
        format!("jwt-secret = \"{SECRET}\"\njwt-secret = \"{SECRET}\""),
        format!("jwt-secrett = \"{SECRET}\""),
        format!("token = \"{lined}\""),
    ] {
        place.write("settings.toml", &text);
        let args = [&history[..], &["--config", "settings.toml"]].concat();
        check(&text, place.run(&args).await);
    }
    // A public key given as a secret, and what a file with a secret can be.
    place.write(
        "secret",
        &format!("-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----\n"),
    );
    let args = [&token[..], &["--jwt-secret-file", "secret"]].concat();
    check("a public key", place.run(&args).await);
    place.write("secret", SECRET);
    let args = ["core", "--jwt-public-key-file", "secret"];
    check("a secret as a public key", place.run(&args).await);
    assert!(said.len() > 12, "they say the same: {said:?}");
    // Neither in the log of one that starts, nor where a weak one is warned of.
    let secret = std::sync::Arc::new(Secret::new(SECRET));
    let mut core = Setup::core()
        .without_secret()
        .secret(secret.clone())
        .env("MERCURIO_JWT_SECRET", SECRET)
        .args(["--log-level", "trace"])
        .start()
        .await;
    core.api(&secret.service())
        .publish(to(&["alice"], "t", "x"))
        .await;
    assert!(core.stop().await.success());
    let log = core.process.stderr.to_end(SOON).await;
    assert!(log.contains("can be guessed"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(
        !log.contains(&secret.service()[..36]),
        "a token is in the log: {log}"
    );
}
