//! The power goes under load: everything acknowledged is there, and the store opens.

use mercurio_tests::{
    mount::Mount,
    prelude::*,
    tools::heavy,
    verify::{verify, verify_idempotency},
};

const ROUNDS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_power_cut() {
    let _heavy = heavy().await;
    let Some(mount) = Mount::ext4(512) else {
        return;
    };
    let setup = Setup::core().data(mount.path().join("data")).args([
        "--max-per-recipient",
        "1000000",
        "--segment-rows",
        "500",
    ]);
    let mut core = setup.start().await;
    let ledger = Ledger::default();
    for round in 0..ROUNDS {
        let api = core.service_api();
        let publishers: Vec<Publisher> = (0..8)
            .map(|p| {
                let ledger = ledger.clone();
                Publisher::start(api.clone(), ledger, move |n| {
                    let data = format!("{round}-{p}-{n}-{}", "w".repeat(fastrand::usize(0..500)));
                    let request = match n % 6 {
                        0 => to_everyone("all", &data),
                        1 => to(&["alice", "bob"], "two", &data),
                        _ => to(&["alice"], "own", &data),
                    };
                    with_id(&format!("{round}-{p}-{n}"), request)
                })
            })
            .collect();
        let goal = ledger.len() + fastrand::usize(1..150);
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= goal).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..10_000))).await;
        // What the process makes of its dead disk is not what is asked here.
        core.process.panics_fail = false;
        mount.cut_power();
        // What is acknowledged from here on would be a lie; give it the chance to be told.
        let lies = ledger.len();
        tokio::time::sleep(Duration::from_millis(30)).await;
        core.kill();
        let told = ledger.len() - lies;
        mount.remount();
        core.restart().await;
        // The publishers try again what was not answered, so the ledger becomes whole.
        for publisher in publishers {
            publisher.stop().await;
        }
        eprintln!(
            "round {round}: {} acknowledged, {told} around the cut",
            ledger.len()
        );
        verify(&core.service_api(), &ledger, &["alice", "bob"]).await;
    }
    verify_idempotency(&core.service_api(), &ledger).await;
    assert!(core.stop().await.success());
}
