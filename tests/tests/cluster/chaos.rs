//! Everything fails in turn, under load; at the end every core and every reader has the same.
//!
//! The short ones run with the others. The long ones, minutes each, are one command:
//! `tests/run --test system -- --ignored --nocapture chaos` (docs/cluster.md has its last result).

use std::time::Instant;

use mercurio_tests::{service::Role, tools::heavy, verify::verify_idempotency};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn nats_for_a_short_time() {
    let Some(engine) = nats_apart() else { return };
    chaos(engine, 1, SILENT).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; see docs/cluster.md"]
async fn nats_for_a_long_time() {
    let Some(engine) = nats_apart() else { return };
    chaos(engine, 6, LONGEST).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; see docs/cluster.md"]
async fn rabbitmq_for_a_long_time() {
    let Some(engine) = rabbitmq_apart().await else {
        return;
    };
    chaos(engine, 3, LONGEST).await;
}

/// On machines of their own, where that may be, else stopped in place of cut off.
fn nats_apart() -> Option<Engine> {
    let apart = Nats::start_apart(3).or_else(|| Nats::start(3));
    apart.map(Engine::Nats)
}

async fn rabbitmq_apart() -> Option<Engine> {
    let apart = match RabbitMq::start_apart(3).await {
        Some(apart) => Some(apart),
        None => RabbitMq::start(3).await,
    };
    apart.map(Engine::RabbitMq)
}

/// As docs/cluster.md says it is done: one after the other, each ready before the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing() {
    let Some(engine) = nats(1) else { return };
    let _heavy = heavy().await;
    let mut cluster = Cluster::start(engine).await;
    for core in 0..cluster.cores.len() {
        let status = cluster.cores[core].stop().await;
        assert!(status.success(), "{status}");
        more(&cluster.ledger, "a core ended").await;
        cluster.cores[core] = started_again(&cluster.cores[core]).await;
    }
    for gateway in &mut cluster.gateways {
        gateway.restart_gracefully().await;
        more(&cluster.ledger, "a gateway was restarted").await;
    }
    cluster.finish().await;
}

/// Longer than the log's servers and clients wait for each other.
const SILENT: Duration = Duration::from_secs(12);

/// Longer than every timeout there is: a publish waits for the log for 15 s, and NATS forgets a
/// consumer after 30 s.
const LONGEST: Duration = Duration::from_secs(35);

async fn chaos(engine: Engine, rounds: usize, stopped_for: Duration) {
    let _heavy = heavy().await;
    let started = Instant::now();
    let mut cluster = Cluster::start(engine).await;
    let ledger = cluster.ledger.clone();
    for round in 0..rounds {
        let Cluster {
            engine,
            cores,
            gateways,
            read_up_to,
            ..
        } = &mut cluster;
        let leader = engine.leader().await;
        engine.kill(leader);
        more(&ledger, "the log's leader was killed").await;
        engine.start_node(leader).await;

        let wiped = round % 3;
        cores[wiped].kill();
        std::fs::remove_dir_all(cores[wiped].setup.data_dir()).unwrap();
        more(&ledger, "a core was killed and its disk wiped").await;
        cores[wiped] = started_again(&cores[wiped]).await;
        mark_some(&cores[wiped], &ledger, read_up_to).await;

        let gateway = round % 2;
        gateways[gateway].restart().await;
        more(&ledger, "a gateway was killed").await;

        let stopped = (round + 1) % 3;
        cores[stopped].process.signal(Signal::STOP);
        tokio::time::sleep(stopped_for).await;
        cores[stopped].process.signal(Signal::CONT);
        more(&ledger, "a core was stopped and went on").await;

        let cut = engine.leader().await;
        engine.cut(cut).await;
        more(&ledger, "the network of the log's leader was cut").await;
        if round % 2 == 1 {
            tokio::time::sleep(SILENT).await;
        }
        engine.mend(cut);
        more(&ledger, "it was mended").await;
        mark_some(&cores[stopped], &ledger, read_up_to).await;
    }
    cluster.finish().await;
    eprintln!(
        "{rounds} rounds in {} s: {} acknowledged, none lost, none twice",
        started.elapsed().as_secs(),
        ledger.len(),
    );
}

/// Three cores and two gateways; six publishers, two at each core, and a reader of each user at each
/// gateway.
struct Cluster {
    cores: Vec<Service>,
    gateways: Vec<Service>,
    ledger: Ledger,
    publishers: Vec<Publisher>,
    readers: Vec<(String, &'static str, Subscriber)>,
    /// Bob's are read up to here, and no others.
    read_up_to: u64,
    engine: Engine,
}

impl Cluster {
    async fn start(engine: Engine) -> Cluster {
        let cores = engine.cores(3).await;
        let urls: Vec<String> = cores
            .iter()
            .flat_map(|core| ["--core-url".into(), format!("http://{}", core.grpc())])
            .collect();
        let mut gateways = Vec::new();
        for _ in 0..2 {
            let setup = Setup::new(Role::Gateway).secret_of(&cores[0]);
            gateways.push(setup.args(urls.clone()).start().await);
        }
        let ledger = Ledger::default();
        let mut readers = Vec::new();
        for (number, gateway) in gateways.iter().enumerate() {
            for user in USERS {
                let token = gateway.secret().user(user);
                let reader = Subscriber::sse(gateway.http(), &token, user, Manner::from_start());
                readers.push((format!("{user} at gateway {number}"), user, reader));
            }
        }
        let publishers = (0..6).map(|p| {
            let api = cores[p % 3].service_api();
            Publisher::start(api, ledger.clone(), move |n| request(p, n))
        });
        Cluster {
            publishers: publishers.collect(),
            cores,
            gateways,
            ledger,
            readers,
            read_up_to: 0,
            engine,
        }
    }

    /// Every core and every reader has what was acknowledged, in one order, each once.
    async fn finish(self) {
        for publisher in self.publishers {
            assert!(publisher.stop().await > 0);
        }
        for core in &self.cores {
            ready(core).await;
        }
        agree(&self.cores, &self.ledger).await;
        for notification in self.cores[0].service_api().history("bob").await {
            let is_read = notification.id <= self.read_up_to;
            assert_eq!(notification.read_at.is_some(), is_read, "{notification:?}");
        }
        verify_idempotency(&self.cores[0].service_api(), &self.ledger).await;
        for (who, user, reader) in &self.readers {
            let expected = self.ledger.of(user);
            reader.record.wait_for_count(expected.len(), LATER).await;
            reader.record.check(who, &expected);
        }
    }
}

/// Publishing goes on after something happened.
async fn more(ledger: &Ledger, what: &str) {
    let goal = ledger.len() + 60;
    let goes_on = format!("publishing goes on after {what}");
    eventually(&goes_on, LATER, async || {
        (ledger.len() >= goal).then_some(())
    })
    .await;
}

async fn started_again(core: &Service) -> Service {
    let mut core = core.setup.launch();
    core.listening_within(LATER).await;
    ready(&core).await;
    core
}

/// Somebody reads some of theirs, whatever else happens.
async fn mark_some(core: &Service, ledger: &Ledger, read_up_to: &mut u64) {
    let known = ledger.of("bob");
    let id = known[fastrand::usize(..known.len())].id;
    let api = core.service_api();
    eventually("a mark is taken", LATER, async || {
        let target = mercurio_proto::v1::set_read_state_request::Target::UpTo(id);
        api.try_mark("bob", Some(target), true).await.ok()
    })
    .await;
    *read_up_to = id.max(*read_up_to);
}
