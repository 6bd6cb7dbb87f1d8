//! A log that is not what it was, or not what was asked for, is refused, and says so.

use std::path::Path;

use async_nats::jetstream::stream;
use tempfile::TempDir;
use tonic::Code;

use super::*;

fn engine(nats: &Nats) -> Setup {
    Setup::core().args(nats.args())
}

/// Publishes these many, one message of the log each.
async fn fill(core: &Service, count: u64) -> Ledger {
    let ledger = Ledger::default();
    for n in 0..count {
        publish_surely(&core.service_api(), &ledger, request(0, n)).await;
    }
    ledger
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_anew_is_refused() {
    let Some(mut nats) = Nats::start(1) else {
        return;
    };
    let mut core = engine(&nats).start().await;
    ready(&core).await;
    let ledger = fill(&core, 5).await;
    nats.wipe();
    nats.start_node(0);
    // Another core makes it anew.
    let mut other = engine(&nats).launch();
    other.listening_within(LATER).await;
    ready(&other).await;
    // The one that runs notices, says so, and is still read.
    let halted = core
        .process
        .stderr
        .find(|line| line.contains("it was made anew"));
    within("it notices", LATER, halted)
        .await
        .expect("it says so");
    let refused = core.service_api().try_publish(request(0, 99)).await;
    expect_reason(refused, Code::FailedPrecondition, "LOG_HALTED");
    verify(&core.service_api(), &ledger, &USERS).await;
    let unready = Request::get("/readyz").send(core.admin()).await;
    assert_eq!(unready.status, 503);
    assert!(unready.text().contains("made anew"), "{}", unready.text());
    // Started again, it is refused at once.
    core.kill();
    let (_, said) = core.setup.refused().await;
    assert!(said.contains("--log-name"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_no_longer_reaches_back_is_refused() {
    let Some(nats) = Nats::start(1) else { return };
    let mut cores = vec![engine(&nats).start().await];
    let second = engine(&nats).secret_of(&cores[0]).start().await;
    cores.push(second);
    for core in &cores {
        ready(core).await;
    }
    let ledger = fill(&cores[0], 10).await;
    agree(&cores, &ledger).await;
    cores[1].kill();
    for n in 10..20 {
        publish_surely(&cores[0].service_api(), &ledger, request(0, n)).await;
    }
    // Gone before the other one saw it.
    let nats = Engine::Nats(nats);
    nats.drop_all_but(4).await;
    let (_, said) = cores[1].setup.refused().await;
    assert!(said.contains("what is between them is gone"), "{said}");
    assert!(said.contains("--peer-url"), "{said}");
    // A new one can't be filled from the log alone.
    let (_, said) = Setup::core().args(nats.args()).refused().await;
    assert!(said.contains("--peer-url"), "{said}");
    // The first one needs nothing of what is gone.
    cores[0].restart().await;
    ready(&cores[0]).await;
    verify(&cores[0].service_api(), &ledger, &USERS).await;
}

/// A core that has applied eight messages, and a copy of its log with the first five.
async fn copied_behind(nats: &mut Nats) -> (Service, Ledger, TempDir) {
    let core = engine(nats).start().await;
    ready(&core).await;
    let ledger = fill(&core, 5).await;
    let copy = tempfile::tempdir().unwrap();
    nats.kill(0);
    copy_dir(&nats.store(0), copy.path());
    nats.start_node(0);
    for n in 5..8 {
        publish_surely(&core.service_api(), &ledger, request(0, n)).await;
    }
    (core, ledger, copy)
}

fn put_back(nats: &mut Nats, copy: &TempDir) {
    nats.wipe();
    copy_dir(copy.path(), &nats.store(0));
    nats.start_node(0);
}

/// Restored from a copy of before: the server accepts a place beyond its end, and would be silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_what_was_applied_is_refused() {
    let Some(mut nats) = Nats::start(1) else {
        return;
    };
    let (mut core, ledger, copy) = copied_behind(&mut nats).await;
    put_back(&mut nats, &copy);
    // While a cluster has no leader it may say less than it knows: it is asked several times.
    let halted = core
        .process
        .stderr
        .find(|line| line.contains("no longer applied") && line.contains("the log ends with"));
    within("it notices", LATER, halted)
        .await
        .expect("it says so");
    verify(&core.service_api(), &ledger, &USERS).await;
    core.kill();
    let (_, said) = core.setup.refused().await;
    assert!(said.contains("the log ends with message 5"), "{said}");
}

/// Cut short behind a core that is away, and grown again by one that is new: by its bounds alone it
/// could be the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_and_has_grown_again_is_refused() {
    let Some(mut nats) = Nats::start(1) else {
        return;
    };
    let (mut core, ledger, copy) = copied_behind(&mut nats).await;
    core.kill();
    put_back(&mut nats, &copy);
    let new = engine(&nats).secret_of(&core).start().await;
    ready(&new).await;
    for n in 0..9 {
        let new = new.service_api();
        publish_surely(&new, &Ledger::default(), request(2, n)).await;
    }
    core.restart().await;
    let halted = core
        .process
        .stderr
        .find(|line| line.contains("is not the one that this core applied"));
    within("it notices", LATER, halted)
        .await
        .expect("it says so");
    let refused = core.service_api().try_publish(request(0, 99)).await;
    expect_reason(refused, Code::FailedPrecondition, "LOG_HALTED");
    verify(&core.service_api(), &ledger, &USERS).await;
    // Nothing that the new one has was taken in.
    assert_eq!(
        core.service_api().history("alice").await.len(),
        ledger.of("alice").len()
    );
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_newer_version_stops_applying_and_not_reading() {
    let Some(nats) = Nats::start(1) else { return };
    let core = engine(&nats).start().await;
    ready(&core).await;
    let ledger = fill(&core, 5).await;
    let jetstream = nats.operator().await;
    // What is none of ours is passed over.
    let junk = jetstream
        .publish("mercurio.log", "hello".into())
        .await
        .unwrap();
    junk.await.unwrap();
    for n in 5..8 {
        publish_surely(&core.service_api(), &ledger, request(0, n)).await;
    }
    // A message of ours, with a higher format: its first field.
    let stream = jetstream.get_stream("mercurio").await.unwrap();
    let message = stream.get_raw_message(1).await.unwrap();
    let mut newer = message.payload.to_vec();
    assert_eq!(newer[..2], [0x08, 1], "the format comes first");
    newer[1] = 100;
    jetstream
        .publish("mercurio.log", newer.into())
        .await
        .unwrap()
        .await
        .unwrap();
    let halted = core
        .process
        .stderr
        .find(|line| line.contains("a newer version wrote"));
    within("it notices", SOON, halted)
        .await
        .expect("it says so");
    let refused = core.service_api().try_publish(request(0, 99)).await;
    expect_reason(refused, Code::FailedPrecondition, "LOG_HALTED");
    verify(&core.service_api(), &ledger, &USERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_keeps_less_than_was_asked_for_is_refused() {
    let Some(nats) = Nats::start(1) else { return };
    let core = engine(&nats).start().await;
    ready(&core).await;
    let asked = nats.args().into_iter();
    let more = asked.map(|arg| if arg == "1" { "3".into() } else { arg });
    let more = Setup::core().args(more);
    let (_, said) = more.refused().await;
    assert!(
        said.contains("has 1 replicas, and 3 are asked for"),
        "{said}"
    );

    let jetstream = nats.operator().await;
    let config = |name: &str| stream::Config {
        name: name.into(),
        subjects: vec![format!("{name}.log")],
        ..stream::Config::default()
    };
    let in_memory = stream::Config {
        storage: stream::StorageType::Memory,
        ..config("memory")
    };
    for (config, why) in [
        (in_memory, "is kept in memory"),
        (config("foreign"), "is not one of Mercurio's"),
    ] {
        let name = config.name.clone();
        jetstream.create_stream(config).await.unwrap();
        let (_, said) = engine(&nats).args(["--log-name", &name]).refused().await;
        assert!(said.contains(why), "{said}");
    }
}

/// Also by a core that has its data.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_made_with_other_settings_is_refused() {
    let Some(rabbit) = RabbitMq::start(1).await else {
        return;
    };
    let mut core = Setup::core().args(rabbit.args()).start().await;
    ready(&core).await;
    fill(&core, 1).await;
    core.stop().await;
    let asked = rabbit.args().into_iter();
    let more = asked.map(|arg| if arg == "1" { "3".into() } else { arg });
    let older = rabbit.args().into_iter();
    let older = older.chain(["--log-max-age".into(), "1h".into()]);
    for args in [more.collect::<Vec<_>>(), older.collect()] {
        for data in [Some(core.setup.data_dir()), None] {
            let other = Setup::core().args(args.clone());
            let other = match data {
                Some(dir) => other.data(dir),
                None => other,
            };
            let (_, said) = other.refused().await;
            assert!(said.contains("with which it was made"), "{said}");
        }
    }
    core.restart().await;
    ready(&core).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_sync_are_refused() {
    // Their default.
    let Some(nats) = Nats::start_with(1, "sync_interval: 2m", "") else {
        return;
    };
    let (_, said) = engine(&nats).refused().await;
    assert!(said.contains("sync_interval: always"), "{said}");
}

/// Data belongs to one log, and is not opened for another.
#[tokio::test(flavor = "multi_thread")]
async fn data_of_one_log_is_not_opened_for_another() {
    let Some(nats) = Nats::start(1) else { return };
    let mut shared = engine(&nats).start().await;
    ready(&shared).await;
    shared.stop().await;
    let (_, said) = Setup::core().data(shared.setup.data_dir()).refused().await;
    assert!(said.contains("start with the `--log` that"), "{said}");

    let mut own = Setup::core().start().await;
    own.service_api().publish(to(&["alice"], "t", "d")).await;
    own.stop().await;
    let (_, said) = engine(&nats).data(own.setup.data_dir()).refused().await;
    assert!(said.contains("mercurio migrate"), "{said}");
}
