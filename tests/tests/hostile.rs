//! Data that breaks naive servers goes through byte for byte, everywhere.

use mercurio_proto::v1::PublishRequest;
use mercurio_tests::prelude::*;
use serde_json::json;

fn hostile() -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        " ",
        " leading and trailing ",
        "line\nline",
        "line\r\nline\rline",
        "\n\n\nid: 1\ndata: forged\n\n",
        "\r\rdata: forged\r\r",
        "nul \0 in the middle",
        "\u{1}\u{8}\u{1b}[31m\u{7f}\u{85}\u{2028}\u{2029}",
        "\u{feff}bom",
        "emoji \u{1f980}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f1ee}\u{1f1f9}",
        "\"quotes\" \\ backslash / slash </script>",
        "{\"json\": [1, 2, {\"deep\": null}]}",
        "%00%0a+&=?#",
        "\u{10ffff}\u{fffd}\u{e000}",
        "rtl \u{202e}abc",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("x".repeat(65_536));
    all.push("\n".repeat(65_536));
    all.push("\0".repeat(65_536));
    all.push("\u{1f980}".repeat(65_536 / 4));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn data_survives_byte_for_byte() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let token = service.secret().user("alice");
    let sse = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let grpc = Subscriber::grpc(api.clone(), "alice", Manner::default())
        .opened()
        .await;
    let ledger = Ledger::default();
    for (n, data) in hostile().iter().enumerate() {
        let request = with_id(&format!("e{n}"), to(&["alice"], "t", data));
        publish_surely(&api, &ledger, request).await;
    }
    // The same through the HTTP door, as JSON.
    let publisher = service.secret().publisher("shop");
    for (n, data) in hostile().iter().enumerate() {
        let id = format!("h{n}");
        let body = json!({
            "id": id, "sourceID": "shop", "destinationID": "alice", "topic": "t", "data": data
        });
        let request = Request::post("/api/events/unicast", &body).bearer(&publisher);
        let answer = request.send(service.http()).await;
        assert!(
            (200..300).contains(&answer.status),
            "{n}: {}",
            answer.text()
        );
        let request = PublishRequest {
            source_id: "shop".into(),
            ..to(&["alice"], "t", data)
        };
        let id = answer.json()["notificationID"].as_u64().unwrap();
        let answer = mercurio_proto::v1::PublishResponse {
            id,
            event_id: format!("h{n}"),
            duplicate: false,
        };
        ledger.add(with_id(&format!("h{n}"), request), &answer);
    }
    let expected = ledger.of("alice");
    for (who, reader) in [("SSE", &sse), ("gRPC", &grpc)] {
        reader.record.wait_for_count(expected.len(), SOON).await;
        reader.record.check(who, &expected);
    }
    let again = Subscriber::sse(service.http(), &token, "alice", Manner::from_start());
    again.record.wait_for_count(expected.len(), SOON).await;
    again.record.check("SSE, catching up", &expected);
    for seen in &expected {
        let path = format!("/api/clients/me/notifications/{}", seen.id);
        let one = Request::get(path)
            .bearer(&token)
            .send(service.http())
            .await
            .expect(200);
        assert_eq!(&Seen::from_json(&one), seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_with_every_allowed_character() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for user in [
        "a/b",
        "a b",
        "ä€\u{1f980}",
        "a?b#c&d=e",
        "%2e",
        "..",
        ".",
        "me",
        "\"'\\",
        "a:b@c",
    ] {
        let token = service.secret().user(user);
        let id = api.publish(to(&[user], "t", "x")).await.id;
        for who in [escape(user), "me".to_owned()] {
            let path = format!("/api/clients/{who}/notifications?limit=1");
            let list = Request::get(path)
                .bearer(&token)
                .send(service.http())
                .await
                .expect(200);
            assert_eq!(list["clientID"], user);
            assert_eq!(list["notifications"][0]["notificationID"], id);
        }
        let path = "/api/clients/me/notifications/stream?lastEventID=0";
        let mut stream = Stream::open(service.http(), Request::get(path).bearer(&token)).await;
        stream.expect("opened").await;
        assert_eq!(stream.expect("message").await.json()["clientID"], user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_http() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let service = Setup::serve().start().await;
    for bytes in [
        &b"\0\0\0\0"[..],
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/events/unicast HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/events/unicast HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut stream = tokio::net::TcpStream::connect(service.http()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = within("an answer or an end", SOON, stream.read_to_end(&mut answer)).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 5"), "{bytes:?}: {text}");
    }
    let health = Request::get("/healthz").send(service.http()).await;
    assert_eq!(health.status, 200);
}
