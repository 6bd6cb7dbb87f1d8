//! The client (`web/client.js`) in a real browser, against real processes.

mod client;
mod failures;
mod leader;
mod package;
mod served;
mod sharing;
mod tokens;
mod users;

use mercurio_tests::{
    browser::{Browser, Page},
    prelude::*,
};
use serde_json::{Value, json};

/// What a page's code finds: `start(options)` connects, with the tokens one after the other (the
/// last one again and again); `inbox`; `log`, the events in their order; `asked`, how often a token
/// was asked for; `ids()` of the state, `arrived()` by events.
const HELPERS: &str = r#"
window.log = []
window.asked = 0
window.ids = () => inbox.state.notifications.map((one) => one.notificationID)
window.unread = () => inbox.state.notifications.filter((one) => !one.readAt).map((one) => one.notificationID)
window.told = (name) => log.filter(([type]) => type === name).map(([, detail]) => detail)
window.arrived = () => told('notification').map((one) => one.notificationID)
window.about = () => ({ ...inbox.state, notifications: ids(), unread: unread(), log: log.slice(-30), asked })
window.start = async ({ tokens, module = '/client.js', ...options }) => {
  const { connect } = await import(module)
  if (tokens) options.getToken = async () => tokens[Math.min(asked++, tokens.length - 1)]
  window.inbox = connect(options)
  for (const name of ['notification', 'read-state', 'loss', 'error', 'connection']) {
    inbox.addEventListener(name, (event) => log.push([name, event.detail]))
  }
}
"#;

/// A page at the service's origin that has connected with these options.
async fn connected<'a>(
    browser: &'a Browser,
    context: &str,
    service: &Service,
    options: Value,
) -> Page<'a> {
    let page = blank(browser, context, service).await;
    start(&page, options).await;
    page
}

/// The same for alice, in the context `one`.
async fn alices<'a>(browser: &'a Browser, service: &Service) -> Page<'a> {
    connected(browser, "one", service, token(service, "alice")).await
}

/// A page at the service's origin.
async fn blank<'a>(browser: &'a Browser, context: &str, service: &Service) -> Page<'a> {
    let page = browser
        .open(context, &format!("http://{}/healthz", service.http()))
        .await;
    page.run(HELPERS, Value::Null).await;
    page
}

/// Connects, and waits for the stream.
async fn start(page: &Page<'_>, options: Value) {
    page.run("await start(value)", options).await;
    until(page, "inbox.state.connection === 'open'").await;
}

async fn until(page: &Page<'_>, expression: &str) {
    page.until(expression, "about()", SOON).await;
}

/// An expression's value in the page.
async fn value(page: &Page<'_>, expression: &str) -> Value {
    page.run(&format!("return {expression}"), Value::Null).await
}

/// Options with one token for this user.
fn token(service: &Service, user: &str) -> Value {
    json!({ "tokens": [service.secret().user(user)] })
}

/// `options` with these as well.
fn with(mut options: Value, more: Value) -> Value {
    let more = more.as_object().expect("an object").clone();
    options.as_object_mut().expect("an object").extend(more);
    options
}

/// Open streams, counted at the gateway.
async fn streams(gateway: &Service) -> u64 {
    let text = Request::get("/metrics").send(gateway.admin()).await.text();
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("mercurio_gateway_streams "));
    count.expect("the metric").parse().expect("a number")
}

async fn streams_become(gateway: &Service, count: u64) {
    eventually(&format!("{count} open streams"), SOON, async || {
        (streams(gateway).await == count).then_some(())
    })
    .await;
}

/// Notifications for alice; their ids in order.
async fn many(api: &Api, count: usize) -> Vec<u64> {
    let mut ids = api.publish_many("alice", "n", count).await;
    ids.sort_unstable();
    ids
}
