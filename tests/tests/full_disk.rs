//! A full disk: publishing is refused, reading goes on, and publishing resumes when there is room.

use std::fs;

use mercurio_tests::{mount::Mount, prelude::*, verify::verify};
use tonic::{Code, Status};

fn is_full(status: &Status) -> bool {
    match status.code() {
        Code::ResourceExhausted => reason(status) == "STORE_FULL",
        Code::Unavailable => reason(status).starts_with("STORE_"),
        _ => false,
    }
}

async fn publish_until_refused(api: &Api, ledger: &Ledger, tag: &str) -> Status {
    let body = "f".repeat(50_000);
    for n in 0..20_000 {
        let request = with_id(&format!("{tag}-{n}"), to(&["alice"], "t", &body));
        match api.try_publish(request.clone()).await {
            Ok(answer) => ledger.add(request, &answer),
            Err(refused) => return refused,
        }
    }
    panic!("the disk does not fill up");
}

async fn check(free_before: u64) {
    let Some(mount) = Mount::tmpfs(160) else {
        return;
    };
    let setup = Setup::core().data(mount.path().join("data"));
    let mut core = setup.start().await;
    let api = core.service_api();
    let ledger = Ledger::default();
    let first = with_id("first", to(&["alice"], "t", "first"));
    publish_surely(&api, &ledger, first).await;
    let ballast = mount.fill(free_before);

    let refused = publish_until_refused(&api, &ledger, "a").await;
    assert!(is_full(&refused), "{refused:?}");
    eprintln!("refused after {}: {refused:?}", ledger.len());
    // Refused again and again, while reading goes on.
    for n in 0..20 {
        let refused = api
            .try_publish(with_id(&format!("b{n}"), to(&["alice"], "t", "x")))
            .await;
        if let Err(refused) = &refused {
            assert!(is_full(refused), "{refused:?}");
        } else if let Ok(answer) = refused {
            ledger.add(with_id(&format!("b{n}"), to(&["alice"], "t", "x")), &answer);
        }
    }
    verify(&api, &ledger, &["alice"]).await;

    fs::remove_file(ballast).unwrap();
    let next = with_id("next", to(&["alice"], "t", "there is room"));
    let answer = eventually("publishing resumes", SOON, async || {
        api.try_publish(next.clone()).await.ok()
    })
    .await;
    ledger.add(next, &answer);
    for n in 0..50 {
        publish_surely(
            &api,
            &ledger,
            with_id(&format!("c{n}"), to(&["alice"], "t", "x")),
        )
        .await;
    }
    verify(&api, &ledger, &["alice"]).await;
    core.restart().await;
    verify(&api, &ledger, &["alice"]).await;
    assert!(core.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn filled_by_the_store_itself() {
    check(60 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filled_by_others_to_the_last_byte() {
    check(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_disk_without_a_free_byte() {
    let Some(mount) = Mount::tmpfs(160) else {
        return;
    };
    let mut core = Setup::core().data(mount.path().join("data")).start().await;
    let api = core.service_api();
    let ledger = Ledger::default();
    for n in 0..30 {
        publish_surely(
            &api,
            &ledger,
            with_id(&n.to_string(), to(&["alice"], "t", "x")),
        )
        .await;
    }
    core.kill();
    let ballast = mount.fill(0);
    // It serves readers, or says why not.
    let mut core = core.setup.launch();
    let listening = core.process.stderr.find(|line| line.contains("listening"));
    let serves = within("a start or a refusal", SOON, listening)
        .await
        .is_some();
    let next = with_id("next", to(&["alice"], "t", "x"));
    if serves {
        verify(&api, &ledger, &["alice"]).await;
        let refused = api.try_publish(next.clone()).await.unwrap_err();
        assert!(is_full(&refused), "{refused:?}");
    } else {
        let said = core.process.stderr.text();
        assert!(
            said.contains("No space left") || said.contains("full"),
            "{said}"
        );
    }
    fs::remove_file(ballast).unwrap();
    if !serves {
        core.restart().await;
    }
    let answer = eventually("publishing resumes", SOON, async || {
        api.try_publish(next.clone()).await.ok()
    })
    .await;
    ledger.add(next, &answer);
    verify(&api, &ledger, &["alice"]).await;
}
