//! kill -9 of the core at random moments under concurrent publishers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mercurio_proto::v1::{Ids, set_read_state_request::Target};
use mercurio_tests::{
    ledger::went_away,
    prelude::*,
    tools::heavy,
    verify::{verify, verify_idempotency},
};
use tokio::task::JoinHandle;

const ROUNDS: usize = 80;
const USERS: [&str; 3] = ["alice", "bob", "carol"];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_stored_twice() {
    let _heavy = heavy().await;
    // Small segments, so that some rounds end in the middle of a roll.
    let setup = Setup::core().args(["--max-per-recipient", "1000000", "--segment-rows", "2000"]);
    let mut core = setup.start().await;
    let api = core.service_api();
    let ledger = Ledger::default();
    let follower = Subscriber::grpc(api.clone(), "alice", Manner::from_start());
    let publishers: Vec<Publisher> = (0..8)
        .map(|p| Publisher::start(core.service_api(), ledger.clone(), move |n| request(p, n)))
        .collect();

    let marker = Marker::start(core.service_api(), ledger.clone(), "carol");
    for round in 0..ROUNDS {
        let goal = ledger.len() + fastrand::usize(1..60);
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= goal).then_some(())
        })
        .await;
        // Not at an acknowledgement, but some moment after one.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..15_000))).await;
        core.restart().await;
        check_some(&core.service_api(), &ledger, round).await;
    }
    for publisher in publishers {
        assert!(publisher.stop().await > 0);
    }
    let marks = marker.stop().await;
    eprintln!(
        "{} publishes and {} marks acknowledged",
        ledger.len(),
        marks.len()
    );
    check_marks(&api, "carol", &marks).await;

    verify(&api, &ledger, &USERS).await;
    verify(&api, &ledger, &["someone-new"]).await;
    verify_idempotency(&api, &ledger).await;
    follower
        .record
        .wait_for_count(ledger.of("alice").len(), LATER)
        .await;
    follower.record.check("the follower", &ledger.of("alice"));
    // And as it was after one more start.
    core.restart().await;
    verify(&api, &ledger, &USERS).await;
}

fn request(publisher: usize, n: u64) -> mercurio_proto::v1::PublishRequest {
    let data = format!("{publisher}-{n}-{}", "x".repeat(fastrand::usize(0..600)));
    let request = match n % 7 {
        0 => to_everyone("all", &data),
        1 | 2 => to(&USERS, "many", &data),
        _ => to(&[USERS[publisher % 3]], "own", &data),
    };
    with_id(&format!("{publisher}-{n}"), request)
}

/// While publishers go on: what was acknowledged before this question is there, with its count.
async fn check_some(api: &Api, ledger: &Ledger, round: usize) {
    let user = USERS[round % USERS.len()];
    let known = ledger.of(user);
    let page = api.list(page(user, 500)).await;
    let (Some(newest), Some(oldest)) = (page.notifications.first(), page.notifications.last())
    else {
        panic!("round {round}: an empty history, {} known", known.len());
    };
    let missing: Vec<u64> = known
        .iter()
        .map(|seen| seen.id)
        .filter(|id| *id >= oldest.id && !page.notifications.iter().any(|n| n.id == *id))
        .collect();
    assert!(
        missing.is_empty(),
        "round {round}, {user}: {missing:?} lost, newest {}",
        newest.id
    );
    // Carol's are being marked.
    let unread = page.unread_count;
    assert!(
        unread >= known.len() as u64 || user == "carol",
        "round {round}: {unread} unread"
    );
}

/// Marks a user's notifications, one after the other, each until it is acknowledged.
struct Marker {
    task: JoinHandle<HashMap<u64, bool>>,
    stop: CancelOnDrop,
}

impl Marker {
    fn start(api: Api, ledger: Ledger, user: &'static str) -> Marker {
        let stop = CancelOnDrop::default();
        let stopped = stop.0.clone();
        let task = tokio::spawn(async move {
            let mut marks = HashMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let known = ledger.of(user);
                if known.is_empty() {
                    tokio::task::yield_now().await;
                    continue;
                }
                let some: Vec<u64> = (0..3)
                    .map(|_| known[fastrand::usize(..known.len())].id)
                    .collect();
                let read = fastrand::u8(..4) > 0;
                mark_surely(&api, user, &some, read).await;
                marks.extend(some.into_iter().map(|id| (id, read)));
            }
            marks
        });
        Marker { task, stop }
    }

    /// What was acknowledged last of each.
    async fn stop(self) -> HashMap<u64, bool> {
        drop(self.stop);
        self.task.await.expect("the marker")
    }
}

/// Says stop when it goes.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn mark_surely(api: &Api, user: &str, ids: &[u64], read: bool) {
    let target = || Some(Target::Ids(Ids { ids: ids.to_vec() }));
    while let Err(status) = api.try_mark(user, target(), read).await {
        assert!(went_away(&status), "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn check_marks(api: &Api, user: &str, marks: &HashMap<u64, bool>) {
    for notification in api.history(user).await {
        let read = marks.get(&notification.id).copied().unwrap_or(false);
        assert_eq!(notification.read_at.is_some(), read, "{}", notification.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn also_while_retention_sweeps() {
    let _heavy = heavy().await;
    const KEPT: usize = 150;
    let kept = KEPT.to_string();
    let mut core = Setup::core()
        .args([
            "--max-per-recipient",
            &kept,
            "--segment-rows",
            "300",
            "--sweep-interval",
            "100ms",
        ])
        .start()
        .await;
    let api = core.service_api();
    let ledger = Ledger::default();
    let publishers: Vec<Publisher> = (0..8)
        .map(|p| Publisher::start(core.service_api(), ledger.clone(), move |n| request(p, n)))
        .collect();
    for _ in 0..30 {
        let goal = ledger.len() + fastrand::usize(1..150);
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= goal).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..15_000))).await;
        core.restart().await;
    }
    for publisher in publishers {
        publisher.stop().await;
    }
    for _ in 0..2 {
        for user in USERS {
            let all = ledger.of(user);
            let newest = &all[all.len().saturating_sub(KEPT)..];
            let history: Vec<Seen> = api.history(user).await.iter().map(Seen::from).collect();
            compare(&format!("{user}'s history"), newest, &history);
            assert_eq!(api.unread(user).await, newest.len() as u64, "{user}");
        }
        core.restart().await;
    }
}
