//! Both doors' HTTP/2, and gRPC in it, against what no client library sends: it is refused or cut,
//! memory stays bounded, nothing panics (the harness reads the log), and others are served
//! meanwhile.

use std::{future::Future, net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc};

use mercurio_tests::{
    certs::Authority,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Flood, GOAWAY, HEADERS, PADDED, PING,
        PREFACE, PRIORITY, PUSH_PROMISE, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame,
        message,
    },
    prelude::*,
};

const MIB: usize = 1 << 20;
/// What all of it may cost in memory: the service takes some 30 MiB by itself.
const MEMORY: u64 = 256 << 20;
/// Connections that are opened and left.
const LEFT_OPEN: usize = 200;

/// A door, and a request that it knows.
struct Door {
    to: SocketAddr,
    ca: Option<PathBuf>,
    /// A request without a body.
    head: Vec<u8>,
    /// The beginning of one with a body, from somebody who may make it.
    with_body: Vec<u8>,
    /// A request without a body, whose answer is large: where how long it may stay untaken is short.
    large: Option<Vec<u8>>,
    is_grpc: bool,
}

impl Door {
    async fn connect(&self) -> Raw {
        let connected = Raw::connect(self.to, self.ca.as_deref());
        let connected = within("a connection", SOON, connected).await;
        connected.expect("connect")
    }

    /// A connection that has begun as it should.
    async fn begun(&self) -> Raw {
        let mut raw = self.connect().await;
        raw.begin().await.expect("begin");
        raw
    }

    fn request(&self, stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &self.head)
    }
}

fn settings(id: u16, value: u32) -> Vec<u8> {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

/// Frames that are wrong, each of which ends its connection.
fn wrong(door: &Door) -> Vec<(&'static str, Vec<u8>)> {
    let head = &door.head;
    let then = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let open = || frame(HEADERS, END_HEADERS, 1, head);
    let update = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let mut too_long = frame(DATA, 0, 1, &[]);
    too_long[..3].copy_from_slice(&[0xff; 3]);
    vec![
        ("no frame", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4)),
        ("a frame that is too long", too_long),
        (
            "a head without a stream",
            frame(HEADERS, END_HEADERS, 0, head),
        ),
        (
            "a head on the server's stream",
            frame(HEADERS, END_HEADERS, 2, head),
        ),
        (
            "a stream that goes back",
            then(door.request(5), door.request(3)),
        ),
        ("HPACK: index 0", frame(HEADERS, END_HEADERS, 1, &[0x80])),
        (
            "HPACK: an index that is not there",
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f]),
        ),
        (
            "HPACK: an endless integer",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 64]),
        ),
        (
            "HPACK: text that is not there",
            frame(HEADERS, END_HEADERS, 1, &[0, 127, 100, b'x']),
        ),
        (
            "HPACK: no Huffman code",
            frame(
                HEADERS,
                END_HEADERS,
                1,
                &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x'],
            ),
        ),
        (
            "HPACK: a table of 4 GiB",
            frame(
                HEADERS,
                END_HEADERS,
                1,
                &[0x3f, 0xe1, 0xff, 0xff, 0xff, 0x0f],
            ),
        ),
        (
            "padding beyond the frame",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[255, 0, 0]),
        ),
        ("data for no stream", frame(DATA, 0, 1, b"x")),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("settings cut short", frame(SETTINGS, 0, 0, &[0, 3, 0])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        (
            "settings acknowledged with settings",
            frame(SETTINGS, ACK, 0, &[0; 6]),
        ),
        ("a window beyond all bounds", settings(4, u32::MAX)),
        ("frames of 5 bytes", settings(5, 5)),
        ("push that is neither on nor off", settings(2, 7)),
        ("a ping of 3 bytes", frame(PING, 0, 0, &[0; 3])),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8])),
        ("no more window", update(0, 0)),
        (
            "a window that overflows",
            then(update(0, u32::MAX >> 1), update(0, u32::MAX >> 1)),
        ),
        ("a reset of no stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        (
            "a reset of 3 bytes",
            then(open(), frame(RST_STREAM, 0, 1, &[0; 3])),
        ),
        (
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, head),
        ),
        (
            "a ping within a head",
            then(frame(HEADERS, 0, 1, head), frame(PING, 0, 0, &[0; 8])),
        ),
        (
            "a continuation of another",
            then(
                frame(HEADERS, 0, 1, head),
                frame(CONTINUATION, END_HEADERS, 3, head),
            ),
        ),
        (
            "a push by the client",
            frame(PUSH_PROMISE, END_HEADERS, 1, head),
        ),
        ("a farewell of 3 bytes", frame(GOAWAY, 0, 0, &[0; 3])),
        ("a priority of 3 bytes", frame(PRIORITY, 0, 1, &[0; 3])),
    ]
}

/// What takes one connection, and is over when the service has dealt with it.
type Attack = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Everything that a door has to stand.
fn attacks(door: &Arc<Door>) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    for (what, bytes) in wrong(door) {
        let door = door.clone();
        attacks.push(Box::pin(async move {
            let mut raw = door.begun().await;
            // It may have been cut already.
            let _ = raw.send(&bytes).await;
            raw.ended(what).await;
        }));
    }
    let mut add = |attack: Attack| attacks.push(attack);
    add(Box::pin(no_preface(door.clone())));
    add(Box::pin(large_head(door.clone())));
    add(Box::pin(rapid_resets(door.clone())));
    add(Box::pin(continuations(door.clone())));
    add(Box::pin(floods(door.clone())));
    add(Box::pin(no_window(door.clone())));
    if let Some(large) = &door.large {
        for window in [0, 1] {
            add(Box::pin(untaken(door.clone(), large.clone(), window)));
        }
    }
    add(Box::pin(left_open(door.clone())));
    if door.is_grpc {
        add(Box::pin(messages(door.clone())));
    }
    attacks
}

async fn no_preface(door: Arc<Door>) {
    let mut raw = door.connect().await;
    let _ = raw.send(&[0; 1024]).await;
    raw.ended("zeros").await;
    let mut raw = door.connect().await;
    let _ = raw.send(&[PREFACE, &[0xff; 64]].concat()).await;
    raw.ended("no settings behind the preface").await;
}

/// Larger than a head may be, in frames that are not: refused, and the connection goes on.
async fn large_head(door: Arc<Door>) {
    let mut raw = door.begun().await;
    let value = "x".repeat(1000);
    let more: Vec<_> = (0..60).map(|_| ("x-more", value.as_str())).collect();
    let large = [door.head.clone(), block(&more)].concat();
    let mut bytes = Vec::new();
    let parts: Vec<&[u8]> = large.chunks(16_000).collect();
    for (n, part) in parts.iter().enumerate() {
        let last = if n + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(match n {
            0 => frame(HEADERS, END_STREAM | last, 1, part),
            _ => frame(CONTINUATION, last, 1, part),
        });
    }
    bytes.extend(door.request(3));
    raw.send(&bytes).await.expect("send");
    let answered = within("a head that is too large", SOON, raw.answered(1)).await;
    answered.expect("refused");
    let answered = within("the one behind it", SOON, raw.answered(3)).await;
    answered.expect("answered");
}

/// CVE-2023-44487: requests that are taken back at once.
async fn rapid_resets(door: Arc<Door>) {
    let mut raw = door.begun().await;
    let requests = (0..50_000).map(|n| 2 * n + 1);
    let bytes: Vec<u8> = requests
        .flat_map(|stream| {
            let taken_back = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [door.request(stream), taken_back].concat()
        })
        .collect();
    let sent = bytes.len();
    let end = raw.flood(&bytes, sent, true).await;
    // A service that is not scheduled for a while takes nothing either; in the end it cuts.
    assert_ne!(end, Flood::Taken, "requests that are taken back");
    raw.ended("requests that are taken back").await;
}

/// CVE-2024-27316: a head without an end.
async fn continuations(door: Arc<Door>) {
    let more = block(&[("x-more", &"x".repeat(1000))]);
    for payload in [&more[..], &[]] {
        let mut raw = door.begun().await;
        let _ = raw.send(&frame(HEADERS, END_STREAM, 1, &door.head)).await;
        let more = frame(CONTINUATION, 0, 1, payload);
        let end = raw.flood(&more, 64 * MIB, true).await;
        assert_ne!(end, Flood::Taken, "a head without an end");
        raw.ended("a head without an end").await;
    }
}

/// Frames that are allowed, far too many of them: all are taken, or the client is left waiting.
async fn floods(door: Arc<Door>) {
    for bytes in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[]),
        settings(4, 1000),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
    ] {
        for reads in [true, false] {
            let mut raw = door.begun().await;
            raw.flood(&bytes, 2 * MIB, reads).await;
        }
    }
    // Of data that is none.
    let mut raw = door.begun().await;
    let _ = raw
        .send(&frame(HEADERS, END_HEADERS, 1, &door.with_body))
        .await;
    raw.flood(&frame(DATA, 0, 1, &[]), 2 * MIB, true).await;
}

/// Thousands of requests whose answers have nowhere to go.
async fn no_window(door: Arc<Door>) {
    let mut raw = door.begun().await;
    let _ = raw.send(&settings(4, 0)).await;
    for stream in (0..5_000).map(|n| 2 * n + 1) {
        let request = door.request(stream);
        let sent = tokio::time::timeout(Duration::from_secs(2), raw.send(&request));
        if !matches!(sent.await, Ok(Ok(()))) {
            break;
        }
    }
}

/// Large answers with nowhere to go, on a connection that is otherwise as it should be.
async fn untaken(door: Arc<Door>, large: Vec<u8>, window: u32) {
    let mut raw = door.begun().await;
    raw.send(&settings(4, window)).await.expect("send");
    for stream in (0..40).map(|n| 2 * n + 1) {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &large);
        raw.send(&request).await.expect("send");
    }
    raw.ended_in_spite_of_pings("answers that nobody takes")
        .await;
}

/// Connections that begin, and then say nothing: each is ended after its time.
async fn left_open(door: Arc<Door>) {
    let half = door.request(1);
    let mut beginnings = vec![Vec::new(), PREFACE[..10].to_vec(), PREFACE.to_vec()];
    let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    beginnings.push([&begun[..], &half[..5]].concat());
    beginnings.push([&begun[..], &half[..half.len() - 1]].concat());
    beginnings.push([begun, frame(HEADERS, END_STREAM, 1, &door.head)].concat());
    let mut open = Vec::new();
    for n in 0..LEFT_OPEN {
        let mut raw = door.connect().await;
        let beginning = &beginnings[n % beginnings.len()];
        raw.send(beginning).await.expect("send");
        open.push(raw);
    }
    for raw in open {
        raw.ended("a connection that says no more").await;
    }
}

/// Messages of gRPC that are none: each call is answered, and the connection goes on.
async fn messages(door: Arc<Door>) {
    let mut raw = door.begun().await;
    let mut stream = 1;
    for (what, body) in [
        ("nothing", vec![]),
        ("less than a length", vec![0, 0, 0]),
        ("less than its length", message(0, 100, b"x")),
        ("more than its length", message(0, 1, &[7; 100])),
        ("4 GiB, it says", message(0, u32::MAX, &[0; 1000])),
        ("compressed, it says", message(1, 4, &[0; 4])),
        ("a flag that is none", message(77, 4, &[0; 4])),
        ("no message", message(0, 8, &[0xff; 8])),
        (
            "two messages",
            [message(0, 0, &[]), message(0, 0, &[])].concat(),
        ),
        (
            "a field of 4 GiB",
            message(0, 6, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
    ] {
        let head = frame(HEADERS, END_HEADERS, stream, &door.with_body);
        let body = frame(DATA, END_STREAM, stream, &body);
        raw.send(&[head, body].concat()).await.expect(what);
        let answered = within(what, SOON, raw.answered(stream)).await;
        answered.expect(what);
        stream += 2;
    }
}

/// Puts a door through all of it, while others publish and read.
async fn stands(service: &Service, door: Door) {
    let api = service.service_api();
    let mut reader = api.subscribe(feed("alice", None)).await;
    reader.next().await;
    let before = service.process.resident();
    let mut most = before;
    let door = Arc::new(door);
    let attacking = async {
        let running = attacks(&door).into_iter().map(tokio::spawn);
        for attack in running.collect::<Vec<_>>() {
            attack.await.expect("an attack ended as it has to");
        }
    };
    let mut served = 0;
    let others = async {
        loop {
            let id = api.publish(to(&["alice"], "t", "meanwhile")).await.id;
            let seen = within("it is delivered", SOON, reader.next()).await;
            assert_eq!(seen.cursor, id);
            served += 1;
            most = most.max(service.process.resident());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = attacking => {}
        () = others => {}
    }
    assert!(served > 0);
    assert!(most - before < MEMORY, "{before} bytes became {most}");
    // What was stored is what others published.
    let stored = api.history("alice").await;
    assert!(stored.iter().all(|one| one.data == "meanwhile"));
}

/// A head of a call, with a token or without.
fn call(door: SocketAddr, path: &str, token: Option<&str>) -> Vec<u8> {
    let authority = door.to_string();
    let mut head = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", &authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let bearer = token.map(|token| format!("Bearer {token}"));
    head.extend(
        bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str())),
    );
    block(&head)
}

fn grpc_door(service: &Service, ca: Option<PathBuf>) -> Door {
    let token = service.secret().service();
    Door {
        to: service.grpc(),
        ca,
        head: call(service.grpc(), "/grpc.health.v1.Health/Check", None),
        with_body: call(
            service.grpc(),
            "/mercurio.v1.NotificationService/Publish",
            Some(&token),
        ),
        large: None,
        is_grpc: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cores_door() {
    let setup = Setup::core().args(["--grpc-keepalive", "2s"]);
    let service = setup.start().await;
    stands(&service, grpc_door(&service, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_door() {
    let ca = Authority::default();
    let web = ca.server("web");
    let setup = Setup::serve().args(web.args("tls-"));
    // What one address may ask for is another test's.
    let unlimited = ["--requests-per-address", "0", "--read-timeout", "4s"];
    let service = setup.args(unlimited).start().await;
    let token = service.secret().publisher("shop");
    let large = to(&["shop"], "t", &"x".repeat(60_000));
    service.service_api().publish(large).await;
    let authority = service.http().to_string();
    let head = |method: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        block(&[
            (":method", method),
            (":scheme", "https"),
            (":path", path),
            (":authority", &authority),
            ("content-type", "application/json"),
            ("authorization", &bearer),
        ])
    };
    let door = Door {
        to: service.http(),
        ca: Some(ca.ca()),
        head: head("GET", "/healthz"),
        with_body: head("POST", "/api/events/unicast"),
        large: Some(head("GET", "/api/clients/me/notifications?limit=500")),
        is_grpc: false,
    };
    stands(&service, door).await;
}
