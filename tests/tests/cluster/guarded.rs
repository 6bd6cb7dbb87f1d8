//! Servers of the log that let in only who shows a name and a password, over TLS.

use mercurio_tests::{
    certs::{Authority, text},
    service::free_address,
};

use super::*;

const PASSWORD: &str = "not to be seen";

/// With the password it works; without, or trusting others, it is refused; it is said nowhere.
async fn guarded(ca: &Authority, log: &[&str], user: &str, password: &str) {
    let of = |ca: &Authority, user: &str| {
        Setup::core()
            .args(log.iter().copied())
            .args(["--log-ca-file", &text(&ca.ca()), "--log-user", user])
            .env("MERCURIO_LOG_PASSWORD", password)
            .args(["--log-wait", "5s"])
    };
    let mut core = of(ca, user).launch();
    core.listening_within(LATER).await;
    ready(&core).await;
    let ledger = Ledger::default();
    publish_surely(&core.service_api(), &ledger, request(0, 0)).await;
    assert!(!core.process.stderr.text().contains(password));

    let stranger = Authority::default();
    for wrong in [of(ca, "nobody"), of(&stranger, user)] {
        let (_, said) = wrong.refused().await;
        assert!(said.contains("open the log"), "{said}");
        assert!(!said.contains(password), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_behind_tls_and_a_password() {
    let ca = Authority::default();
    let [_, certificate, _, key] = ca.server("log").args("x");
    let more = format!(
        "tls {{ cert_file: \"{certificate}\", key_file: \"{key}\" }}\n\
         authorization {{ user: mercurio, password: \"{PASSWORD}\" }}"
    );
    let Some(nats) = Nats::start_with(1, "sync_interval: always", &more) else {
        return;
    };
    let url = format!("tls://{}", nats.addresses()[0]);
    guarded(
        &ca,
        &["--log", "nats", "--log-url", &url],
        "mercurio",
        PASSWORD,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_behind_tls_and_a_password() {
    let ca = Authority::default();
    let [_, certificate, _, key] = ca.server("log").args("x");
    let door = free_address();
    let more = format!(
        "listeners.ssl.1 = {door}\nssl_options.cacertfile = {}\nssl_options.certfile = {certificate}\n\
         ssl_options.keyfile = {key}\ndefault_user = mercurio\ndefault_pass = {PASSWORD}\n",
        text(&ca.ca())
    );
    let Some(_rabbit) = RabbitMq::start_with(1, &more).await else {
        return;
    };
    let url = format!("amqps://{door}");
    guarded(
        &ca,
        &["--log", "rabbitmq", "--log-url", &url],
        "mercurio",
        PASSWORD,
    )
    .await;
}
