//! `<mercurio-inbox>` (`web/inbox.js`) in a real Chromium, with the real client, against real
//! processes. Pictures are kept in `target/screenshots`.

mod data;
mod keyboard;
mod looks;
mod marks;
mod states;
mod words;

use mercurio_tests::{
    browser::{Browser, Page},
    prelude::*,
};
use serde_json::{Value, json};

/// What a strict page sends. Not a byte of script or style may be inline, and no text may become
/// markup or code by any way there is.
const STRICT: &str = "default-src 'self'; require-trusted-types-for 'script'";

/// The page: the bell in an application's bar, and a list in the page. It loads nothing but the
/// inbox.
const HTML: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Acme</title>
<script type="module" src="/inbox.js"></script>
<header><h1>Acme</h1><button id="before">before</button>
<mercurio-inbox id="bell" sharing="leader"></mercurio-inbox><button id="after">after</button></header>
<main><mercurio-inbox id="list" layout="inline" sharing="leader" hidden></mercurio-inbox></main>
</html>"#;

/// What a test's code finds in the page. `ran` is set by whatever hostile data would run.
const HELPERS: &str = r#"
window.violations = []
document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective + ' ' + event.blockedURI))
for (const name of ['alert', 'confirm', 'prompt']) window[name] = () => { window.ran = name }
window.styles = new CSSStyleSheet()
styles.replaceSync(`
  :root { color-scheme: light dark; font-family: system-ui, sans-serif; background: light-dark(#f2f3f7, #0c0e12); color: light-dark(#151821, #eceef3) }
  body { margin: 0 } header { display: flex; align-items: center; gap: 12px; padding: 8px 20px; background: light-dark(#fff, #17191f) }
  h1 { flex: 1; font-size: 18px } main { max-width: 480px; margin: 24px auto }
  #list { height: 620px; border-radius: 14px; overflow: hidden }`)
document.adoptedStyleSheets.push(styles)
window.at = (selector, id = 'bell') => document.getElementById(id).shadowRoot.querySelector(selector)
window.all = (selector, id = 'bell') => [...document.getElementById(id).shadowRoot.querySelectorAll(selector)]
window.titles = (id) => all('.title', id).map((one) => one.textContent)
window.unread = (id) => all('.item[data-unread] .title', id).map((one) => one.textContent)
window.badge = (id) => at('.badge', id).hidden ? '' : at('.badge', id).textContent
window.focused = () => {
  let element = document.activeElement
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
  if (element?.closest('.item') && !element.matches('.item')) return element.className + ' of ' + element.closest('.item').querySelector('.title').textContent
  if (element?.matches('.item')) return 'item ' + element.querySelector('.title').textContent
  return element?.id || element?.className || element?.localName
}
window.about = () => ({ titles: titles(), unread: unread(), badge: badge(), focused: focused(), state: bell.inbox?.state, violations })
await customElements.whenDefined('mercurio-inbox')
"#;

/// A page of the service's, under the strict policy.
async fn blank<'a>(browser: &'a Browser, context: &str, service: &Service) -> Page<'a> {
    blank_at(browser, context, &format!("http://{}", service.http())).await
}

/// The same by another name of the service's.
async fn blank_at<'a>(browser: &'a Browser, context: &str, origin: &str) -> Page<'a> {
    let url = format!("{origin}/page");
    let headers = json!({ "content-security-policy": STRICT });
    browser
        .serve(context, &url, "text/html", HTML, headers)
        .await;
    let page = browser.open(context, &url).await;
    page.look((1280, 800), "light").await;
    page.run(HELPERS, Value::Null).await;
    page
}

/// A page whose bell is that user's, connected.
async fn page<'a>(browser: &'a Browser, context: &str, service: &Service, token: &str) -> Page<'a> {
    let page = blank(browser, context, service).await;
    page.run("bell.getToken = async () => value", json!(token))
        .await;
    until(&page, "bell.inbox.state.connection === 'open'").await;
    page
}

async fn until(page: &Page<'_>, expression: &str) {
    page.until(expression, "about()", SOON).await;
}

/// An expression's value in the page.
async fn value(page: &Page<'_>, expression: &str) -> Value {
    page.run(&format!("return {expression}"), Value::Null).await
}

/// Publishes these titles to Alice, the last one newest.
async fn publish(api: &Api, titles: &[&str]) -> Vec<u64> {
    let mut ids = Vec::new();
    for title in titles {
        let data = json!({ "title": title, "body": "and some more to read about it" }).to_string();
        ids.push(api.publish(to(&["alice"], "topic.one", &data)).await.id);
    }
    ids
}

/// Nothing was refused by the policy, and nothing ran.
async fn is_clean(page: &Page<'_>) {
    assert_eq!(value(page, "violations").await, json!([]));
    assert_eq!(value(page, "window.ran ?? null").await, Value::Null);
}
