//! A gateway before several cores: whatever becomes of the one it keeps to, streams stay open and
//! go on at another, without a gap and without anything twice.
//!
//! One core stands behind several addresses: what differs is what becomes of the ways to it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use mercurio_proto::v1::PublishResponse;
use mercurio_tests::{front::Front, link::Link, prelude::*};
use serde_json::json;
use tokio::task::JoinHandle;

/// How soon a core that is silent has to be left: sooner than by the connection's keep-alive.
const NOTICED: Duration = Duration::from_secs(9);

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

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_publishes_go_on_when_the_core_is_cut_off() {
    let place = Place::new().await;
    let publisher = HttpPublisher::start(&place);
    for _ in 0..3 {
        publishing_goes_on(&place.ledger).await;
        let lost = place.current().await;
        place.links[lost].cut();
        place.moved_to(1 - lost, SOON).await;
        publishing_goes_on(&place.ledger).await;
        // Back it is not returned to.
        place.links[lost].mend();
        publishing_goes_on(&place.ledger).await;
        assert_eq!(place.current().await, 1 - lost);
    }
    publisher.stop().await;
    place.check().await;
    assert_eq!(failovers(&place.gateway, "lost").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_goes_silent_is_left() {
    let place = Place::new().await;
    let publisher = HttpPublisher::start(&place);
    publishing_goes_on(&place.ledger).await;
    let silent = place.current().await;
    place.links[silent].freeze();
    let start = Instant::now();
    place.moved_to(1 - silent, NOTICED).await;
    eprintln!("left after {:?}", start.elapsed());
    publishing_goes_on(&place.ledger).await;
    // What was held back arrives now: a publish that was on its way has been made again since.
    place.links[silent].mend();
    publishing_goes_on(&place.ledger).await;
    publisher.stop().await;
    place.check().await;
    assert_eq!(failovers(&place.gateway, "silent").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_wait_for_the_first_core_that_is_back() {
    let place = Place::new().await;
    let api = place.core.service_api();
    readiness(&place.gateway, 200).await;
    for round in 0..2 {
        for link in &place.links {
            link.cut();
        }
        readiness(&place.gateway, 503).await;
        let token = place.core.secret().publisher("shop");
        let body = json!({ "sourceID": "tests", "destinationID": "alice", "data": "x" });
        let request = Request::post("/api/events/unicast", &body).bearer(&token);
        let refused = request.send(place.gateway.http()).await;
        refused.expect_error(503, "core-unavailable");
        assert!(refused.header("retry-after").is_some());
        let request = with_id(&format!("{round}"), to(&["alice"], "t", "while cut"));
        publish_surely(&api, &place.ledger, request).await;
        place.links[round].mend();
        readiness(&place.gateway, 200).await;
        assert_eq!(place.current().await, round);
        place.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_goes_on_at_the_other_core() {
    const STORED: usize = 4_000;
    let place = Place::new().await;
    let api = place.core.service_api();
    let data = "c".repeat(1_000);
    let stored = api.publish_many("bob", &data, STORED).await;
    let token = place.core.secret().user("bob");
    let to = place.gateway.http();
    let readers: Vec<Subscriber> = (0..4)
        .map(|_| Subscriber::sse(to, &token, "bob", Manner::from_start()))
        .collect();
    for round in 1..=3 {
        // In the middle of it.
        let read = readers[0].record.clone();
        read.wait_for_count(round * STORED / 8, LATER).await;
        let lost = place.current().await;
        place.links[lost].cut();
        place.moved_to(1 - lost, SOON).await;
        place.links[lost].mend();
    }
    let last = api.publish(to_bob("live")).await.id;
    for reader in &readers {
        reader.record.wait_for_cursor(last, LATER).await;
        reader.record.check_order("bob");
        assert_eq!(reader.record.notifications().len(), stored.len() + 1);
    }
}

fn to_bob(data: &str) -> mercurio_proto::v1::PublishRequest {
    to(&["bob"], "t", data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_says_it_does_not_serve_is_left_for_one_that_does() {
    let core = Setup::core().start().await;
    let fronts = [Front::of(core.grpc()).await, Front::of(core.grpc()).await];
    let urls = fronts.each_ref().map(Front::url);
    let gateway = Setup::gateway_to(urls.clone()).secret_of(&core);
    let gateway = gateway.start().await;
    let token = core.secret().user("alice");
    let alice = Subscriber::sse(gateway.http(), &token, "alice", Manner::default());
    let alice = alice.opened().await;
    let (api, ledger) = (core.service_api(), Ledger::default());
    let mut expected = 0.0;
    for round in 0..2 {
        let ill = current(&gateway, &urls).await;
        fronts[ill].say(false).await;
        moved_to(&gateway, &urls, 1 - ill, SOON).await;
        expected += 1.0;
        assert_eq!(failovers(&gateway, "not_serving").await, expected);
        // Where none serves, one that answers will do.
        fronts[1 - ill].say(false).await;
        let request = with_id(&format!("{round}-ill"), to(&["alice"], "t", "x"));
        publish_surely(&api, &ledger, request).await;
        alice.record.wait_for_cursor(ledger.last(), SOON).await;
        readiness(&gateway, 200).await;
        // The first to be well is gone to.
        fronts[ill].say(true).await;
        moved_to(&gateway, &urls, ill, SOON).await;
        expected += 1.0;
        fronts[1 - ill].say(true).await;
    }
    assert_eq!(failovers(&gateway, "not_serving").await, expected);
    let request = with_id("last", to(&["alice"], "t", "x"));
    publish_surely(&api, &ledger, request).await;
    alice.record.wait_for_cursor(ledger.last(), SOON).await;
    alice.record.check("alice", &ledger.of("alice"));
    assert_eq!(alice.record.openings(), 1, "the stream was opened again");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a directory");
    for entry in std::fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read a directory");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a file's type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copy a file")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_read_from_a_core_that_lags_leaves_no_hole() {
    let mut core = Setup::core().start().await;
    let (api, ledger) = (core.service_api(), Ledger::default());
    let publish = async |event_id: &str| {
        let request = with_id(event_id, to(&["alice"], "t", "x"));
        publish_surely(&api, &ledger, request).await;
    };
    publish("before").await;
    assert!(core.stop().await.success());
    let lagging = Setup::core().secret_of(&core);
    copy(&core.setup.data_dir(), &lagging.data_dir());
    core.restart().await;
    let lagging = lagging.start().await;

    // The way to one address leads to two cores, as behind a balancer.
    let front = Front::of(core.grpc()).await;
    let link = Link::to(front.address).await;
    let gateway = Setup::gateway_to([link.url()]).secret_of(&core);
    let gateway = gateway.start().await;
    let token = core.secret().user("alice");
    let open = |manner| Subscriber::sse(gateway.http(), &token, "alice", manner);
    let alice = open(Manner::from_start()).opened().await;
    publish("live").await;
    alice.record.wait_for_count(2, SOON).await;

    front.read_feeds_from(lagging.grpc());
    link.cut();
    readiness(&gateway, 503).await;
    publish("while cut").await;
    link.mend();
    readiness(&gateway, 200).await;
    let late = open(Manner::from_start());
    publish("over the relay").await;
    eventually("the core that lags is asked again", SOON, async || {
        let asked = "mercurio_core_changes_delivered_total{path=\"subscribe\"}";
        (sample(&lagging, asked).await? >= 6.0).then_some(())
    })
    .await;
    assert_eq!(alice.record.notifications().len(), 2);
    assert_eq!(late.record.notifications().len(), 0);

    front.read_feeds_from(core.grpc());
    for reader in [&alice, &late] {
        reader.record.wait_for_cursor(ledger.last(), LATER).await;
        reader.record.check("alice", &ledger.of("alice"));
        assert_eq!(reader.record.openings(), 1);
    }
}
