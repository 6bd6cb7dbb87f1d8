//! The gateway's JSON API, to the letter of the contract.

use mercurio_tests::prelude::*;
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value
        .as_object()
        .expect("an object")
        .keys()
        .map(|k| &**k)
        .collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn unicast_list_get_and_mark() {
    let service = Setup::serve().start().await;
    let (secret, to) = (service.secret(), service.http());
    let (alice, publisher) = (secret.user("alice"), secret.publisher("shop"));
    let body = json!({
        "id": "e1", "sourceID": "shop", "destinationID": "alice", "topic": "order.paid", "data": "{}"
    });
    let sent = Request::post("/api/events/unicast", &body)
        .bearer(&publisher)
        .send(to)
        .await;
    assert!((200..300).contains(&sent.status), "{}", sent.text());
    assert_eq!(keys(&sent.json()), ["eventID", "notificationID"]);
    let id = sent.json()["notificationID"].as_u64().expect("a number");
    assert_eq!(sent.json()["eventID"], "e1");

    for who in ["me", "alice"] {
        let path = format!("/api/clients/{who}/notifications");
        let list = Request::get(&path).bearer(&alice).send(to).await;
        assert_eq!(list.header("content-type"), Some("application/json"));
        let list = list.expect(200);
        assert_eq!(list["clientID"], "alice");
        assert_eq!(
            (&list["unreadCount"], &list["cursor"]),
            (&json!(1), &json!(id))
        );
        let one = Request::get(format!("{path}/{id}"))
            .bearer(&alice)
            .send(to)
            .await
            .expect(200);
        assert_eq!(list["notifications"], json!([one]));
        assert_eq!(
            keys(&one)
                .into_iter()
                .filter(|key| *key != "broadcast")
                .collect::<Vec<_>>(),
            [
                "clientID",
                "createdAt",
                "data",
                "eventID",
                "notificationID",
                "sourceID",
                "topic"
            ]
        );
        assert_eq!(one["notificationID"], id);
        assert_eq!(one["eventID"], "e1");
        assert_eq!(one["sourceID"], "shop");
        assert_eq!(one["clientID"], "alice");
        assert_eq!(one["topic"], "order.paid");
        assert_eq!(one["data"], "{}");
        check_time(&one["createdAt"]);
    }

    let at = format!("/api/clients/me/notifications/{id}");
    let mark = async |how: &str| {
        Request::put(format!("{at}/{how}"))
            .bearer(&alice)
            .send(to)
            .await
            .expect(200)
    };
    assert_eq!(mark("read").await, json!({"status": "read"}));
    let one = Request::get(&at).bearer(&alice).send(to).await.expect(200);
    check_time(&one["readAt"]);
    assert_eq!(mark("unread").await, json!({"status": "unread"}));
    let one = Request::get(&at).bearer(&alice).send(to).await.expect(200);
    assert_eq!(one.get("readAt"), None);
    let all = format!("/api/clients/me/notifications/read?upTo={id}");
    Request::put(all).bearer(&alice).send(to).await.expect(200);
    assert_eq!(service.service_api().unread("alice").await, 0);
}

/// RFC 3339 in UTC, as JavaScript's Date reads it.
fn check_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let plain = text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    assert!(plain && text.starts_with("20"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_filters() {
    let service = Setup::serve().start().await;
    let (api, to) = (service.service_api(), service.http());
    let alice = service.secret().user("alice");
    let mut ids = Vec::new();
    for n in 0..12 {
        let topic = if n % 3 == 0 { "a.b" } else { "c" };
        ids.push(
            api.publish(mercurio_tests::grpc::to(&["alice"], topic, "x"))
                .await
                .id,
        );
    }
    api.mark("alice", &ids[..6], true).await;
    ids.reverse();
    let list = async |query: &str| {
        let path = format!("/api/clients/me/notifications?{query}");
        Request::get(path).bearer(&alice).send(to).await.expect(200)
    };
    let of = |list: &Value| -> Vec<u64> {
        let all = list["notifications"].as_array().unwrap();
        all.iter()
            .map(|n| n["notificationID"].as_u64().unwrap())
            .collect()
    };
    let mut got = Vec::new();
    let mut query = "limit=5".to_owned();
    loop {
        let page = list(&query).await;
        got.extend(of(&page));
        match page["nextPageToken"].as_str() {
            None | Some("") => break,
            Some(token) => query = format!("limit=5&pageToken={}", escape(token)),
        }
    }
    assert_eq!(got, ids);
    assert_eq!(of(&list("status=unread").await), ids[..6]);
    assert_eq!(of(&list("status=read").await), ids[6..]);
    assert_eq!(of(&list("status=all&limit=500").await), ids);
    assert_eq!(of(&list("topic=a.*").await).len(), 4);
    assert_eq!(of(&list("topic=a.b&topic=c").await), ids);
    assert_eq!(of(&list("topic=c&status=unread").await).len(), 4);

    let bad = [
        ("status=sideways", "status"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("topic=a..b", "topic"),
        ("pageToken=nonsense", "pageToken"),
    ];
    for (query, field) in bad {
        let path = format!("/api/clients/me/notifications?{query}");
        let answer = Request::get(path).bearer(&alice).send(to).await;
        let said = answer.expect_error(400, "invalid-field");
        assert!(said.contains(field), "{query}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcast_to_a_list_and_to_everyone() {
    let service = Setup::serve().start().await;
    let to = service.http();
    let publisher = service.secret().publisher("shop");
    let send = async |body: Value| {
        Request::post("/api/events/broadcast", &body)
            .bearer(&publisher)
            .send(to)
            .await
    };
    let sent = send(json!({
        "id": "b1", "sourceID": "shop", "destinations": ["alice", "bob"], "topic": "t", "data": "x"
    }))
    .await;
    assert!((200..300).contains(&sent.status), "{}", sent.text());
    let sent = sent.json();
    let list = sent.as_array().expect("an array");
    assert_eq!(list.len(), 2);
    for one in list {
        assert_eq!(keys(one), ["eventID", "notificationID"]);
        assert_eq!(one["eventID"], "b1");
    }
    let api = service.service_api();
    let id = list[0]["notificationID"].as_u64().unwrap();
    assert_eq!(api.get("alice", id).await.unwrap().data, "x");
    let id = list[1]["notificationID"].as_u64().unwrap();
    assert_eq!(api.get("bob", id).await.unwrap().data, "x");

    let sent = send(json!({ "sourceID": "shop", "everyone": true, "data": "all" })).await;
    assert!((200..300).contains(&sent.status), "{}", sent.text());
    assert_eq!(api.unread("anybody").await, 1);

    for body in [
        json!({ "sourceID": "shop", "data": "x" }),
        json!({ "sourceID": "shop", "everyone": false, "data": "x" }),
        json!({ "sourceID": "shop", "destinations": [], "data": "x" }),
        json!({ "sourceID": "shop", "destinations": ["a"], "everyone": true, "data": "x" }),
    ] {
        let answer = send(body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    assert_eq!(api.unread("anybody").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_and_name_what_is_wrong() {
    let service = Setup::serve().start().await;
    let to = service.http();
    let publisher = service.secret().publisher("shop");
    let good = json!({ "sourceID": "shop", "destinationID": "alice", "data": "x" });
    let send = async |body: &Value| {
        Request::post("/api/events/unicast", body)
            .bearer(&publisher)
            .send(to)
            .await
    };
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    for (body, names) in [
        (with("unknown", json!(1)), "unknown"),
        (with("destinationId", json!("alice")), "destinationId"),
        (with("sourceID", json!("")), "sourceID"),
        (with("destinationID", json!("")), "destinationID"),
        (with("destinationID", json!(7)), ""),
        (with("data", json!({})), ""),
        (with("topic", json!("a b")), "topic"),
        (with("topic", json!("a.*")), "topic"),
        (json!({ "sourceID": "shop", "data": "x" }), "destinationID"),
        (json!({ "destinationID": "alice", "data": "x" }), "sourceID"),
        (json!([]), ""),
        (json!("x"), ""),
    ] {
        let answer = send(&body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        let said = answer.json();
        assert!(said["code"].is_string(), "{body}: {said}");
        assert!(
            said["error"].as_str().unwrap_or("").contains(names),
            "{body}: {said}"
        );
    }
    for raw in [
        "",
        "{",
        "nonsense",
        "{\"sourceID\":\"a\",\"sourceID\":\"b\",\"destinationID\":\"c\",\"data\":\"d\"}",
    ] {
        let request = Request::new("POST", "/api/events/unicast").bearer(&publisher);
        let answer = request.body("application/json", raw).send(to).await;
        assert_eq!(answer.status, 400, "{raw}: {}", answer.text());
        assert!(answer.json()["code"].is_string());
    }
    let request = Request::new("POST", "/api/events/unicast").bearer(&publisher);
    let answer = request.body("text/plain", good.to_string()).send(to).await;
    assert!(
        answer.status == 415 || answer.status == 400,
        "{}",
        answer.status
    );
    assert_eq!(service.service_api().history("alice").await.len(), 0);
    let answer = send(&good).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_are_not_there() {
    let service = Setup::serve().start().await;
    let to = service.http();
    let alice = service.secret().user("alice");
    for path in [
        "/api/nothing",
        "/api/clients/me",
        "/api/clients/me/notifications/1/flag",
    ] {
        let answer = Request::get(path).bearer(&alice).send(to).await;
        answer.expect_error(404, "not-found");
    }
    for (method, path) in [
        ("DELETE", "/api/clients/me/notifications"),
        ("GET", "/api/events/unicast"),
        ("POST", "/api/clients/me/notifications/1/read"),
    ] {
        let answer = Request::new(method, path).bearer(&alice).send(to).await;
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
        assert!(answer.json()["code"].is_string(), "{method} {path}");
    }
    for id in ["999999999", "18446744073709551615"] {
        let path = format!("/api/clients/me/notifications/{id}");
        Request::get(path)
            .bearer(&alice)
            .send(to)
            .await
            .expect_error(404, "not-found");
        for how in ["read", "unread"] {
            let path = format!("/api/clients/me/notifications/{id}/{how}");
            Request::put(path)
                .bearer(&alice)
                .send(to)
                .await
                .expect_error(404, "not-found");
        }
    }
    for id in ["0", "x", "-1", "1.5", "18446744073709551616"] {
        let path = format!("/api/clients/me/notifications/{id}");
        let answer = Request::get(path).bearer(&alice).send(to).await;
        assert!(
            [400, 404].contains(&answer.status),
            "{id}: {}",
            answer.text()
        );
        assert!(answer.json()["code"].is_string(), "{id}");
    }
    for query in ["", "?upTo=", "?upTo=x", "?upTo=-1"] {
        let path = format!("/api/clients/me/notifications/read{query}");
        let answer = Request::put(path).bearer(&alice).send(to).await;
        answer.expect_error(400, "invalid-field");
    }
}
