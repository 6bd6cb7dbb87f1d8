//! A real headless Chromium: native EventSource receiving, resuming, and across origins.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn receives_and_resumes_after_a_gateway_restart() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let origin = format!("http://{}", apart.gateway.http());
    let token = apart.core.secret().user("alice");
    let api = apart.core.service_api();

    let page = chromium.open("one", &format!("{origin}/healthz")).await;
    let mut said = page.said();
    let path = format!("{origin}/api/clients/me/notifications/stream?access_token={token}");
    page.event_source(&path).await;
    let opened = said.next_of("opened").await;
    let data: Value = serde_json::from_str(opened["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        data,
        json!({"complete": true, "oldest": 0, "cursor": 0, "unreadCount": 0})
    );

    let text = "line\nline\r\n\0 \u{1f980} \u{2028}";
    let id = api.publish(to(&["alice"], "t", text)).await.id;
    let message = said.next_of("message").await;
    assert_eq!(message["id"], id.to_string());
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["data"], text);

    let marked = api.mark("alice", &[id], true).await.cursor;
    let state = said.next_of("read-state").await;
    assert_eq!(state["id"], marked.to_string());

    // What is published while the gateway is away comes once it is back, by the browser's own
    // reconnect; the state 0 says that it is trying.
    apart.gateway.kill();
    assert_eq!(said.next_of("error").await["state"], 0);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(api.publish(to(&["alice"], "t", &n.to_string())).await.id);
    }
    apart.gateway.restart().await;
    said.next_of("opened").await;
    for id in ids {
        assert_eq!(said.next_of("message").await["id"], id.to_string());
    }

    // And a gateway that is stopped says so, and asks for a spread reconnect.
    apart.gateway.process.terminate();
    let closing = said.next_of("closing").await;
    assert_eq!(closing["data"], r#"{"reason":"shutdown"}"#);
    apart.gateway.restart().await;
    let id = api.publish(to(&["alice"], "t", "after")).await.id;
    let message = within("the message after", LATER, said.next_of("message")).await;
    assert_eq!(message["id"], id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn across_origins() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    // Another service of ours serves the page: it is another origin.
    let site = Setup::serve().start().await;
    let page_origin = format!("http://{}", site.http());
    let service = Setup::serve()
        .args(["--cors-origin", &page_origin])
        .start()
        .await;
    let closed = Setup::serve().start().await;
    let page = chromium
        .open("one", &format!("{page_origin}/healthz"))
        .await;
    let mut said = page.said();

    let token = service.secret().user("alice");
    let at = |service: &Service, path: &str| {
        format!(
            "http://{}/api/clients/me/notifications{path}",
            service.http()
        )
    };
    page.event_source(&at(&service, &format!("/stream?access_token={token}")))
        .await;
    said.next_of("opened").await;
    // A fetch with Authorization and Last-Event-ID needs the preflight.
    let headers = json!({ "Authorization": format!("Bearer {token}"), "Last-Event-ID": "0" });
    let options = json!({ "headers": headers });
    let fetched = page.fetch(&at(&service, ""), options).await;
    assert_eq!(fetched["status"], 200, "{fetched}");
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    said.next_of("message").await;
    let options = json!({ "headers": headers, "method": "PUT" });
    let url = at(&service, &format!("/{id}/read"));
    let fetched = page.fetch(&url, options).await;
    assert_eq!(fetched["data"], r#"{"status":"read"}"#, "{fetched}");

    // Where the origin is not allowed, the browser keeps the answer from the page.
    let token = closed.secret().user("alice");
    let headers = json!({ "Authorization": format!("Bearer {token}") });
    let options = json!({ "headers": headers });
    assert_eq!(page.fetch(&at(&closed, ""), options).await["status"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expired_ends_the_reconnecting() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let origin = format!("http://{}", service.http());
    let page = chromium.open("one", &format!("{origin}/healthz")).await;
    let mut said = page.said();
    let token = service.secret().expiring("alice", "", 8);
    let path = format!("{origin}/api/clients/me/notifications/stream?access_token={token}");
    page.event_source(&path).await;
    said.next_of("opened").await;
    let closing = said.next_of("closing").await;
    assert_eq!(closing["data"], r#"{"reason":"token-expired"}"#);
    // It tries once more, is answered 401, and gives up: state 2.
    loop {
        let error = within("the browser gives up", LATER, said.next_of("error")).await;
        if error["state"] == 2 {
            break;
        }
    }
}
