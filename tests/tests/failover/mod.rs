//! A gateway before several cores: whatever becomes of the one it keeps to, streams stay open and
//! go on at another, without a gap and without anything twice.
//!
//! One core stands behind several addresses: what differs is what becomes of the ways to it.

mod health;
mod ways;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use mercurio_proto::v1::PublishResponse;
use mercurio_tests::{link::Link, prelude::*};
use serde_json::json;
use tokio::task::JoinHandle;

/// The gateway's metrics.
async fn metrics(gateway: &Service) -> String {
    Request::get("/metrics").send(gateway.admin()).await.text()
}

/// The value of a sample, its labels included in the name.
async fn sample(service: &Service, name: &str) -> Option<f64> {
    let text = metrics(service).await;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map(|value| value.trim().parse().expect("a number"))
}

/// How often the gateway went to another core for this reason.
async fn failovers(gateway: &Service, reason: &str) -> f64 {
    let name = format!("mercurio_gateway_failovers_total{{reason=\"{reason}\"}}");
    sample(gateway, &name).await.unwrap_or(0.0)
}

/// Which of these is the gateway's core.
async fn current(gateway: &Service, urls: &[String; 2]) -> usize {
    let text = metrics(gateway).await;
    let is_current = |url: &String| {
        text.contains(&format!(
            "mercurio_gateway_core_current{{core=\"{url}\"}} 1"
        ))
    };
    match urls.each_ref().map(is_current) {
        [true, false] => 0,
        [false, true] => 1,
        _ => panic!("not one of {urls:?} is the current one:\n{text}"),
    }
}

/// Waits until this one is the gateway's core.
async fn moved_to(gateway: &Service, urls: &[String; 2], to: usize, limit: Duration) {
    eventually("the gateway goes to the other core", limit, async || {
        (current(gateway, urls).await == to).then_some(())
    })
    .await;
}

async fn readiness(gateway: &Service, status: u16) {
    eventually("the gateway's readiness", SOON, async || {
        (Request::get("/readyz").send(gateway.http()).await.status == status).then_some(())
    })
    .await;
}

/// A core, two ways to it, a gateway, and a browser of alice's.
struct Place {
    core: Service,
    links: [Link; 2],
    urls: [String; 2],
    gateway: Service,
    alice: Subscriber,
    ledger: Ledger,
}

impl Place {
    async fn new() -> Place {
        let core = Setup::core().start().await;
        let links = [Link::to(core.grpc()).await, Link::to(core.grpc()).await];
        let urls = links.each_ref().map(Link::url);
        let setup = Setup::gateway_to(urls.clone()).secret_of(&core);
        let gateway = setup.start().await;
        let token = core.secret().user("alice");
        let alice = Subscriber::sse(gateway.http(), &token, "alice", Manner::default());
        Place {
            alice: alice.opened().await,
            core,
            links,
            urls,
            gateway,
            ledger: Ledger::default(),
        }
    }

    async fn current(&self) -> usize {
        current(&self.gateway, &self.urls).await
    }

    async fn moved_to(&self, to: usize, limit: Duration) {
        moved_to(&self.gateway, &self.urls, to, limit).await;
    }

    /// Alice's stream has all there is, on the connection that it was opened on.
    async fn check(&self) {
        let expected = self.ledger.of("alice");
        let record = &self.alice.record;
        record.wait_for_count(expected.len(), LATER).await;
        record.check("alice", &expected);
        assert_eq!(record.openings(), 1, "the stream was opened again");
    }
}

/// Publishes for alice through the gateway, without ids of its own, one after the other. Nothing
/// may be refused.
struct HttpPublisher {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl HttpPublisher {
    fn start(place: &Place) -> HttpPublisher {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, ledger) = (stop.clone(), place.ledger.clone());
        let (to, token) = (place.gateway.http(), place.core.secret().publisher("shop"));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                publish_over_http(to, &token, &ledger).await;
            }
        });
        HttpPublisher { task, stop }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the publisher");
    }
}

async fn publish_over_http(gateway: std::net::SocketAddr, token: &str, ledger: &Ledger) {
    let body = json!({ "sourceID": "tests", "destinationID": "alice", "topic": "t", "data": "x" });
    let request = Request::post("/api/events/unicast", &body).bearer(token);
    let answer = request.send(gateway).await.expect(200);
    let event_id = answer["eventID"].as_str().expect("an event id").to_owned();
    let published = PublishResponse {
        id: answer["notificationID"].as_u64().expect("an id"),
        event_id: event_id.clone(),
        duplicate: false,
    };
    ledger.add(with_id(&event_id, to(&["alice"], "t", "x")), &published);
}

/// Waits until so many more were published.
async fn publishing_goes_on(ledger: &Ledger) {
    let goal = ledger.len() + 30;
    eventually("publishing goes on", SOON, async || {
        (ledger.len() >= goal).then_some(())
    })
    .await;
}
