//! The prototype's set-up runs unchanged: its flags, its claim, its tokens without an end.

use mercurio_tests::prelude::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn runs_unchanged() {
    // Its key was short and had a line end; all bytes count.
    let secret = std::sync::Arc::new(mercurio_tests::tokens::Secret::new("prototype-key\n"));
    let service = Setup::serve()
        .secret(secret.clone())
        .args([
            "--jwt-user-claim",
            "user_id",
            "--jwt-allow-missing-exp",
            "--publisher",
            "666",
        ])
        .start()
        .await;
    let reader = secret.sign(&json!({ "user_id": "42" }));
    let numeric = secret.sign(&json!({ "user_id": 42 }));
    let publisher = secret.sign(&json!({ "user_id": 666 }));

    let request = Request::get("/api/clients/42/notifications/stream").bearer(&reader);
    let mut stream = Stream::open(service.http(), request).await;
    stream.expect("opened").await;
    let body = json!({ "sourceID": "666", "destinationID": "42", "data": "hello" });
    let answer = Request::post("/api/events/unicast", &body).bearer(&publisher);
    let answer = answer.send(service.http()).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    let answer = answer.json();
    let event = stream.expect("message").await;
    assert_eq!(event.json()["notificationID"], answer["notificationID"]);
    assert_eq!(event.json()["data"], "hello");
    assert_eq!(event.json()["clientID"], "42");

    let body = json!({ "sourceID": "666", "destinations": ["42", "43"], "data": "many" });
    let answer = Request::post("/api/events/broadcast", &body).bearer(&publisher);
    let answer = answer.send(service.http()).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    assert_eq!(
        answer.json().as_array().map(Vec::len),
        Some(2),
        "{}",
        answer.text()
    );
    let second = stream.expect("message").await;

    let path = format!("/api/clients/42/notifications/{}/read", second.cursor());
    let marked = Request::put(path)
        .bearer(&numeric)
        .send(service.http())
        .await
        .expect(200);
    assert_eq!(marked, json!({ "status": "read" }));
    assert_eq!(stream.expect("read-state").await.json()["unreadCount"], 1);

    let refused = Request::post("/api/events/unicast", &body).bearer(&reader);
    refused
        .send(service.http())
        .await
        .expect_error(403, "scope-missing");
    let sub = secret.sign(&json!({ "sub": "42" }));
    let refused = Request::get("/api/clients/me/notifications").bearer(&sub);
    refused
        .send(service.http())
        .await
        .expect_error(401, "token-invalid");
}
