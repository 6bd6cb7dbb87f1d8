//! What is past decides what a duplicate is: all cores of a log have the same retention.

use mercurio_tests::service::run;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn another_retention_is_refused_on_nats_and_changed_for_all() {
    let Some(engine) = nats(1) else { return };
    refused_and_changed(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_retention_is_refused_on_rabbitmq_and_changed_for_all() {
    let Some(engine) = rabbitmq(1).await else {
        return;
    };
    refused_and_changed(engine).await;
}

async fn refused_and_changed(engine: Engine) {
    let mut first = engine.setup().launch();
    first.listening_within(LATER).await;
    ready(&first).await;
    let ledger = Ledger::default();
    for n in 0..20 {
        publish_surely(&first.service_api(), &ledger, request(0, n)).await;
    }
    let wanted = ["--max-per-recipient", "500", "--max-age", "30d"];
    let other = Setup::core().args(engine.args()).args(wanted);
    let both = [
        "--max-age 90d --max-per-recipient 1000000",
        "--max-age 30d --max-per-recipient 500",
    ];
    // A new core; and one that has data of the log, also where the log is not asked.
    let (_, said) = other.refused().await;
    assert!(both.iter().all(|named| said.contains(named)), "{said}");
    first.stop().await;
    let (_, said) = other.data(first.setup.data_dir()).refused().await;
    assert!(both.iter().all(|named| said.contains(named)), "{said}");

    // As docs/cluster.md says: a new log is made of what one core has, and the others begin anew.
    let dir = first.setup.data_dir();
    let mut args = vec!["migrate", "--data-dir", dir.to_str().unwrap()];
    let log = engine.args();
    args.extend(log.iter().map(String::as_str));
    args.extend(wanted);
    let (status, _, error) = run(&args).await;
    assert!(!status.success(), "there is a log of that name");
    assert!(error.contains("30d") && error.contains("90d"), "{error}");
    args.extend(["--log-name", "mercurio2"]);
    for _ in 0..2 {
        let (status, said, error) = run(&args).await;
        assert!(status.success(), "{said}{error}");
    }
    let setup = || {
        let setup = Setup::core().args(engine.args()).args(wanted);
        setup.args(["--log-name", "mercurio2"]).secret_of(&first)
    };
    let mut moved = setup().data(&dir).launch();
    moved.listening_within(LATER).await;
    ready(&moved).await;
    let peer = format!("http://{}", moved.grpc());
    let mut new = setup().args(["--peer-url", &peer]).launch();
    new.listening_within(LATER).await;
    ready(&new).await;
    for n in 20..30 {
        publish_surely(&new.service_api(), &ledger, request(0, n)).await;
    }
    let again = moved.service_api().publish(request(0, 3)).await;
    assert!(again.duplicate, "{again:?}");
    agree(&[moved, new], &ledger).await;
}
