//! `mercurio subscribe`.

use super::*;

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
        eventually("it says that it reconnects", SOON, async || {
            let said = alice.0.stderr.text().matches("reconnecting").count();
            (said > round).then_some(())
        })
        .await;
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
        fs::write(&file, secret.expiring("alice", "", 10)).unwrap();
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
