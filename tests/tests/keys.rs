//! Closed by default, and public keys: RSA, EC and Ed25519 from PEM files.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_tests::{certs::openssl, prelude::*, tokens::epoch};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_starts() {
    let core = Setup::core().start().await;
    for setup in [Setup::serve(), Setup::core(), Setup::gateway(&core)] {
        let (status, said) = setup.without_secret().refused().await;
        assert!(said.contains("--jwt-secret"), "{status}: {said}");
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    let args = ["--jwt-secret-file", empty.path().to_str().unwrap()];
    Setup::serve().without_secret().args(args).refused().await;
    Setup::serve()
        .without_secret()
        .args(["--jwt-secret-file", "/nonexistent"])
        .refused()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_said_at_once() {
    let args = [
        "--jwt-user-claim",
        "",
        "--cors-origin",
        "not an origin",
        "--log-format",
        "loud",
    ];
    let (_, said) = Setup::serve().without_secret().args(args).refused().await;
    // clap refuses a value of a flag on its own; then that is all that can be said.
    if !said.contains("--log-format") {
        for flag in ["--jwt-secret", "--jwt-user-claim", "--cors-origin"] {
            assert!(said.contains(flag), "{flag} is not named: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_signed_with_a_private_key() {
    let directory = tempfile::TempDir::new().unwrap();
    let at = directory.path();
    let kinds: [(&str, &str, &[Algorithm]); 4] = [
        (
            "rsa",
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem",
            &[
                Algorithm::RS256,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
            ],
        ),
        (
            "p256",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.pem",
            &[Algorithm::ES256],
        ),
        (
            "p384",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.pem",
            &[Algorithm::ES384],
        ),
        (
            "ed",
            "genpkey -algorithm ED25519 -out ed.pem",
            &[Algorithm::EdDSA],
        ),
    ];
    for (name, make, algorithms) in kinds {
        openssl(at, make);
        openssl(at, &format!("pkey -in {name}.pem -pubout -out {name}.pub"));
        let private = fs::read(at.join(format!("{name}.pem"))).unwrap();
        let public = at.join(format!("{name}.pub"));
        let key = match name {
            "rsa" => EncodingKey::from_rsa_pem(&private),
            "ed" => EncodingKey::from_ed_pem(&private),
            _ => EncodingKey::from_ec_pem(&private),
        }
        .unwrap();
        // A core of its own: a gateway needs a key that signs, or a token, to call the core.
        let args = ["--jwt-public-key-file", public.to_str().unwrap()];
        let core = Setup::core().without_secret().args(args).start().await;
        let claims = json!({ "sub": "alice", "exp": epoch() + 600 });
        for algorithm in algorithms {
            let token = mercurio_tests::tokens::sign(*algorithm, &key, &claims);
            let answer = core.api(&token).try_list(page("alice", 1)).await;
            assert!(answer.is_ok(), "{name} {algorithm:?}: {answer:?}");
        }
        // Algorithm confusion: the public key's text used as an HMAC secret.
        let pem = fs::read(&public).unwrap();
        let trimmed = String::from_utf8(pem.clone())
            .unwrap()
            .trim()
            .as_bytes()
            .to_vec();
        for text in [pem, trimmed] {
            for algorithm in [Algorithm::HS256, Algorithm::HS512] {
                let key = EncodingKey::from_secret(&text);
                let token = mercurio_tests::tokens::sign(algorithm, &key, &claims);
                let refused = core.api(&token).try_list(page("alice", 1)).await;
                expect_reason(refused, tonic::Code::Unauthenticated, "TOKEN_INVALID");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_with_a_public_key_alone() {
    // Users' tokens come from elsewhere; core and gateway in one process still talk.
    let directory = tempfile::TempDir::new().unwrap();
    let at = directory.path();
    openssl(at, "genpkey -algorithm ED25519 -out ed.pem");
    openssl(at, "pkey -in ed.pem -pubout -out ed.pub");
    let key = EncodingKey::from_ed_pem(&fs::read(at.join("ed.pem")).unwrap()).unwrap();
    let public = at.join("ed.pub");
    let args = ["--jwt-public-key-file", public.to_str().unwrap()];
    let service = Setup::serve().without_secret().args(args).start().await;
    let token = |scope: &str| {
        let claims = json!({ "sub": "alice", "exp": epoch() + 600, "scope": scope });
        mercurio_tests::tokens::sign(Algorithm::EdDSA, &key, &claims)
    };
    let alice = Subscriber::sse(service.http(), &token(""), "alice", Manner::default());
    let alice = alice.opened().await;
    let publisher = service.api(&token("notifications:publish"));
    let id = publisher.publish(to(&["alice"], "t", "x")).await.id;
    alice.record.wait_for_cursor(id, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_by_environment_and_file() {
    let secret = std::sync::Arc::new(mercurio_tests::tokens::Secret::default());
    let path = secret.path().to_str().unwrap();
    let by_environment = Setup::serve()
        .without_secret()
        .secret(secret.clone())
        .env("MERCURIO_JWT_SECRET_FILE", path)
        .env("MERCURIO_JWT_USER_CLAIM", "uid");
    let by_file = Setup::serve().without_secret().secret(secret.clone());
    let config = by_file.home().join("settings.toml");
    fs::write(
        &config,
        format!("jwt-secret-file = {path:?}\njwt-user-claim = \"uid\"\n"),
    )
    .unwrap();
    let by_file = by_file.args(["--config", config.to_str().unwrap()]);
    let by_dot_env = Setup::serve().without_secret().secret(secret.clone());
    let text = format!("MERCURIO_JWT_SECRET_FILE={path}\nMERCURIO_JWT_USER_CLAIM=uid\n");
    fs::write(by_dot_env.home().join(".env"), text).unwrap();
    for setup in [by_environment, by_file, by_dot_env] {
        let service = setup.start().await;
        let token = secret.sign(&json!({ "uid": "alice", "exp": epoch() + 60 }));
        service
            .api(&token)
            .try_list(page("alice", 1))
            .await
            .unwrap();
    }
    // Unknown keys are refused.
    let wrong = Setup::serve();
    let config = wrong.home().join("settings.toml");
    fs::write(&config, "jwt-user-clam = \"uid\"\n").unwrap();
    let (_, said) = wrong
        .args(["--config", config.to_str().unwrap()])
        .refused()
        .await;
    assert!(said.contains("jwt-user-clam"), "{said}");
    let (_, said) = Setup::serve()
        .env("MERCURIO_JWT_USER_CLAM", "uid")
        .refused()
        .await;
    assert!(said.contains("MERCURIO_JWT_USER_CLAM"), "{said}");
}
