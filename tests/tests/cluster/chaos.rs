//! Everything fails in turn, under load; at the end every core and every reader has the same.
//!
//! The short ones run with the others. The long ones, minutes each, are one command:
//! `tests/run --test system -- --ignored --nocapture chaos` (docs/cluster.md has its last result).

use std::time::Instant;

use mercurio_tests::{service::Role, tools::heavy, verify::verify_idempotency};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn nats_for_a_short_time() {
    let Some(engine) = nats(3) else { return };
    chaos(engine, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; see docs/cluster.md"]
async fn nats_for_a_long_time() {
    let Some(engine) = nats(3) else { return };
    chaos(engine, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; see docs/cluster.md"]
async fn rabbitmq_for_a_long_time() {
    let Some(engine) = rabbitmq(3).await else {
        return;
    };
    chaos(engine, 3).await;
}

/// Longer than the log's servers and clients wait for each other.
const LONG: Duration = Duration::from_secs(12);

async fn chaos(mut engine: Engine, rounds: usize) {
    let _heavy = heavy().await;
    let started = Instant::now();
    let mut cores = engine.cores(3).await;
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
    let readers: Vec<(usize, &str, Subscriber)> = [0, 1]
        .into_iter()
        .flat_map(|gateway| USERS.map(|user| (gateway, user)))
        .map(|(gateway, user)| {
            let of = &gateways[gateway];
            let token = of.secret().user(user);
            let reader = Subscriber::sse(of.http(), &token, user, Manner::from_start());
            (gateway, user, reader)
        })
        .collect();
    let publishers: Vec<Publisher> = (0..6)
        .map(|p| {
            let api = cores[p % 3].service_api();
            Publisher::start(api, ledger.clone(), move |n| request(p, n))
        })
        .collect();
    for round in 0..rounds {
        let leader = engine.leader().await;
        engine.kill(leader);
        more(&ledger, "the log's leader was killed").await;
        engine.start_node(leader).await;

        let wiped = round % 3;
        cores[wiped].kill();
        std::fs::remove_dir_all(cores[wiped].setup.data_dir()).unwrap();
        more(&ledger, "a core was killed and its disk wiped").await;
        cores[wiped] = started_again(&cores[wiped]).await;
        mark_some(&cores[wiped], &ledger).await;

        let gateway = round % 2;
        gateways[gateway].restart().await;
        more(&ledger, "a gateway was killed").await;

        let stopped = (round + 1) % 3;
        cores[stopped].process.signal(Signal::STOP);
        tokio::time::sleep(LONG).await;
        cores[stopped].process.signal(Signal::CONT);
        more(&ledger, "a core was stopped and went on").await;

        // As if the network to it were cut: nobody hears of it, and its connections stay open.
        let silent = engine.leader().await;
        engine.signal(silent, Signal::STOP);
        more(&ledger, "a server of the log went silent").await;
        engine.signal(silent, Signal::CONT);
        more(&ledger, "and came back").await;
        mark_some(&cores[stopped], &ledger).await;
    }
    for publisher in publishers {
        assert!(publisher.stop().await > 0);
    }
    for core in &cores {
        ready(core).await;
    }
    agree(&cores, &ledger).await;
    verify_idempotency(&cores[0].service_api(), &ledger).await;
    for (gateway, user, reader) in &readers {
        let expected = ledger.of(user);
        reader.record.wait_for_count(expected.len(), LATER).await;
        let who = format!("{user} at gateway {gateway}");
        reader.record.check(&who, &expected);
    }
    eprintln!(
        "{rounds} rounds in {} s: {} acknowledged, {} readers, none lost, none twice",
        started.elapsed().as_secs(),
        ledger.len(),
        readers.len()
    );
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
async fn mark_some(core: &Service, ledger: &Ledger) {
    let known = ledger.of("bob");
    let id = known[fastrand::usize(..known.len())].id;
    let api = core.service_api();
    eventually("a mark is taken", LATER, async || {
        let target = mercurio_proto::v1::set_read_state_request::Target::UpTo(id);
        api.try_mark("bob", Some(target), true).await.ok()
    })
    .await;
}
