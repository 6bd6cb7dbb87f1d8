//! Clients of the stream that others wrote, unchanged, each used as its own manual shows: they
//! receive live and intact, resume by themselves after a gateway died and after it was stopped,
//! and take a token that expired as they take any refusal.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use mercurio_tests::{
    browser::{Browser, Page},
    curl::Curl,
    prelude::*,
    process::Process,
    said::Said,
    sse::Item,
    tools::{node_modules, tool},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const STREAM: &str = "/api/clients/me/notifications/stream";

/// A core, and a gateway that is often quiet: comments come in between everything.
async fn apart(origin: Option<&str>) -> Apart {
    let mut args = vec!["--heartbeat", "100ms", "--retry", "1s"];
    args.extend(origin.iter().flat_map(|origin| ["--cors-origin", origin]));
    Apart::with(|core| core, |gateway| gateway.args(args)).await
}

/// Data that a careless parser or encoder would spoil; the last one is as large as allowed.
fn texts() -> Vec<String> {
    let hostile = "line\nline\r\n\rdata: x\n\n: y\0\u{feff}\u{2028}\"\\ \u{1f980}\u{1f468}\u{200d}\u{1f469} \u{5e9}</script>";
    let mut large = hostile.repeat(65_536 / hostile.len());
    large += &"x".repeat(65_536 - large.len());
    vec![String::new(), hostile.to_owned(), large]
}

/// Publishes so many to alice, one after the other; gives their ids.
fn publish(api: &Api, count: u32) -> JoinHandle<Vec<u64>> {
    let api = api.clone();
    tokio::spawn(async move {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(api.publish(to(&["alice"], "t", &n.to_string())).await.id);
        }
        ids
    })
}

fn parse(event: &Value) -> Value {
    serde_json::from_str(event["data"].as_str().expect("data")).expect("JSON")
}

/// The client's next notification, and that it is whole.
async fn message(client: &mut Said) -> (u64, String) {
    let message = client.next().await;
    assert_eq!(message["type"], "message");
    let notification = parse(&message);
    let id = notification["notificationID"].as_u64().expect("an id");
    assert_eq!(message["id"], id.to_string());
    (id, notification["data"].as_str().expect("data").to_owned())
}

/// A client that has just opened alice's stream, up to its reconnect after a stop.
async fn follows(client: &mut Said, apart: &mut Apart) {
    let api = apart.core.service_api();
    let opened = parse(&client.next_of("opened").await);
    let expected = json!({"complete": true, "oldest": 0, "cursor": 0, "unreadCount": 0});
    assert_eq!(opened, expected);
    // Comments and retries are nobody's events.
    let token = apart.core.secret().user("alice");
    let mut quiet = Stream::open(apart.gateway.http(), Request::get(STREAM).bearer(&token)).await;
    for _ in 0..5 {
        while !matches!(quiet.item().await.unwrap(), Some(Item::Comment(_))) {}
    }
    drop(quiet);
    for text in texts() {
        let id = api.publish(to(&["alice"], "t", &text)).await.id;
        assert_eq!(message(client).await, (id, text));
    }

    // The gateway dies while it delivers, and comes back when all is published.
    let publishing = publish(&api, 200);
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.push(message(client).await.0);
    }
    apart.gateway.kill();
    let mut acknowledged = publishing.await.unwrap();
    acknowledged.extend(publish(&api, 5).await.unwrap());
    let mut said = client.next().await;
    while said["type"] == "message" {
        seen.push(parse(&said)["notificationID"].as_u64().unwrap());
        said = client.next().await;
    }
    assert_eq!(said["type"], "error", "it tries again: {said}");
    apart.gateway.restart().await;
    assert_eq!(parse(&client.next_of("opened").await)["complete"], true);
    while seen.len() < acknowledged.len() {
        seen.push(message(client).await.0);
    }
    assert_eq!(seen, acknowledged);

    // A gateway that is stopped says so, and when to come back.
    apart.gateway.process.terminate();
    let closing = client.next().await;
    assert_eq!(closing["type"], "closing");
    assert_eq!(closing["data"], r#"{"reason":"shutdown"}"#);
    assert_eq!(client.next().await["type"], "error");
    let id = api.publish(to(&["alice"], "t", "meanwhile")).await.id;
    apart.gateway.restart().await;
    assert_eq!(parse(&client.next_of("opened").await)["complete"], true);
    assert_eq!(message(client).await.0, id);
}

/// A client that has just opened a stream with a token that soon expires: it comes back once, is
/// refused, and gives up. Gives what it says last.
async fn gives_up(client: &mut Said) -> Value {
    client.next_of("opened").await;
    let closing = client.next_of("closing").await;
    assert_eq!(closing["data"], r#"{"reason":"token-expired"}"#);
    assert_eq!(client.next().await["type"], "error");
    let last = client.next().await;
    assert_eq!(last["type"], "closed", "{last}");
    last
}

/// The folder with the clients. `None`, with a notice, where they are not installed.
fn clients() -> Option<PathBuf> {
    node_modules("clients", "eventsource")
}

/// A web server with the files of a folder, on an origin of its own. `None`, with a notice, where
/// Python is missing.
async fn serve(folder: &Path) -> Option<(Process, String)> {
    let mut command = Command::new(tool("python3")?);
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
    let server = Process::spawn("http.server", command.arg("--directory").arg(folder));
    // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
    let line = server.stdout.wait_for("Serving HTTP", SOON).await;
    let mut words = line.split_whitespace().skip_while(|word| *word != "port");
    let origin = format!("http://127.0.0.1:{}", words.nth(1).expect("a port"));
    Some((server, origin))
}

/// A library in a page of another origin. `None` where a tool is missing.
async fn in_chromium<'a>(
    chromium: &'a Browser,
    library: &str,
    refusal: Option<u16>,
) -> Option<(Page<'a>, Said, Apart)> {
    let (_server, origin) = serve(&clients()?).await?;
    let mut apart = apart(Some(&origin)).await;
    let stream = escape(&format!("http://{}{STREAM}", apart.gateway.http()));
    let url =
        |token: &str| format!("{origin}/page.html?library={library}&url={stream}&token={token}");
    let brief = apart.core.secret().expiring("alice", "", 10);
    let page = chromium.open("one", &url(&brief)).await;
    let mut said = page.said();
    let last = gives_up(&mut said).await;
    assert_eq!(last["status"], json!(refusal));
    page.go(&url(&apart.core.secret().user("alice"))).await;
    follows(&mut said, &mut apart).await;
    Some((page, said, apart))
}

/// A program of its own. `arguments` come before the stream's address and the token.
async fn in_a_process(name: &str, arguments: &[&str]) {
    let (Some(folder), Some(program)) = (clients(), tool(name)) else {
        return;
    };
    let mut apart = apart(None).await;
    let url = format!("http://{}{STREAM}", apart.gateway.http());
    let start = |token: &str| {
        let mut command = Command::new(&program);
        command.args(arguments).args([&url, token]);
        Process::spawn(name, command.current_dir(&folder))
    };
    let brief = start(&apart.core.secret().expiring("alice", "", 10));
    assert_eq!(gives_up(&mut Said::by(&brief)).await["status"], 401);
    let client = start(&apart.core.secret().user("alice"));
    follows(&mut Said::by(&client), &mut apart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_event_source_with_the_token_in_the_query() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    in_chromium(&chromium, "native-query", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_event_source_with_a_cookie() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    let Some((page, mut said, apart)) = in_chromium(&chromium, "native-cookie", None).await else {
        return;
    };
    // The page may mark by that cookie too: its origin is allowed.
    let id = publish(&apart.core.service_api(), 1).await.unwrap()[0];
    said.next_of("message").await;
    let url = format!("http://{}{STREAM}", apart.gateway.http());
    let url = url.replace("stream", &format!("{id}/read"));
    let options = json!({ "method": "PUT", "credentials": "include" });
    let fetched = page.fetch(&url, options).await;
    assert_eq!(fetched["status"], 200, "{fetched}");
    let marked = said.next().await;
    assert_eq!(marked["type"], "read-state");
    assert_eq!(parse(&marked)["notificationIDs"], json!([id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_source_polyfill() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    in_chromium(&chromium, "event-source-polyfill", Some(401)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_event_source() {
    let Some(chromium) = Browser::chromium().await else {
        return;
    };
    in_chromium(&chromium, "fetch-event-source", Some(401)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eventsource_in_node() {
    in_a_process("node", &["follow.mjs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn httpx_sse() {
    in_a_process("python3", &["follow.py"]).await;
}

/// curl reconnects by nobody's rules: each time it is told from where. Its exit status says how a
/// stream ended.
#[tokio::test(flavor = "multi_thread")]
async fn curl() {
    let Some(curl) = tool("curl") else { return };
    let mut apart = apart(None).await;
    let api = apart.core.service_api();
    let url = format!("http://{}{STREAM}", apart.gateway.http());
    let open = |token: &str, last: u64| {
        let headers = [
            format!("Authorization: Bearer {token}"),
            format!("Last-Event-ID: {last}"),
        ];
        Curl::open(
            &curl,
            &["--fail", "-H", &headers[0], "-H", &headers[1], &url],
        )
    };
    let token = apart.core.secret().user("alice");
    let mut stream = open(&token, 0);
    assert_eq!(stream.head().await[0], "HTTP/1.1 200 OK");
    assert_eq!(stream.item().await, Some(Item::Retry(1000)));
    stream.expect("opened").await;
    for text in texts() {
        let id = api.publish(to(&["alice"], "t", &text)).await.id;
        let event = stream.expect("message").await;
        assert_eq!((event.cursor(), &event.json()["data"]), (id, &json!(text)));
    }

    let publishing = publish(&api, 200);
    let mut seen = Vec::new();
    while seen.len() < 20 {
        seen.push(stream.expect("message").await.cursor());
    }
    apart.gateway.kill();
    let acknowledged = publishing.await.unwrap();
    while let Some(event) = stream.event().await {
        seen.push(event.cursor());
    }
    assert_eq!(stream.end().await, Some(18), "a partial file");
    apart.gateway.restart().await;
    let mut stream = open(&token, *seen.last().unwrap());
    stream.expect("opened").await;
    while seen.len() < acknowledged.len() {
        seen.push(stream.expect("message").await.cursor());
    }
    assert_eq!(seen, acknowledged);

    apart.gateway.process.terminate();
    let closing = stream.expect("closing").await;
    assert_eq!(closing.data, r#"{"reason":"shutdown"}"#);
    assert_eq!(stream.end().await, Some(0));
    apart.gateway.restart().await;

    let brief = apart.core.secret().expiring("alice", "", 8);
    let mut stream = open(&brief, *seen.last().unwrap());
    stream.expect("opened").await;
    let closing = stream.expect("closing").await;
    assert_eq!(closing.data, r#"{"reason":"token-expired"}"#);
    assert_eq!(stream.end().await, Some(0));
    assert_eq!(open(&brief, 0).end().await, Some(22), "an HTTP error");
}
