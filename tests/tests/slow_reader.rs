//! A reader that stops reading costs a bounded amount of memory, then continues and misses nothing.

use mercurio_proto::v1::PublishRequest;
use mercurio_tests::{prelude::*, tools::heavy};

const COUNT: usize = 10_500;
const READERS: usize = 12;
const BODY: usize = 2048;

/// One reader's share of what was published, were it kept for it: 21 MB. Twelve: 258 MB.
const KEPT_FOR_ALL: u64 = (COUNT * BODY * READERS) as u64;

fn requests() -> impl Iterator<Item = PublishRequest> {
    let body = "y".repeat(BODY);
    (0..COUNT).map(move |n| with_id(&n.to_string(), to(&["alice"], "t", &body)))
}

async fn publish_all(service: &Service, ledger: &Ledger) {
    let api = service.service_api();
    let mut running = tokio::task::JoinSet::new();
    for request in requests() {
        if running.len() == 128 {
            running.join_next().await.unwrap().unwrap();
        }
        let (api, ledger) = (api.clone(), ledger.clone());
        running.spawn(async move { publish_surely(&api, &ledger, request).await });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

/// What the process may grow by: a store's caches and buffers, but not a reader's backlog each.
fn check_memory(service: &Service, before: u64) {
    let grown = service.process.resident().saturating_sub(before);
    eprintln!("resident memory grew by {} MB", grown >> 20);
    assert!(
        grown < 160 << 20,
        "grew by {} MB of {}",
        grown >> 20,
        KEPT_FOR_ALL >> 20
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_sse() {
    let _heavy = heavy().await;
    let service = Setup::serve()
        .args(["--max-per-recipient", "1000000"])
        .start()
        .await;
    let token = service.secret().user("alice");
    let mut stuck = Vec::new();
    for _ in 0..READERS {
        let request = Request::get("/api/clients/me/notifications/stream").bearer(&token);
        let mut stream = Stream::open(service.http(), request).await;
        stream.expect("opened").await;
        stuck.push(stream);
    }
    let before = service.process.resident();
    let ledger = Ledger::default();
    publish_all(&service, &ledger).await;
    check_memory(&service, before);

    // A reader that is not stuck is not held up by those that are.
    let live = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let last = with_id("last", to(&["alice"], "t", "last"));
    publish_surely(&service.service_api(), &ledger, last).await;
    live.record.wait_for_cursor(ledger.last(), SOON).await;

    let expected = ledger.of("alice");
    for (n, stream) in stuck.iter_mut().enumerate() {
        let record = Record::default();
        let read = async {
            for _ in 0..expected.len() {
                record.push((&stream.event().await).into());
            }
        };
        within("the stuck reader reads on", LATER, read).await;
        record.check(&format!("stuck reader {n}"), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc() {
    let _heavy = heavy().await;
    let service = Setup::core()
        .args(["--max-per-recipient", "1000000"])
        .start()
        .await;
    let mut stuck = Vec::new();
    for _ in 0..READERS {
        // A connection each: streams on one connection share its window.
        let mut stream = service.service_api().subscribe(feed("alice", None)).await;
        stream.next().await;
        stuck.push(stream);
    }
    let before = service.process.resident();
    let ledger = Ledger::default();
    publish_all(&service, &ledger).await;
    check_memory(&service, before);
    let expected = ledger.of("alice");
    for (n, stream) in stuck.iter_mut().enumerate() {
        let record = Record::default();
        let read = async {
            for _ in 0..expected.len() {
                record.push((&stream.next().await).into());
            }
        };
        within("the stuck reader reads on", LATER, read).await;
        record.check(&format!("stuck reader {n}"), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stuck_stream_does_not_hold_up_others_on_its_connection() {
    let service = Setup::core().start().await;
    let api = service.service_api();
    let mut stuck = api.subscribe(feed("alice", None)).await;
    stuck.next().await;
    let other = Subscriber::grpc(api.clone(), "bob", Manner::default())
        .opened()
        .await;
    let body = "z".repeat(20_000);
    for n in 0..60 {
        api.publish(with_id(&format!("a{n}"), to(&["alice"], "t", &body)))
            .await;
    }
    let id = api.publish(to(&["bob"], "t", "x")).await.id;
    other.record.wait_for_cursor(id, SOON).await;
    for _ in 0..60 {
        stuck.next().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_reader_behind_retention_is_told_inside_the_stream() {
    let _heavy = heavy().await;
    let service = Setup::serve()
        .args(["--max-per-recipient", "300"])
        .start()
        .await;
    let token = service.secret().user("alice");
    let request = Request::get("/api/clients/me/notifications/stream").bearer(&token);
    let mut stream = Stream::open(service.http(), request).await;
    stream.expect("opened").await;
    let ledger = Ledger::default();
    publish_all(&service, &ledger).await;
    let last = ledger.last();

    let mut entries: Vec<Entry> = Vec::new();
    let read = async {
        while !entries
            .last()
            .is_some_and(|entry| entry.of_log() && entry.cursor == last)
        {
            entries.push((&stream.event().await).into());
        }
    };
    within("the stuck reader reads on", LATER, read).await;
    // What it read before the hole and behind it is without gaps; the hole is announced.
    let ids: Vec<u64> = ledger.all().iter().map(|(id, _)| *id).collect();
    let mut place = 0;
    let mut holes = 0;
    for entry in &entries {
        if let Change::Opened {
            complete, oldest, ..
        } = entry.change
        {
            assert!(!complete, "{entry:?}");
            assert!(oldest > ids[place], "{entry:?}");
            holes += 1;
            place = ids.iter().position(|id| *id == oldest).unwrap_or(ids.len());
            // Retention goes on while it reads: the next may be a later one, not an earlier.
            continue;
        }
        let at = ids
            .iter()
            .position(|id| *id == entry.cursor)
            .expect("acknowledged");
        assert!(
            at == place || (holes > 0 && at > place),
            "{at} instead of {place}"
        );
        place = at + 1;
    }
    assert!(
        holes >= 1,
        "read {} of {} entries, nothing said",
        entries.len(),
        ids.len()
    );
}
