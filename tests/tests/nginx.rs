//! Behind nginx with its default settings and `proxy_pass`: nothing is buffered, a quiet stream is
//! left alone, and whatever is restarted, readers resume.

use std::path::PathBuf;

use mercurio_tests::{
    browser::Browser,
    curl::Curl,
    nginx::Nginx,
    prelude::*,
    service::{finish, run},
    sse::Item,
    tools::tool,
};
use serde_json::{Value, json};

const STREAM: &str = "/api/clients/me/notifications/stream";

/// curl, speaking to nginx one way or another.
#[derive(Clone)]
struct Way {
    curl: PathBuf,
    protocol: &'static str,
    origin: String,
    args: Vec<String>,
}

impl Way {
    fn new(curl: PathBuf, protocol: &'static str, nginx: &Nginx) -> Way {
        let certificate = nginx.certificate().display().to_string();
        let (origin, version) = match protocol {
            "h1" => (format!("http://{}", nginx.plain), "--http1.1"),
            "h1+tls" => (format!("https://{}", nginx.tls), "--http1.1"),
            _ => (format!("https://{}", nginx.tls), "--http2"),
        };
        let args = [version, "--cacert", &certificate].map(str::to_owned);
        Way {
            curl,
            protocol,
            origin,
            args: args.to_vec(),
        }
    }

    /// Plain, with TLS, and HTTP/2 with TLS. `None` where curl is missing.
    fn all(nginx: &Nginx) -> Option<[Way; 3]> {
        let curl = tool("curl")?;
        Some(["h1", "h1+tls", "h2+tls"].map(|way| Way::new(curl.clone(), way, nginx)))
    }

    /// Opens a stream behind this cursor, or from now on.
    fn stream(&self, token: &str, last: Option<u64>) -> Curl {
        let mut args = self.args.clone();
        args.extend(["-H".into(), format!("Authorization: Bearer {token}")]);
        if let Some(last) = last {
            args.extend(["-H".into(), format!("Last-Event-ID: {last}")]);
        }
        args.push(format!("{}{STREAM}", self.origin));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Curl::open(&self.curl, &args)
    }

    /// A call, with a JSON body where it is not null.
    async fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> Value {
        let mut command = std::process::Command::new(&self.curl);
        command.args(&self.args).args(["-sS", "-X", method, "-H"]);
        command.arg(format!("Authorization: Bearer {token}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        if !body.is_null() {
            std::fs::write(file.path(), body.to_string()).unwrap();
            command.args(["-H", "Content-Type: application/json", "--data-binary"]);
            command.arg(format!("@{}", file.path().display()));
        }
        command.arg(format!("{}{path}", self.origin));
        let (status, out, said) = finish("curl", &mut command, SOON).await;
        assert!(status.success(), "{said}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_buffered() {
    let service = Setup::serve().start().await;
    let Some(nginx) = Nginx::start(service.http(), "", "").await else {
        return;
    };
    let Some(ways) = Way::all(&nginx) else { return };
    let token = service.secret().user("alice");
    let api = service.service_api();
    for way in ways {
        let mut stream = way.stream(&token, None);
        let head = stream.head().await;
        let status = match way.protocol {
            "h2+tls" => "HTTP/2 200",
            _ => "HTTP/1.1 200 OK",
        };
        assert_eq!(head[0], status, "{}", way.protocol);
        assert!(head.contains(&"content-type: text/event-stream".to_owned()));
        assert!(head.contains(&"cache-control: no-store".to_owned()));
        assert_eq!(stream.item().await, Some(Item::Retry(3000)));
        stream.expect("opened").await;
        // Each has to arrive before the next one is published.
        let large = "\u{1f980}\n\r\u{2028}".repeat(65_536 / 9);
        for text in ["", "small", &large, "small again"] {
            let id = api.publish(to(&["alice"], "t", text)).await.id;
            let event = stream.expect("message").await;
            assert_eq!((event.cursor(), &event.json()["data"]), (id, &json!(text)));
        }
        drop(stream);
        // Who leaves is gone behind nginx too.
        eventually("the stream is closed", SOON, async || {
            let metrics = Request::get("/metrics").send(service.admin()).await.text();
            metrics
                .contains("\nmercurio_gateway_streams 0\n")
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_keep_a_quiet_stream_open() {
    // nginx cuts what says nothing for 60 s; the heartbeat is well below it.
    let (_, help, _) = run(&["serve", "--help"]).await;
    let line = help.lines().find(|line| line.contains("--heartbeat"));
    assert!(line.unwrap().contains("default: 15s"), "{line:?}");

    let patience = "proxy_read_timeout 4s;";
    let brief = Setup::serve().args(["--heartbeat", "200ms"]).start().await;
    let Some(nginx) = Nginx::start(brief.http(), patience, "").await else {
        return;
    };
    let Some(ways) = Way::all(&nginx) else { return };
    let api = brief.service_api();
    let mut streams = Vec::new();
    for way in ways {
        let mut stream = way.stream(&brief.secret().user("alice"), None);
        stream.expect("opened").await;
        streams.push(stream);
    }
    for stream in &mut streams {
        // Three times nginx' patience.
        for _ in 0..60 {
            let item = stream.item().await;
            assert_eq!(item, Some(Item::Comment(" heartbeat".to_owned())));
        }
    }
    let id = api.publish(to(&["alice"], "t", "x")).await.id;
    for stream in &mut streams {
        assert_eq!(stream.expect("message").await.cursor(), id);
    }

    // Without them it is cut, so that the above means something.
    let quiet = Setup::serve().args(["--heartbeat", "10m"]).start().await;
    let Some(nginx) = Nginx::start(quiet.http(), patience, "").await else {
        return;
    };
    let Some(ways) = Way::all(&nginx) else { return };
    let mut stream = ways[0].stream(&quiet.secret().user("alice"), None);
    stream.expect("opened").await;
    assert_eq!(stream.event().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_and_marking() {
    let service = Setup::serve().start().await;
    let Some(nginx) = Nginx::start(service.http(), "", "").await else {
        return;
    };
    let Some(ways) = Way::all(&nginx) else { return };
    let (alice, publisher) = (service.secret().user("alice"), service.secret().service());
    for way in ways {
        let mut stream = way.stream(&alice, None);
        stream.expect("opened").await;
        let data = "\u{1f980}\n".repeat(65_536 / 5);
        let body = json!({ "sourceID": "s", "destinationID": "alice", "data": data });
        let answer = way
            .call(&publisher, "POST", "/api/events/unicast", &body)
            .await;
        let event = stream.expect("message").await;
        assert_eq!(event.json()["notificationID"], answer["notificationID"]);
        assert_eq!(event.json()["data"], data);
        let path = format!("/api/clients/me/notifications/{}/read", event.cursor());
        let answer = way.call(&alice, "PUT", &path, &Value::Null).await;
        assert_eq!(answer, json!({ "status": "read" }));
        assert_eq!(stream.expect("read-state").await.json()["unreadCount"], 0);
        let refused = way.call("none", "PUT", &path, &Value::Null).await;
        assert_eq!(refused["code"], "token-invalid");
    }
}

/// Follows with curl, telling it each time from where.
fn follow(way: Way, token: String, record: Record) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut last = 0;
        loop {
            let mut stream = way.stream(&token, Some(last));
            if stream
                .head()
                .await
                .first()
                .is_some_and(|head| head.contains("200"))
            {
                while let Some(event) = stream.event().await {
                    if !event.id.is_empty() {
                        last = event.cursor();
                    }
                    record.push((&event).into());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_resume_whatever_is_restarted() {
    let mut apart = Apart::start().await;
    let Some(mut nginx) = Nginx::start(apart.gateway.http(), "", "").await else {
        return;
    };
    let Some(ways) = Way::all(&nginx) else { return };
    let token = apart.core.secret().user("alice");
    let records: Vec<Record> = ways.iter().map(|_| Record::default()).collect();
    let readers: Vec<_> = ways
        .iter()
        .zip(&records)
        .map(|(way, record)| follow(way.clone(), token.clone(), record.clone()))
        .collect();
    let ledger = Ledger::default();
    let publisher = Publisher::start(apart.core.service_api(), ledger.clone(), |n| {
        with_id(
            &n.to_string(),
            to(&["alice"], "t", &"\u{1f980}\n".repeat(99)),
        )
    });
    // Opened so often, and with all that is acknowledged: publishing may stand still for a while, so one
    // does not show the other.
    let level = async |openings: usize| {
        for record in &records {
            record.wait_for_openings(openings, LATER).await;
            record.wait_for_cursor(ledger.last(), LATER).await;
        }
    };
    level(1).await;
    apart.gateway.restart().await;
    level(2).await;
    apart.gateway.restart_gracefully().await;
    level(3).await;
    nginx.reload();
    level(3).await;
    nginx.restart().await;
    level(4).await;
    publisher.stop().await;
    level(4).await;
    for (way, (record, reader)) in ways.iter().zip(records.iter().zip(readers)) {
        assert!(!reader.is_finished(), "{}", way.protocol);
        reader.abort();
        record.check(way.protocol, &ledger.of("alice"));
    }
}

/// The application sets its cookie behind the same nginx; the page and the gateway share an origin
/// that the gateway itself knows nothing of: nginx gives it its own address as the Host.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_with_a_cookie_over_http_2() {
    // Long enough for a restart on a machine that is busy.
    let mut apart = Apart::with(|core| core, |gateway| gateway.args(["--retry", "6s"])).await;
    let token = apart.core.secret().user("alice");
    let login = format!(
        "location = /login {{ add_header Set-Cookie \"mercurio_token={token}; Path=/; Secure; \
         HttpOnly; SameSite=Strict\"; return 200; }}"
    );
    let Some(nginx) = Nginx::start(apart.gateway.http(), "", &login).await else {
        return;
    };
    let Some(chromium) = Browser::chromium_with(&["--ignore-certificate-errors"]).await else {
        return;
    };
    let api = apart.core.service_api();
    let origin = format!("https://{}", nginx.tls);
    let stream = format!("{origin}{STREAM}");
    let page = chromium.open("one", &format!("{origin}/login")).await;
    let mut said = page.said();
    page.event_source(&stream).await;
    said.next_of("opened").await;
    let first = api.publish(to(&["alice"], "t", "x")).await.id;
    assert_eq!(said.next_of("message").await["id"], first.to_string());

    let mark = format!("/api/clients/me/notifications/{first}/read");
    let options = json!({ "method": "PUT" });
    let fetched = page.fetch(&format!("{origin}{mark}"), options).await;
    assert_eq!(fetched["status"], 200, "{fetched}");
    assert_eq!(api.unread("alice").await, 0);
    eventually("nginx has written its log", SOON, async || {
        let line = format!("HTTP/2.0 PUT {mark} 200");
        nginx.access_log().contains(&line).then_some(())
    })
    .await;

    // A gateway that is back before the browser asks again.
    apart.gateway.kill();
    assert_eq!(said.next_of("error").await["state"], 0);
    let second = api.publish(to(&["alice"], "t", "x")).await.id;
    apart.gateway.restart().await;
    said.next_of("opened").await;
    assert_eq!(said.next_of("message").await["id"], second.to_string());

    // One that stays away: nginx answers 502, at which every EventSource gives up. The page opens
    // another one from where it was.
    apart.gateway.kill();
    assert_eq!(said.next_of("error").await["state"], 0);
    assert_eq!(said.next_of("error").await["state"], 2);
    let third = api.publish(to(&["alice"], "t", "x")).await.id;
    apart.gateway.restart().await;
    let stream = format!("{stream}?lastEventID={second}");
    page.event_source(&stream).await;
    said.next_of("opened").await;
    assert_eq!(said.next_of("message").await["id"], third.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_cookie_is_checked_for_its_origin() {
    let service = Setup::serve().start().await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await;
    let token = service.secret().user("alice");
    let Some(nginx) = Nginx::start(service.http(), "", "").await else {
        return;
    };
    let own = format!("http://{}", nginx.plain);
    let mark = async |nginx: &Nginx, origin: &str, site: Option<&str>| {
        let path = format!("/api/clients/me/notifications/{}/read", id.id);
        let cookie = format!("mercurio_token={token}");
        let mut request = Request::put(path).header("Cookie", cookie);
        request = request.header("Origin", origin);
        if let Some(site) = site {
            request = request.header("Sec-Fetch-Site", site);
        }
        request.send(nginx.plain).await
    };
    let evil = "https://evil.example";
    for refused in [
        mark(&nginx, evil, Some("cross-site")).await,
        mark(&nginx, evil, None).await,
        // nginx has replaced the Host, and an old browser does not say more.
        mark(&nginx, &own, None).await,
    ] {
        refused.expect_error(403, "origin-not-allowed");
    }
    mark(&nginx, &own, Some("same-origin")).await.expect(200);
    let passes_host = "proxy_set_header Host $http_host;";
    let Some(nginx) = Nginx::start(service.http(), passes_host, "").await else {
        return;
    };
    let own = format!("http://{}", nginx.plain);
    mark(&nginx, &own, None).await.expect(200);
    let refused = mark(&nginx, evil, None).await;
    refused.expect_error(403, "origin-not-allowed");
}
