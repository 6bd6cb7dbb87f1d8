//! The demo at `/` of `mercurio dev`: the whole loop in one window, and who gets its tokens.

use mercurio_tests::{
    browser::{Browser, Page},
    prelude::*,
    service::Role,
};
use serde_json::{Value, json};

/// What a test's code finds in the page.
const HELPERS: &str = r#"
window.violations = []
document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective + ' ' + event.blockedURI))
for (const name of ['alert', 'confirm', 'prompt']) window[name] = () => { window.ran = name }
window.inbox = (user, device) => document.querySelector(`#${user} .${device} mercurio-inbox`)
window.all = (user, device, selector) => [...inbox(user, device).shadowRoot.querySelectorAll(selector)]
window.titles = (user, device = 'phone') => all(user, device, '.title').map((one) => one.textContent)
window.unread = (user, device = 'phone') => all(user, device, '.item[data-unread]').length
window.badge = (user) => all(user, 'laptop', '.badge')[0].textContent
window.isLive = () => [...document.querySelectorAll('mercurio-inbox')].filter((one) => one.inbox?.state.connection === 'open').length === 4
window.about = () => ({ alice: titles('alice'), bob: titles('bob'), badges: [badge('alice'), badge('bob')], outcome: outcome.textContent, trouble: trouble.textContent, violations,
  states: [...document.querySelectorAll('mercurio-inbox')].map((one) => ({ ...one.inbox?.state, notifications: 0 })) })
"#;

async fn open<'a>(browser: &'a Browser, context: &str, service: &Service) -> Page<'a> {
    let page = browser
        .open(context, &format!("http://{}/", service.http()))
        .await;
    page.look((1440, 900), "light").await;
    page.run(HELPERS, Value::Null).await;
    until(&page, "isLive()").await;
    page
}

async fn until(page: &Page<'_>, expression: &str) {
    page.until(expression, "about()", SOON).await;
}

async fn value(page: &Page<'_>, expression: &str) -> Value {
    page.run(&format!("return {expression}"), Value::Null).await
}

async fn is_clean(page: &Page<'_>) {
    let clean = json!([[], null, false]);
    let found =
        "[violations, window.ran ?? null, document.querySelector('#trouble').textContent !== '']";
    assert_eq!(value(page, found).await, clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_loop_in_one_window() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::new(Role::Dev).start().await;
    let page = open(&browser, "one", &service).await;
    until(&page, "wire.textContent.includes('opened')").await;

    // To one: on both of her devices, and not for him.
    page.click(".to label:nth-of-type(1)").await;
    page.click("#publish .primary").await;
    until(
        &page,
        "titles('alice').length === 1 && titles('alice', 'laptop').length === 1",
    )
    .await;
    until(
        &page,
        "badge('alice') === '1' && outcome.dataset.kind === 'done'",
    )
    .await;
    assert_eq!(value(&page, "titles('bob')").await, json!([]));

    // To both and to everyone, with a topic.
    page.click(".to label:nth-of-type(3)").await;
    page.run(
        "const form = document.querySelector('#publish')
        form.elements.topic.value = 'a.topic'
        form.elements.title.value = 'to both'",
        Value::Null,
    )
    .await;
    page.click("#publish .primary").await;
    until(
        &page,
        "titles('alice')[0] === 'to both' && titles('bob')[0] === 'to both'",
    )
    .await;
    page.click(".to label:nth-of-type(4)").await;
    page.run(
        "document.querySelector('#publish').elements.title.value = 'to everyone'",
        Value::Null,
    )
    .await;
    page.click("#publish .primary").await;
    until(
        &page,
        "titles('alice')[0] === 'to everyone' && titles('bob')[0] === 'to everyone'",
    )
    .await;
    until(&page, "badge('alice') === '3' && badge('bob') === '2'").await;
    let wire = value(&page, "wire.textContent").await;
    let wire = wire.as_str().expect("a text");
    for part in ["a.topic", "to everyone", "\"broadcast\":true", "retry:"] {
        assert!(wire.contains(part), "{part}: {wire}");
    }

    // Read on the phone, the laptop knows; all read on the laptop, the phone knows.
    page.click("#alice .phone .item:nth-child(2) .toggle").await;
    until(
        &page,
        "badge('alice') === '2' && unread('alice', 'laptop') === 2",
    )
    .await;
    until(&page, "wire.textContent.includes('read-state')").await;
    page.click("#alice .laptop .bell").await;
    page.click("#alice .laptop .mark-all").await;
    until(
        &page,
        "badge('alice') === '' && unread('alice', 'phone') === 0",
    )
    .await;
    assert_eq!(value(&page, "badge('bob')").await, "2");
    is_clean(&page).await;

    // What the service refuses is said.
    page.press(&["Escape"]).await;
    page.run(
        "document.querySelector('#publish').elements.topic.value = 'not a topic'",
        Value::Null,
    )
    .await;
    page.click("#publish .primary").await;
    until(
        &page,
        "outcome.dataset.kind === 'failed' && outcome.textContent.includes('topic')",
    )
    .await;

    // A second tab works too: six connections to a host are all there are.
    let second = open(&browser, "one", &service).await;
    until(&second, "titles('bob').length === 2").await;
    second.click("#bob .phone .mark-all").await;
    for page in [&page, &second] {
        until(page, "badge('bob') === '' && unread('bob') === 0").await;
    }
    second.click("#publish .primary").await;
    until(&page, "titles('alice').length === 4").await;
    is_clean(&second).await;
}

/// Hostile examples included: everything that the page offers to send, in every way to look at it.
#[tokio::test(flavor = "multi_thread")]
async fn it_looks_as_it_should_and_is_accessible() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::new(Role::Dev).start().await;
    let page = open(&browser, "one", &service).await;
    look(&page, "empty").await;
    page.click(".to label:nth-of-type(3)").await;
    page.click("#publish .primary").await;
    until(
        &page,
        "titles('alice').length === 1 && titles('bob').length === 1",
    )
    .await;
    look(&page, "few").await;
    page.click("#bob .phone .mark-all").await;
    for count in 1..=4 {
        page.click("#several").await;
        until(
            &page,
            &format!("titles('alice').length === {}", 1 + count * 8),
        )
        .await;
    }
    until(&page, "badge('alice') === '33' && badge('bob') === '32'").await;
    look(&page, "many").await;
    page.click("#alice .laptop .bell").await;
    look(&page, "bell").await;
    is_clean(&page).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut service = Setup::new(Role::Dev).start().await;
    let page = open(&browser, "one", &service).await;
    page.click(".to label:nth-of-type(3)").await;
    page.click("#several").await;
    until(
        &page,
        "titles('alice').length === 8 && titles('bob').length === 8",
    )
    .await;
    service.kill();
    let notices = "[...document.querySelectorAll('.phone mercurio-inbox')].every((one) => !one.shadowRoot.querySelector('.notice').hidden)";
    until(&page, notices).await;
    page.click("#publish .primary").await;
    until(&page, "outcome.dataset.kind === 'failed'").await;
    look(&page, "error").await;
    service.restart().await;
    until(&page, "isLive()").await;
    page.click("#publish .primary").await;
    until(
        &page,
        "titles('alice').length === 9 && titles('bob').length === 9",
    )
    .await;
    is_clean(&page).await;
}

/// Looks at the page in all ways.
async fn look(page: &Page<'_>, name: &str) {
    for (size, device) in [((1440, 900), "desk"), ((390, 844), "phone")] {
        for scheme in ["light", "dark"] {
            page.look(size, scheme).await;
            page.run(
                "await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
                const roots = [document, ...[...document.querySelectorAll('mercurio-inbox')].map((one) => one.shadowRoot)]
                await Promise.all(roots.flatMap((root) => root.getAnimations()).map((one) => one.finished))",
                Value::Null,
            )
            .await;
            let name = format!("demo-{name}-{device}-{scheme}");
            page.screenshot(&name).await;
            assert_eq!(page.accessibility().await, json!([]), "{name}");
            let over = "document.documentElement.scrollWidth - innerWidth";
            assert_eq!(value(page, over).await, 0, "{name}");
        }
    }
    page.look((1440, 900), "light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_tokens_are_for_its_own_page_only() {
    let service = Setup::new(Role::Dev).start().await;
    let host = service.http().to_string();
    let port = service.http().port();
    let ask = async |user: &str, host: &str, origin: &str, more: &[(&str, &str)]| {
        let mut request = Request::new("POST", format!("/demo/tokens/{user}"));
        if !host.is_empty() {
            request = request.header("Host", host);
        }
        if !origin.is_empty() {
            request = request.header("Origin", origin);
        }
        for (name, value) in more {
            request = request.header(name, *value);
        }
        request.send(service.http()).await
    };
    let own = format!("http://{host}");
    for user in ["alice", "bob", "publisher"] {
        let answer = ask(user, "", &own, &[]).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = answer.expect(200);
        let token = answer["token"].as_str().expect("a token");
        let list = Request::get("/api/clients/me/notifications").bearer(token);
        let list = list.send(service.http()).await.expect(200);
        assert_eq!(list["clientID"], user);
        // Only the publisher's publishes, and none is anyone else's.
        let body = json!({ "sourceID": "demo", "destinationID": "x", "data": "x" });
        let sent = Request::post("/api/events/unicast", &body).bearer(token);
        let expected = if user == "publisher" { 200 } else { 403 };
        assert_eq!(sent.send(service.http()).await.status, expected, "{user}");
        let other = Request::get("/api/clients/carol/notifications").bearer(token);
        assert_eq!(other.send(service.http()).await.status, 403);
    }
    ask("carol", "", &own, &[])
        .await
        .expect_error(400, "invalid-field");

    let evil = format!("evil.example:{port}");
    let evil_origin = format!("http://{evil}");
    for (host, origin, more) in [
        // Another site's page; no page; another site that has this address; through a proxy.
        ("", "https://evil.example", &[][..]),
        ("", "null", &[]),
        ("", "", &[]),
        (evil.as_str(), evil_origin.as_str(), &[]),
        (evil.as_str(), own.as_str(), &[]),
        ("", own.as_str(), &[("X-Forwarded-For", "10.0.0.1")]),
        (
            "",
            own.as_str(),
            &[("Host", "evil.example"), ("Host", host.as_str())],
        ),
        ("", own.as_str(), &[("Forwarded", "for=10.0.0.1")]),
    ] {
        let answer = ask("publisher", host, origin, more).await;
        answer.expect_error(403, "not-local");
    }
    // A link, a picture or a form that asks for it gets nothing.
    let got = Request::get("/demo/tokens/publisher").header("Origin", &own);
    assert_eq!(got.send(service.http()).await.status, 405);

    // In all other modes there is neither the page nor its tokens.
    let served = Setup::serve().start().await;
    for path in ["/", "/demo/demo.js", "/demo/demo.css"] {
        assert_eq!(Request::get(path).send(served.http()).await.status, 404);
    }
    let asked = Request::new("POST", "/demo/tokens/alice");
    let asked = asked.header("Origin", format!("http://{}", served.http()));
    assert_eq!(asked.send(served.http()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_it_comes_with_a_strict_policy() {
    let service = Setup::new(Role::Dev).start().await;
    for path in ["/", "/demo/demo.css", "/demo/demo.js"] {
        let answer = Request::get(path).send(service.http()).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

/// Where the service is not on this machine by its own account, the tokens are in the address that
/// it prints, and the address bar does not keep them.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_in_the_address_elsewhere() {
    let service = Setup::new(Role::Dev).start().await;
    let Some((browser, origin)) = Browser::chromium_by_name(service.http(), false).await else {
        return;
    };
    let refused = browser.open("one", &format!("{origin}/")).await;
    refused.run(HELPERS, Value::Null).await;
    until(&refused, "trouble.textContent.includes('on the machine')").await;

    let mut given = format!("{origin}/#");
    for user in ["alice", "bob", "publisher"] {
        let request = Request::new("POST", format!("/demo/tokens/{user}"));
        let request = request.header("Origin", format!("http://{}", service.http()));
        let answer = request.send(service.http()).await.expect(200);
        given += &format!("{user}={}&", answer["token"].as_str().expect("a token"));
    }
    let page = browser.open("two", &given).await;
    page.run(HELPERS, Value::Null).await;
    until(&page, "isLive() && location.hash === ''").await;
    page.click("#publish .primary").await;
    until(&page, "titles('alice').length === 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_in_firefox() {
    let Some(browser) = Browser::firefox().await else {
        return;
    };
    let service = Setup::new(Role::Dev).start().await;
    let page = browser
        .open("one", &format!("http://{}/", service.http()))
        .await;
    page.run(HELPERS, Value::Null).await;
    until(&page, "isLive()").await;
    let click = async |what: &str| {
        page.run(&format!("{what}.click()"), Value::Null).await;
    };
    click("document.querySelector('[name=to][value=both]')").await;
    click("document.querySelector('#several')").await;
    until(
        &page,
        "badge('alice') === '8' && titles('bob').length === 8",
    )
    .await;
    until(&page, "wire.textContent.includes('clientID')").await;
    click("all('alice', 'phone', '.toggle')[0]").await;
    until(
        &page,
        "badge('alice') === '7' && unread('alice', 'laptop') === 7",
    )
    .await;
    page.run("inbox('bob', 'laptop').scrollIntoView()", Value::Null)
        .await;
    click("all('bob', 'laptop', '.bell')[0]").await;
    let shown = "inbox('bob', 'laptop').open && all('bob', 'laptop', '.panel')[0]";
    until(&page, &format!("({shown}).matches(':focus')")).await;
    let colour = format!("getComputedStyle({shown}).backgroundColor");
    assert_eq!(value(&page, &colour).await, "rgb(255, 255, 255)");
    let rest = "await Promise.all(inbox('bob', 'laptop').shadowRoot.getAnimations().map((one) => one.finished))";
    page.run(rest, Value::Null).await;
    page.screenshot("demo-firefox").await;
    page.press(&["Escape"]).await;
    until(&page, "!inbox('bob', 'laptop').open").await;
    assert_eq!(
        value(&page, "all('bob', 'laptop', ':focus')[0].className").await,
        "bell rings"
    );
    is_clean(&page).await;
}
