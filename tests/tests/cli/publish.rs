//! `mercurio publish`.

use super::*;

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
