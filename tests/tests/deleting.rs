//! What is deleted: gone at once for whoever reads, told to whoever is reading, and gone from the disk
//! and from backups soon after.

use std::{fs, path::Path};

use mercurio_tests::{
    engine::Engine,
    nats::Nats,
    prelude::*,
    service::{finish, mercurio},
    tokens::PUBLISH,
};
use serde_json::{Value, json};
use tonic::Code;

const STREAM: &str = "/api/clients/alice/notifications/stream";

/// `mercurio` with these arguments, at this core.
async fn command(core: &Service, args: &[&str]) -> Value {
    let mut command = mercurio();
    let (name, rest) = args.split_first().expect("a command");
    command
        .args([*name, "--core-url", &format!("http://{}", core.grpc())])
        .arg("--jwt-secret-file")
        .arg(core.secret().path())
        .args(rest);
    let (status, out, err) = finish("mercurio", &mut command, LATER).await;
    assert!(status.success(), "{status}: {err}");
    serde_json::from_str(&out).expect("JSON")
}

async fn open(gateway: &Service, user: &str) -> Stream {
    let path = STREAM.replace("alice", user);
    let token = gateway.secret().user(user);
    let mut stream = Stream::open(gateway.http(), Request::get(path).bearer(&token)).await;
    stream.expect("opened").await;
    stream
}

fn is_in(dir: &Path, text: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir) else {
        // It has been replaced meanwhile.
        return true;
    };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => is_in(&entry.path(), text),
        _ => fs::read(entry.path()).is_ok_and(|bytes| {
            let mut windows = bytes.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        }),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_gone_for_readers_and_then_from_the_disk() {
    let apart = Apart::start().await;
    let (core, gateway) = (&apart.core, &apart.gateway);
    let api = core.api(&core.secret().operator());
    let secret = |what: &str| format!("what nobody is to know of {what}");
    let first = api.publish(to(&["alice"], "t", &secret("one"))).await.id;
    let shared = api
        .publish(to(&["alice", "bob"], "t", &secret("two")))
        .await
        .id;
    let all = api.publish(to_everyone("t", &secret("all"))).await.id;
    let kept = api.publish(to(&["alice"], "t", "kept")).await.id;
    api.mark("alice", &[shared], true).await;
    let mut alice = open(gateway, "alice").await;
    let mut bob = open(gateway, "bob").await;
    let mut direct = api.subscribe(feed("alice", None)).await;
    direct.next().await;

    // From one view.
    let args = ["delete", "--recipient", "alice", "--id", &first.to_string()];
    let answer = command(core, &args).await;
    assert_eq!(answer["deleted"], 1);
    let said = alice.expect("deleted").await;
    assert_eq!(Some(said.cursor()), answer["cursor"].as_u64());
    let expected = json!({ "notificationIDs": [first], "unreadCount": 2 });
    assert_eq!(said.json(), expected);
    let wire = Entry::from(&direct.next().await);
    assert_eq!(wire, Entry::from(&said));
    assert_eq!(api.unread("alice").await, 2);
    expect_reason(api.get("alice", first).await, Code::NotFound, "NOT_FOUND");
    assert_eq!(command(core, &args).await["deleted"], 0);

    // From all that have it: each is told their own count. It is nobody else's.
    let answer = command(core, &["delete", "--id", &shared.to_string()]).await;
    assert_eq!(answer["deleted"], 2);
    for (stream, unread) in [(&mut alice, 2), (&mut bob, 1)] {
        let expected = json!({ "notificationIDs": [shared], "unreadCount": unread });
        assert_eq!(stream.expect("deleted").await.json(), expected);
    }
    direct.next().await;
    // What went to everyone: the count is to be asked for.
    let answer = command(core, &["delete", "--id", &all.to_string()]).await;
    assert_eq!(answer["deleted"], 1);
    for stream in [&mut alice, &mut bob] {
        let said = stream.expect("deleted").await;
        assert_eq!(said.json(), json!({ "notificationIDs": [all] }));
    }
    assert_eq!((api.unread("alice").await, api.unread("bob").await), (1, 0));
    let unknown = api.delete_for_all(1_000_000).await;
    expect_reason(unknown, Code::NotFound, "NOT_FOUND");
    let service = core.service_api().delete_for_all(kept).await;
    expect_reason(service, Code::PermissionDenied, "SCOPE_MISSING");

    // Who comes back from before is told, and sees only what is left.
    let token = gateway.secret().user("alice");
    let path = format!("{STREAM}?lastEventID=0");
    let mut again = Stream::open(gateway.http(), Request::get(path).bearer(&token)).await;
    assert_eq!(again.expect("opened").await.json()["complete"], true);
    assert_eq!(again.expect("message").await.cursor(), kept);
    again.expect("read-state").await;
    for id in [first, shared, all] {
        let said = again.expect("deleted").await.json();
        assert_eq!(said["notificationIDs"], json!([id]));
    }

    let data = core.setup.data_dir();
    eventually("it is gone from the disk", LATER, async || {
        let left = ["one", "two", "all"]
            .iter()
            .any(|it| is_in(&data, &secret(it)));
        (!left).then_some(())
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let backup = directory.path().join("backup");
    command(core, &["backup", backup.to_str().expect("text")]).await;
    assert!(is_in(&backup, "kept"), "what is not deleted is there");
    assert!(
        !["one", "two", "all"]
            .iter()
            .any(|it| is_in(&backup, &secret(it)))
    );
    assert_eq!(api.history("alice").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_forgotten_and_may_come_back() {
    let mut service = Setup::serve().start().await;
    let api = service.api(&service.secret().operator());
    let secret = "the name of alice's doctor";
    let hers = with_id("order-of-alice", to(&["alice"], "t", secret));
    api.publish(hers.clone()).await;
    api.publish(to_everyone("t", "to all")).await;
    api.publish(to(&["bob"], "t", "his")).await;
    api.mark("alice", &[1], true).await;
    let mut alice = open(&service, "alice").await;
    let all = ["delete", "--recipient", "alice", "--all"];
    let answer = command(&service, &all).await;
    assert_eq!(answer["deleted"], 2);
    let up_to = answer["cursor"].as_u64().expect("a cursor") - 1;
    let expected = json!({ "notificationIDs": [], "upTo": up_to, "unreadCount": 0 });
    assert_eq!(alice.expect("deleted").await.json(), expected);
    let data = service.setup.data_dir();
    eventually("it is gone from the disk", LATER, async || {
        let left = [secret, "order-of-alice"].iter().any(|it| is_in(&data, it));
        (!left).then_some(())
    })
    .await;
    service.restart().await;
    assert_eq!(command(&service, &all).await["deleted"], 0);
    assert_eq!(
        (api.history("alice").await.len(), api.unread("alice").await),
        (0, 0)
    );
    assert_eq!(api.history("bob").await.len(), 2);
    // Who comes back by that name begins anew; a key that only they had is free.
    let again = api.publish(hers).await;
    assert!(!again.duplicate);
    assert_eq!(api.unread("alice").await, 1);
    let mut verify = mercurio();
    assert!(service.stop().await.success());
    verify.args(["verify", "--data-dir"]).arg(&data);
    let (status, out, err) = finish("mercurio", &mut verify, LATER).await;
    assert!(status.success(), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cores_of_a_shared_log_agree_on_what_is_gone() {
    let Some(engine) = Nats::start(1).map(Engine::Nats) else {
        return;
    };
    let cores = engine.cores(2).await;
    let token = cores[0].secret().operator();
    let apis = [cores[0].api(&token), cores[1].api(&token)];
    let publisher = cores[0].api(&cores[0].secret().scoped("p", PUBLISH));
    let first = publisher.publish(to(&["alice", "bob"], "t", "x")).await.id;
    let all = publisher.publish(to_everyone("t", "y")).await.id;
    publisher.publish(to(&["carol"], "t", "z")).await;
    // Where it was not published, and before or after it was applied there.
    assert_eq!(
        apis[1].delete_for_all(all).await.expect("deleted").deleted,
        1
    );
    assert_eq!(apis[1].delete("alice", &[first]).await.deleted, 1);
    let last = apis[0].forget("carol").await;
    assert_eq!(last.deleted, 1);
    for api in &apis {
        eventually("all is applied", SOON, async || {
            let page = api.try_list(page("alice", 1)).await.ok()?;
            (page.cursor >= last.cursor).then_some(())
        })
        .await;
        let mut seen = Vec::new();
        for user in ["alice", "bob", "carol"] {
            let ids: Vec<u64> = api.history(user).await.iter().map(|it| it.id).collect();
            seen.push((ids, api.unread(user).await));
        }
        assert_eq!(seen, [(vec![], 0), (vec![first], 1), (vec![], 0)]);
    }
    assert_eq!(apis[0].delete("alice", &[first]).await.deleted, 0);
}
