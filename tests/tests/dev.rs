//! `mercurio dev`: what it prints works as printed.

use std::process::Command;

use mercurio_tests::{
    prelude::*,
    process::Process,
    service::{Role, finish},
    tokens::Secret,
    tools::tool,
};

/// Everything it has said, lines that go on behind a backslash joined.
fn said(service: &Service) -> String {
    let text = format!(
        "{}\n{}",
        service.process.stdout.text(),
        service.process.stderr.text()
    );
    text.replace("\\\n", " ")
}

/// The printed command that begins with this word, once it is there.
async fn printed(service: &Service, word: &str) -> String {
    eventually(&format!("a {word} line"), SOON, async || {
        let said = said(service);
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{word} ")));
        line.map(|line| line.trim().to_owned())
    })
    .await
}

/// `bash -c line`, with the grpcurl of tests/run on the PATH.
fn bash(line: &str, grpcurl: &std::path::Path) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let first = grpcurl.parent().expect("a directory").display();
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("exec {line}")])
        .env("PATH", format!("{first}:{path}"));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_lines_work() {
    let (Some(grpcurl), Some(_)) = (tool("grpcurl"), tool("curl")) else {
        return;
    };
    let service = Setup::new(Role::Dev).start().await;
    let curl = printed(&service, "curl").await;
    let publish = printed(&service, "grpcurl").await;

    let stream = Process::spawn("curl", &mut bash(&curl, &grpcurl));
    stream.stdout.wait_for("event: opened", SOON).await;
    let (status, out, err) = finish("grpcurl", &mut bash(&publish, &grpcurl), SOON).await;
    assert!(status.success(), "{publish}\n{out}{err}");
    assert!(out.contains("eventId"), "{out}");
    stream.stdout.wait_for("notificationID", SOON).await;
    // As often as one likes.
    let (status, out, _) = finish("grpcurl", &mut bash(&publish, &grpcurl), SOON).await;
    assert!(status.success() && !out.contains("duplicate"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_tokens_and_addresses_work() {
    let service = Setup::new(Role::Dev).start().await;
    printed(&service, "curl").await;
    let said = said(&service);
    for address in [service.grpc(), service.http()] {
        assert!(
            said.contains(&address.to_string()),
            "{address} is not printed: {said}"
        );
    }
    let tokens: Vec<&str> = said
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .filter(|word| word.starts_with("eyJ") && word.matches('.').count() == 2)
        .collect();
    let mut publishers = 0;
    let mut users = std::collections::BTreeSet::new();
    for token in tokens {
        let body = serde_json::json!({ "sourceID": "dev", "destinationID": "x", "data": "x" });
        let sent = Request::post("/api/events/unicast", &body).bearer(token);
        publishers += usize::from((200..300).contains(&sent.send(service.http()).await.status));
        let list = Request::get("/api/clients/me/notifications").bearer(token);
        let list = list.send(service.http()).await.expect(200);
        users.insert(list["clientID"].as_str().unwrap().to_owned());
    }
    assert!(publishers >= 1, "no publisher's token: {said}");
    assert!(users.len() >= 3, "a publisher and two users: {users:?}");

    // The page.
    let origin = format!("http://{}", service.http());
    let page = said
        .split_whitespace()
        .filter_map(|word| word.strip_prefix(&origin))
        .find(|path| !path.contains("/api/"))
        .unwrap_or_else(|| panic!("no page: {said}"));
    let path = page.split('#').next().unwrap_or("/");
    let page = Request::get(if path.is_empty() { "/" } else { path })
        .send(service.http())
        .await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert!(page.text().contains("EventSource"), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_key_is_its_own_and_stays() {
    let mut service = Setup::new(Role::Dev).start().await;
    printed(&service, "curl").await;
    let first = said(&service);
    let token = first
        .split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .find(|word| word.starts_with("eyJ") && word.matches('.').count() == 2)
        .expect("a token")
        .to_owned();
    let list = || Request::get("/api/clients/me/notifications").bearer(&token);
    list().send(service.http()).await.expect(200);
    service.restart().await;
    list().send(service.http()).await.expect(200);
    // Another's is another, and nobody else reads it.
    let other = Setup::new(Role::Dev).start().await;
    list()
        .send(other.http())
        .await
        .expect_error(401, "token-invalid");
    let mut keys = 0;
    let mut folders = vec![service.setup.home().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains("key") {
                keys += 1;
                let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
                assert_eq!(
                    mode & 0o077,
                    0,
                    "{} can be read by others",
                    entry.path().display()
                );
            }
        }
    }
    assert_eq!(keys, 1, "the key's file");
}

/// A key that is used elsewhere too is not for a page that asks for tokens over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_that_is_given_there_is_no_page() {
    let secret = Secret::default();
    let file = secret.path().display().to_string();
    let service = Setup::new(Role::Dev)
        .args(["--jwt-secret-file", &file])
        .start()
        .await;
    printed(&service, "curl").await;
    assert!(said(&service).contains("no page"), "{}", said(&service));
    assert_eq!(Request::get("/").send(service.http()).await.status, 404);
    let token = Request::new("POST", "/demo/tokens/alice")
        .header("Origin", format!("http://{}", service.http()))
        .send(service.http())
        .await;
    assert_eq!(token.status, 404);
    // The key is the one that was given.
    let list = Request::get("/api/clients/me/notifications").bearer(&secret.user("alice"));
    assert_eq!(
        list.send(service.http()).await.expect(200)["clientID"],
        "alice"
    );
}
