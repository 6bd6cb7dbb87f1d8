//! `mercurio history` and `mercurio read`.

use super::*;

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
