//! Connections whose client opens no window, and otherwise does what it should: hyper's, whose
//! bodies nobody reads.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mercurio_auth::{ClaimRules, ServiceTokens, Verifier};
use prometheus_client::registry::Registry;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    Gateway, GatewaySettings,
    connection::{Connections, Peer},
    h2,
};

/// Bytes of a stream that the client has room for.
const WINDOW: u32 = 1;

struct Connection {
    client: SendRequest<Empty<Bytes>>,
    serving: JoinHandle<()>,
    settings: GatewaySettings,
}

async fn connect() -> Connection {
    let settings = GatewaySettings::default();
    let verifier = Arc::new(Verifier::new(Vec::new(), ClaimRules::default()));
    let tokens = ServiceTokens::fixed(String::new());
    let gateway = Gateway::new(settings.clone(), verifier, tokens, &mut Registry::default());
    let router = Router::new()
        .route("/small", get(|| async { "small" }))
        .route("/large", get(|| async { "x".repeat(1 << 20) }));
    let open = Arc::new(Connections::new(&gateway.unwrap().context, router));
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let peer = Peer::from_elsewhere();
    let serving = tokio::spawn(async move { h2::requests(&open, theirs, peer).await });
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .handshake(TokioIo::new(ours))
        .await
        .unwrap();
    tokio::spawn(connection);
    Connection {
        client,
        serving,
        settings,
    }
}

impl Connection {
    async fn ask(&mut self, path: &str) -> Response<Incoming> {
        let request = Request::get(format!("https://gateway{path}")).body(Empty::new());
        let answer = self.client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    }

    /// How long it stays open.
    async fn ended(self) -> Duration {
        let began = Instant::now();
        let ended = timeout(Duration::from_secs(3600), self.serving).await;
        ended.expect("it ends").unwrap();
        began.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_ends_and_the_connection_with_it() {
    for path in ["/small", "/large"] {
        let mut connection = connect().await;
        let left = connection.ask(path).await;
        let patience = connection.settings.read_timeout;
        // It is given up, then the connection is idle, then it is cut.
        let most = patience * 2 + h2::IDLE * 2 + patience * 2;
        assert!(connection.ended().await <= most, "{path}");
        drop(left);
    }
}

#[tokio::test(start_paused = true)]
async fn the_others_on_a_connection_go_on() {
    let mut connection = connect().await;
    let left = connection.ask("/large").await;
    tokio::time::sleep(connection.settings.read_timeout * 2).await;
    // Another one is taken, as slowly as the window has it.
    let taken = connection.ask("/small").await;
    assert_eq!(taken.collect().await.unwrap().to_bytes(), "small");
    let reset = left.collect().await.unwrap_err();
    assert!(!connection.serving.is_finished(), "{reset}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_is_cut() {
    let mut connection = connect().await;
    let mut left = Vec::new();
    for _ in 0..20 {
        left.push(connection.ask("/small").await);
    }
    let patience = connection.settings.read_timeout;
    assert!(connection.ended().await <= patience * 2);
}
