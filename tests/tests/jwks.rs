//! Sets of keys, by file and by address: chosen by name, renewed, and kept while their source fails.

use jsonwebtoken::Algorithm;
use mercurio_tests::{
    certs::{Authority, text},
    jwks::{self, Key, Publisher},
    prelude::*,
    process::Process,
    service::free_address,
    tokens::PUBLISH,
};
use tonic::Code;

async fn accepted(service: &Service, token: &str) -> bool {
    match service.api(token).try_list(page("alice", 1)).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
            assert_eq!(reason(&status), "TOKEN_INVALID");
            false
        }
    }
}

/// serve with this set of keys, and no other.
fn serve(setting: &str, value: &str) -> Setup {
    Setup::serve().without_secret().args([setting, value])
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_chosen_by_name_and_say_how_they_are_used() {
    let keys = [
        Key::ed("ed"),
        Key::p256("p256"),
        Key::rsa("rsa", false),
        Key::rsa("rs256", true),
    ];
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("jwks.json");
    let mut all: Vec<_> = keys.iter().map(|key| key.public.clone()).collect();
    // What is for something else, a secret, and what nobody knows, is passed over.
    let mut encrypting = Key::ed("enc");
    encrypting.public["use"] = "enc".into();
    let secret = serde_json::json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA" });
    let unknown = serde_json::json!({ "kty": "lattice", "kid": "new", "crv": 7 });
    all.extend([encrypting.public.clone(), secret, unknown]);
    std::fs::write(&file, serde_json::json!({ "keys": all }).to_string()).unwrap();
    let service = serve("--jwt-jwks-file", &text(&file)).start().await;
    let [ed, p256, rsa, rs256] = &keys;
    for key in &keys {
        assert!(accepted(&service, &key.token("alice", "")).await);
    }
    let good = [
        ed.token_with("alice", "", Algorithm::EdDSA, None),
        rsa.token_with("alice", "", Algorithm::PS384, Some("rsa")),
    ];
    for token in good {
        assert!(accepted(&service, &token).await);
    }
    let bad = [
        // Another key's name; a name that nobody has; an algorithm that is not the key's.
        ed.token_with("alice", "", Algorithm::EdDSA, Some("p256")),
        p256.token_with("alice", "", Algorithm::ES256, Some("nobody's")),
        rs256.token_with("alice", "", Algorithm::RS512, Some("rs256")),
        encrypting.token("alice", ""),
        Key::ed("ed").token("alice", ""),
    ];
    for token in bad {
        assert!(!accepted(&service, &token).await, "{token}");
    }
    // A secret in a set is none.
    let secret = jsonwebtoken::EncodingKey::from_secret(b"secret secret secret secret secret");
    let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
    header.kid = Some("oct".into());
    let claims = serde_json::json!({ "sub": "alice", "exp": mercurio_tests::tokens::epoch() + 60 });
    let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert!(!accepted(&service, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_renewed_while_streams_are_open() {
    let (old, new) = (Key::ed("1"), Key::p256("2"));
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("jwks.json");
    jwks::write(&file, &[&old]);
    let service = serve("--jwt-jwks-file", &text(&file)).start().await;
    let request = Request::get("/api/clients/me/notifications/stream");
    let mut stream = Stream::open(service.http(), request.bearer(&old.token("alice", ""))).await;
    stream.expect("opened").await;
    // Both, and then the new one alone.
    jwks::write(&file, &[&old, &new]);
    assert!(accepted(&service, &new.token("alice", "")).await, "at once");
    jwks::write(&file, &[&new]);
    let gone = async || (!accepted(&service, &old.token("alice", "")).await).then_some(());
    eventually("the old key is gone", SOON, gone).await;
    // A set that can't be used is none.
    std::fs::write(&file, "{\"keys\": []}").unwrap();
    let said = service
        .process
        .stderr
        .find(|line| line.contains("can't be used"));
    within("it is said", SOON, said).await;
    let publisher = service.api(&new.token("p", PUBLISH));
    let id = publisher.publish(to(&["alice"], "t", "x")).await.id;
    assert_eq!(stream.expect("message").await.cursor(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_asked_for_a_new_key_and_not_too_often() {
    let (old, new) = (Key::ed("1"), Key::ed("2"));
    let issuer = Publisher::start(&[&old]).await;
    let service = serve("--jwt-jwks-url", &issuer.url).start().await;
    assert!(accepted(&service, &old.token("alice", "")).await);
    assert_eq!(issuer.asked(), 1);
    issuer.answers(200, &jwks::set(&[&old, &new]));
    let request = Request::get("/api/clients/me/notifications/stream");
    let mut stream = Stream::open(service.http(), request.bearer(&new.token("alice", ""))).await;
    stream.expect("opened").await;
    assert_eq!(issuer.asked(), 2, "once, for the name that was new");
    // Names that nobody has, in a flood: each is refused, and the issuer is left alone.
    for n in 0..40 {
        let name = format!("guess {n}");
        let token = old.token_with("alice", "", Algorithm::EdDSA, Some(&name));
        assert!(!accepted(&service, &token).await);
    }
    assert!(issuer.asked() <= 4, "{}", issuer.asked());
    // What it answers while it fails changes nothing.
    for (status, body) in [(500, "sorry"), (200, "<html>"), (200, "{\"keys\": []}")] {
        issuer.answers(status, body);
        let asked = issuer.asked();
        eventually("it is asked again", SOON, async || {
            let token = old.token_with("alice", "", Algorithm::EdDSA, Some("guess"));
            assert!(!accepted(&service, &token).await);
            (issuer.asked() > asked).then_some(())
        })
        .await;
        assert!(accepted(&service, &new.token("alice", "")).await);
    }
    let publisher = service.api(&new.token("p", PUBLISH));
    let id = publisher.publish(to(&["alice"], "t", "x")).await.id;
    assert_eq!(stream.expect("message").await.cursor(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_asked_in_time() {
    let (old, new) = (Key::ed("1"), Key::ed("2"));
    let issuer = Publisher::start(&[&old]).await;
    let setup = serve("--jwt-jwks-url", &issuer.url).args(["--jwt-jwks-refresh", "1s"]);
    let service = setup.start().await;
    issuer.answers(200, &jwks::set(&[&new]));
    // Nobody names the new key: the old one goes all the same.
    let gone = async || (!accepted(&service, &old.token("alice", "")).await).then_some(());
    eventually("the old key is gone", SOON, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_set_nothing_starts() {
    let issuer = Publisher::start(&[]).await;
    let (_, said) = serve("--jwt-jwks-url", &issuer.url).refused().await;
    assert!(said.contains("--jwt-jwks-url"), "{said}");
    let nobody = format!("http://{}/", free_address());
    let (_, said) = serve("--jwt-jwks-url", &nobody).refused().await;
    assert!(said.contains("--jwt-jwks-url"), "{said}");
    let plain = "http://id.example.org/keys";
    let (_, said) = serve("--jwt-jwks-url", plain).refused().await;
    assert!(said.contains("https://HOST/PATH"), "{said}");
    let (_, said) = serve("--jwt-jwks-file", "/nonexistent").refused().await;
    assert!(said.contains("--jwt-jwks-file /nonexistent"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_tls() {
    let key = Key::ed("1");
    let ca = Authority::default();
    let web = ca.server("issuer");
    let directory = tempfile::TempDir::new().unwrap();
    jwks::write(&directory.path().join("jwks.json"), &[&key]);
    let port = free_address().port().to_string();
    let mut command = std::process::Command::new("openssl");
    command
        .current_dir(directory.path())
        .args(["s_server", "-WWW", "-accept", &port])
        .args(["-cert", &text(&web.cert), "-key", &text(&web.key)])
        .stdin(std::process::Stdio::piped());
    let server = Process::spawn_with_input("openssl", &mut command);
    within(
        "it listens",
        SOON,
        server.stdout.find(|line| line.contains("ACCEPT")),
    )
    .await;
    let url = format!("https://localhost:{port}/jwks.json");
    let trusting = serve("--jwt-jwks-url", &url).args(["--jwt-jwks-ca", &text(&ca.ca())]);
    let service = trusting.start().await;
    assert!(accepted(&service, &key.token("alice", "")).await);
    let stranger = Authority::default();
    let (_, said) = serve("--jwt-jwks-url", &url)
        .args(["--jwt-jwks-ca", &text(&stranger.ca())])
        .refused()
        .await;
    assert!(said.contains("certificate"), "{said}");
}
