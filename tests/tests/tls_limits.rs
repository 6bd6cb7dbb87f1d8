//! TLS and HTTP/2 with clients that say nothing, don't read, or just go.

use std::process::Command;

use mercurio_tests::{
    certs::{Authority, text},
    curl::Curl,
    prelude::*,
    process::{Process, Signal},
    tools::tool,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const STREAM: &str = "/api/clients/me/notifications/stream";

/// serve with TLS at both doors.
async fn serve(ca: &Authority) -> Service {
    let web = ca.server("web");
    let setup = Setup::serve().args(web.args("tls-"));
    setup.start().await
}

/// The arguments of curl for alice's stream.
fn args(service: &Service, ca: &Authority, version: &str) -> Vec<String> {
    let token = service.secret().user("alice");
    [
        version,
        "--cacert",
        &text(&ca.ca()),
        "-H",
        &format!("Authorization: Bearer {token}"),
        &format!("https://{}{STREAM}", service.http()),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn curl(service: &Service, ca: &Authority, version: &str) -> Option<Curl> {
    let args = args(service, ca, version);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Some(Curl::open(&tool("curl")?, &args))
}

/// A gauge or counter of the service.
async fn metric(service: &Service, name: &str) -> f64 {
    let text = Request::get("/metrics").send(service.admin()).await.text();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name}: {text}"));
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_not_waited_for() {
    let ca = Authority::default();
    let cert = ca.server("both");
    let setup = Setup::serve().args(cert.args("tls-"));
    let service = setup.args(cert.args("grpc-tls-")).start().await;
    // Nothing; the beginning of a hello; and what is none.
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    for door in [service.http(), service.grpc()] {
        let mut waiting = Vec::new();
        for said in [&b""[..], &hello, b"GET / HTTP/1.1\r\n\r\n"] {
            let mut socket = TcpStream::connect(door).await.expect("connect");
            socket.write_all(said).await.expect("write");
            waiting.push(tokio::spawn(async move {
                let mut answer = Vec::new();
                // An end or a reset, behind at most an alert.
                let _ = socket.read_to_end(&mut answer).await;
                assert!(answer.len() < 32, "{answer:?}");
            }));
        }
        for closed in waiting {
            within("it is closed", SOON, closed).await.expect("closed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_is_noticed() {
    let ca = Authority::default();
    let service = serve(&ca).await;
    for version in ["--http1.1", "--http2"] {
        let Some(mut stream) = curl(&service, &ca, version) else {
            return;
        };
        stream.expect("opened").await;
        assert_eq!(metric(&service, "mercurio_gateway_streams").await, 1.0);
        // Dropped, it is killed.
        drop(stream);
        eventually("the stream is gone", SOON, async || {
            (metric(&service, "mercurio_gateway_streams").await == 0.0).then_some(())
        })
        .await;
        eventually("and its connection", SOON, async || {
            (metric(&service, "mercurio_gateway_connections").await == 0.0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_up_nobody_and_no_shutdown() {
    let ca = Authority::default();
    for version in ["--http1.1", "--http2"] {
        let mut service = serve(&ca).await;
        let Some(program) = tool("curl") else { return };
        let mut command = Command::new(program);
        command.args(["--silent", "--no-buffer"]);
        let stuck = Process::spawn("curl", command.args(args(&service, &ca, version)));
        let opened = stuck.stdout.find(|line| line.contains("opened"));
        within("it opens", SOON, opened).await;
        stuck.signal(Signal::STOP);
        let mut other = curl(&service, &ca, version).expect("curl");
        other.expect("opened").await;
        let api = service.service_api();
        let body = "s".repeat(60_000);
        for _ in 0..200 {
            let id = api.publish(to(&["alice"], "t", &body)).await.id;
            assert_eq!(other.expect("message").await.cursor(), id);
        }
        service.process.terminate();
        other.expect("closing").await;
        // The grace period is 10 s.
        let status = service.process.wait(Duration::from_secs(13)).await;
        assert!(status.success(), "{version}: {status}");
        drop(stuck);
    }
}
