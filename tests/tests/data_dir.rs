//! One process a data directory.

use mercurio_tests::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_and_told_who_holds_it() {
    let mut first = Setup::serve().start().await;
    let api = first.service_api();
    let id = api.publish(to(&["alice"], "t", "x")).await.id;
    let data = first.setup.data_dir();
    for second in [Setup::serve().data(&data), Setup::core().data(&data)] {
        let (_, said) = second.refused().await;
        let pid = first.process.id().to_string();
        assert!(said.contains(&pid), "does not name process {pid}: {said}");
        assert!(
            said.contains(&data.display().to_string()),
            "does not name the directory: {said}"
        );
    }
    // The first is none the worse for it.
    assert_eq!(api.get("alice", id).await.unwrap().id, id);
    // After a kill nobody holds it, whatever was left lying about.
    first.kill();
    let next = Setup::core().data(&data).start().await;
    assert_eq!(next.service_api().get("alice", id).await.unwrap().data, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (_, said) = Setup::core().data(file.path()).refused().await;
    assert!(said.contains(&file.path().display().to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_taken_are_named() {
    let first = Setup::serve().start().await;
    let taken = first.http().to_string();
    let second = Setup::serve().any_port().args(["--http-addr", &taken]);
    let mut command = second.command();
    // The flag stands twice; where that is refused, that is what is said.
    let mut process = mercurio_tests::process::Process::spawn("serve", &mut command);
    let status = process.wait(SOON).await;
    assert!(!status.success());
    let said = process.stderr.to_end(SOON).await;
    assert!(
        said.contains(&taken) || said.contains("--http-addr"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn port_zero_is_told_in_the_log() {
    let service = Setup::serve().any_port().start().await;
    assert_ne!(service.grpc().port(), 0);
    assert_ne!(service.http().port(), 0);
    assert_ne!(service.admin().port(), 0);
    assert_eq!(
        Request::get("/healthz").send(service.http()).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused() {
    let mut first = Setup::core().start().await;
    assert!(first.stop().await.success());
    let data = first.setup.data_dir();
    let format = data.join("FORMAT");
    let now = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, now.replace('2', "99")).unwrap();
    let (_, said) = first.setup.refused().await;
    assert!(said.contains("99") && said.contains("version"), "{said}");
    std::fs::write(&format, "something else\n").unwrap();
    let (_, said) = first.setup.refused().await;
    assert!(said.contains(&data.display().to_string()), "{said}");
    std::fs::write(&format, now).unwrap();
    first.setup.start().await;
}
