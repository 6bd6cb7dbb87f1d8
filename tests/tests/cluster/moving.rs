//! A new core is filled from a peer, and a store of its own becomes a shared log.

use mercurio_tests::service::run;

use super::*;

/// The log keeps its last few messages only: what is before them comes from a peer.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_core_is_filled_from_a_peer() {
    let Some(nats) = Nats::start(1) else { return };
    let engine = Engine::Nats(nats);
    let mut cores = engine.cores(1).await;
    let ledger = Ledger::default();
    let api = cores[0].service_api();
    for n in 0..40 {
        publish_surely(&api, &ledger, request(0, n)).await;
    }
    let bob = ledger.of("bob");
    api.mark_up_to("bob", bob[bob.len() / 2].id, true).await;
    engine.drop_all_but(4).await;
    let peer = format!("http://{}", cores[0].grpc());
    let setup = engine.setup().secret_of(&cores[0]);
    let (_, said) = setup.refused().await;
    assert!(said.contains("--peer-url"), "{said}");

    let publisher = Publisher::start(api.clone(), ledger.clone(), |n| request(1, n));
    let mut new = setup.args(["--peer-url", &peer]).launch();
    new.listening_within(LATER).await;
    ready(&new).await;
    cores.push(new);
    publisher.stop().await;
    agree(&cores, &ledger).await;
    // What comes now, both have from the log; and what the peer knew as published is known.
    let again = cores[1].service_api().publish(request(0, 3)).await;
    assert!(again.duplicate, "{again:?}");
    publish_surely(&cores[1].service_api(), &ledger, request(2, 0)).await;
    agree(&cores, &ledger).await;
    cores[1].restart().await;
    ready(&cores[1]).await;
    agree(&cores, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_its_own_moves_onto_nats() {
    let Some(engine) = nats(1) else { return };
    moves(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_its_own_moves_onto_rabbitmq() {
    let Some(engine) = rabbitmq(1).await else {
        return;
    };
    moves(engine).await;
}

async fn moves(engine: Engine) {
    let own = Setup::core();
    let mut core = own.start().await;
    let ledger = Ledger::default();
    for n in 0..30 {
        publish_surely(&core.service_api(), &ledger, request(0, n)).await;
    }
    let carol = ledger.of("carol");
    core.service_api()
        .mark_up_to("carol", carol[3].id, true)
        .await;
    let cursor = ledger.last();
    core.stop().await;

    let dir = own.data_dir();
    let mut args = vec!["migrate", "--data-dir", dir.to_str().unwrap()];
    let log = engine.args();
    args.extend(log.iter().map(String::as_str));
    args.extend(["--max-per-recipient", "1000000"]);
    let (status, said, error) = run(&args).await;
    assert!(status.success(), "{said}{error}");
    // Asked again, it is the same log.
    let (status, again, error) = run(&args).await;
    assert!(status.success(), "{again}{error}");
    assert_eq!(said, again);

    let moved = engine.setup().data(&dir).secret_of(&core);
    let first = moved.start().await;
    ready(&first).await;
    // Ids go on above what there was, and who has a cursor of before resumes.
    let follower = Subscriber::grpc(first.service_api(), "alice", Manner::from_start());
    let feed = first
        .service_api()
        .subscribe(feed("alice", Some(cursor)))
        .await
        .next()
        .await;
    let Some(subscribe_response::Change::Opened(opened)) = feed.change else {
        panic!("{feed:?}")
    };
    assert!(opened.complete, "{opened:?}");
    for n in 30..40 {
        publish_surely(&first.service_api(), &ledger, request(0, n)).await;
    }
    assert!(ledger.last() > cursor && ledger.last() < 1 << 53);
    let known = first.service_api().publish(request(0, 0)).await;
    assert!(
        known.duplicate && known.id == ledger.all()[0].0,
        "{known:?}"
    );

    let peer = format!("http://{}", first.grpc());
    let setup = engine.setup().secret_of(&core);
    let mut second = setup.args(["--peer-url", &peer]).launch();
    second.listening_within(LATER).await;
    ready(&second).await;
    agree(&[first, second], &ledger).await;
    follower
        .record
        .wait_for_count(ledger.of("alice").len(), LATER)
        .await;
    follower.record.check("the follower", &ledger.of("alice"));
    // Its own log it is no more.
    let (_, said) = own.refused().await;
    assert!(said.contains("--log"), "{said}");
}
