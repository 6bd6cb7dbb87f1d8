//! A core whose clock is ahead does not put the log's time forward.

use std::time::{SystemTime, UNIX_EPOCH};

use mercurio_tests::clock::Clock;

use super::*;

/// Tokens of the tests are good for an hour.
const AHEAD: u32 = 1800;

/// Published at the newest: seconds before now, or after it.
async fn age(api: &Api, user: &str) -> i64 {
    let newest = api.try_list(page(user, 1)).await.unwrap().notifications;
    let created = newest[0].created_at.expect("created_at").seconds;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() as i64 - created
}

#[tokio::test(flavor = "multi_thread")]
async fn on_nats_the_servers_clock_counts() {
    let (Some(engine), Some(clock)) = (nats(1), Clock::new()) else {
        return;
    };
    let right = engine.setup().start().await;
    ready(&right).await;
    let setup = engine.setup().secret_of(&right);
    let ahead = clock.ahead(setup, AHEAD).start().await;
    ready(&ahead).await;
    let cores = [ahead, right];
    let ledger = Ledger::default();
    for core in &cores {
        for n in 0..5 {
            let n = n + 10 * ledger.len() as u64;
            publish_surely(&core.service_api(), &ledger, request(0, n)).await;
            let age = age(&core.service_api(), "alice").await;
            assert!(age.abs() < i64::from(AHEAD) / 2, "{age} s");
        }
    }
    agree(&cores, &ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_rabbitmq_a_core_that_is_ahead_does_not_join() {
    let (Some(engine), Some(clock)) = (rabbitmq(1).await, Clock::new()) else {
        return;
    };
    let mut right = engine.setup().launch();
    right.listening_within(LATER).await;
    ready(&right).await;
    let ledger = Ledger::default();
    publish_surely(&right.service_api(), &ledger, request(0, 0)).await;
    let setup = engine.setup().secret_of(&right).args(["--log-wait", "1s"]);
    let publisher = Publisher::start(right.service_api(), ledger.clone(), |n| request(1, n));
    let (_, said) = clock.ahead(setup, AHEAD).refused().await;
    assert!(said.contains("clock is more than 60 s ahead"), "{said}");
    publisher.stop().await;
    let age = age(&right.service_api(), "alice").await;
    assert!(age.abs() < i64::from(AHEAD) / 2, "{age} s");
    agree(&[right], &ledger).await;
}
