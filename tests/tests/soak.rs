//! Everything at once: publishers, readers that come and go, and a core that is restarted; each
//! reader's record is compared with what was acknowledged.

use mercurio_tests::{prelude::*, tools::heavy, verify::verify};

const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

async fn soak(apart: &mut Apart, restarts: usize, graceful: bool) {
    let secret = apart.core.setup.clone();
    let api = apart.core.service_api();
    let ledger = Ledger::default();
    let publishers: Vec<Publisher> = (0..6)
        .map(|p| {
            Publisher::start(apart.core.service_api(), ledger.clone(), move |n| {
                let data = format!("{p}-{n}");
                let own = USERS[p % USERS.len()];
                let request = match n % 5 {
                    0 => to_everyone("all", &data),
                    1 => to(&USERS[..2], "two", &data),
                    _ => to(&[own], "own", &data),
                };
                with_id(&format!("{p}-{n}"), request)
            })
        })
        .collect();

    let mut readers: Vec<(String, &str, Subscriber)> = Vec::new();
    for user in USERS {
        let token = apart.core.secret().user(user);
        let http = apart.gateway.http();
        let calm = Manner::from_start();
        let restless = Manner::from_start().hanging_up(1..80);
        for (kind, manner) in [("calm", calm), ("restless", restless)] {
            let sse = Subscriber::sse(http, &token, user, manner.clone());
            readers.push((format!("{user}, {kind}, SSE"), user, sse));
            let grpc = Subscriber::grpc(apart.core.api(&token), user, manner);
            readers.push((format!("{user}, {kind}, gRPC"), user, grpc));
        }
    }
    drop(secret);

    for _ in 0..restarts {
        let goal = ledger.len() + 400;
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= goal).then_some(())
        })
        .await;
        if graceful {
            apart.core.restart_gracefully().await;
        } else {
            apart.core.restart().await;
        }
    }
    let goal = ledger.len() + 400;
    eventually("publishing goes on", LATER, async || {
        (ledger.len() >= goal).then_some(())
    })
    .await;
    for publisher in publishers {
        publisher.stop().await;
    }

    for (who, user, reader) in &readers {
        let expected = ledger.of(user);
        reader.record.wait_for_count(expected.len(), LATER).await;
        reader.record.check(who, &expected);
        reader.check_alive();
        if who.contains("calm, SSE") {
            assert_eq!(
                reader.record.openings(),
                1,
                "{who}: the stream was opened again"
            );
        }
    }
    verify(&api, &ledger, &USERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_core_that_is_killed() {
    let _heavy = heavy().await;
    let mut apart = Apart::with(|core| core.args(["--max-per-recipient", "1000000"]), |g| g).await;
    soak(&mut apart, 4, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_core_that_is_stopped_and_started() {
    let _heavy = heavy().await;
    let mut apart = Apart::with(|core| core.args(["--max-per-recipient", "1000000"]), |g| g).await;
    soak(&mut apart, 3, true).await;
}
