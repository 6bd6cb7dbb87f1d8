//! Whoever published and marked where, every core has the same.

use std::collections::HashMap;

use mercurio_tests::{tools::heavy, verify::verify_idempotency};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn cores_on_nats_agree() {
    let Some(engine) = nats(3) else { return };
    cores_agree(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cores_on_rabbitmq_agree() {
    let Some(engine) = rabbitmq(1).await else {
        return;
    };
    cores_agree(engine).await;
}

async fn cores_agree(engine: Engine) {
    let _heavy = heavy().await;
    let mut cores = engine.cores(3).await;
    let ledger = Ledger::default();
    let follower = Subscriber::grpc(cores[0].service_api(), "alice", Manner::from_start());
    let publishers: Vec<Publisher> = (0..6)
        .map(|p| {
            let api = cores[p % 3].service_api();
            Publisher::start(api, ledger.clone(), move |n| request(p, n))
        })
        .collect();
    let mut bobs_marks = HashMap::new();
    // Marks of one user on all cores, while publishing goes on.
    for round in 1..=20 {
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= round * 10).then_some(())
        })
        .await;
        let api = cores[round % 3].service_api();
        let ids: Vec<u64> = ledger.of("bob").iter().map(|seen| seen.id).collect();
        let some = [ids[fastrand::usize(..ids.len())]];
        let read = round % 4 != 0;
        let marked = api.mark("bob", &some, read).await;
        bobs_marks.insert(some[0], read);
        // Whoever marks sees it marked, on the core that answered.
        let now = api.list(page("bob", 1)).await;
        assert!(now.cursor >= marked.cursor, "{marked:?}, then {now:?}");
    }
    let carol = ledger.of("carol");
    let carols_read = carol[carol.len() / 2].id;
    cores[1]
        .service_api()
        .mark_up_to("carol", carols_read, true)
        .await;
    for publisher in publishers {
        assert!(publisher.stop().await > 0);
    }
    agree(&cores, &ledger).await;
    let api = cores[0].service_api();
    for notification in api.history("bob").await {
        let is_read = bobs_marks.get(&notification.id).copied().unwrap_or(false);
        assert_eq!(notification.read_at.is_some(), is_read, "{notification:?}");
    }
    for notification in api.history("carol").await {
        let is_read = notification.id <= carols_read;
        assert_eq!(notification.read_at.is_some(), is_read, "{notification:?}");
    }
    // Published again elsewhere, each is known.
    verify_idempotency(&cores[2].service_api(), &ledger).await;
    follower
        .record
        .wait_for_count(ledger.of("alice").len(), LATER)
        .await;
    follower.record.check("the follower", &ledger.of("alice"));

    // One is killed, and one loses its disk: both are filled from the log.
    cores[0].restart().await;
    cores[2].kill();
    std::fs::remove_dir_all(cores[2].setup.data_dir()).unwrap();
    cores[2].restart().await;
    ready(&cores[2]).await;
    agree(&cores, &ledger).await;
}

/// A reader brings a cursor from a core that is ahead: it is waited for, and no gap is made of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_ahead_of_this_core_is_waited_for() {
    let Some(engine) = nats(1) else { return };
    let mut cores = engine.cores(2).await;
    let (ahead, behind) = (cores[0].service_api(), cores[1].service_api());
    let first = ahead.publish(to(&["alice"], "t", "first")).await;
    eventually("both have it", LATER, async || {
        (behind.list(page("alice", 1)).await.cursor >= first.id).then_some(())
    })
    .await;
    cores[1].process.signal(Signal::STOP);
    let mut last = first;
    for n in 0..100 {
        last = ahead.publish(to(&["alice"], "t", &format!("{n}"))).await;
    }
    let opening = tokio::spawn({
        let behind = behind.clone();
        async move {
            behind
                .subscribe(feed("alice", Some(last.id)))
                .await
                .next()
                .await
        }
    });
    cores[1].process.signal(Signal::CONT);
    let opened = within("the stream opens", LATER, opening).await.unwrap();
    let Some(subscribe_response::Change::Opened(said)) = opened.change else {
        panic!("{opened:?}")
    };
    assert!(said.complete, "{said:?}");
    assert!(said.latest >= last.id, "{said:?}");
    assert_eq!(said.unread_count, 101);
    // One from another log altogether is not waited for, and said to be incomplete.
    let foreign = feed("alice", Some(1 << 52));
    let opened = within("the stream opens", SOON, async {
        behind.subscribe(foreign).await.next().await
    });
    let Some(subscribe_response::Change::Opened(said)) = opened.await.change else {
        panic!("not opened")
    };
    assert!(!said.complete, "{said:?}");
    cores[0].kill();
}
