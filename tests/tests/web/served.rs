//! What the gateway serves, and that it is enough for a page.

use mercurio_tests::{binary::repository, browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_modules_are_served_in_every_mode() {
    let apart = Apart::start().await;
    let serve = Setup::serve().start().await;
    for service in [&apart.gateway, &serve] {
        for path in ["/client.js", "/client/worker.js", "/client/session.js"] {
            let answer = Request::get(path).send(service.http()).await;
            assert_eq!(answer.status, 200, "{path}");
            let header = |name| answer.header(name).unwrap_or_default().to_owned();
            assert_eq!(header("content-type"), "text/javascript; charset=utf-8");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("cache-control"), "no-cache");
            let source = std::fs::read_to_string(repository().join(format!("web{path}")));
            assert_eq!(answer.text(), source.expect("the file"));

            let tag = header("etag");
            let again = Request::get(path).header("If-None-Match", &tag);
            let again = again.send(service.http()).await;
            assert_eq!((again.status, again.body.len()), (304, 0));
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            let other = Request::get(path).header("If-None-Match", "\"other\"");
            assert_eq!(other.send(service.http()).await.status, 200);
            let head = Request::new("HEAD", path).send(service.http()).await;
            assert_eq!((head.status, head.body.len()), (200, 0));
            let put = Request::put(path).send(service.http()).await;
            put.expect_error(405, "method-not-allowed");
        }
    }
    let missing = Request::get("/client/nothing.js").send(serve.http()).await;
    missing.expect_error(404, "not-found");
}

/// A page whose Content-Security-Policy allows nothing but its own origin.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_strict_policy() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let url = format!("http://{}/page", service.http());
    let html = "<!doctype html><script type=module src=/start.js></script>";
    let own = "default-src 'none'; script-src 'self'; connect-src 'self'; worker-src 'self'";
    let trusted = format!("{own}; require-trusted-types-for 'script'; trusted-types 'none'");
    for (context, policy, violations) in [("a", own, 0), ("b", &trusted, 1)] {
        let script = format!(
            "window.violations = []
             addEventListener('securitypolicyviolation', ({{ violatedDirective }}) => violations.push(violatedDirective))
             {HELPERS}
             await start({})",
            token(&service, "alice")
        );
        browser
            .serve(
                context,
                &format!("http://{}/start.js", service.http()),
                "text/javascript",
                &script,
                json!({}),
            )
            .await;
        browser
            .serve(
                context,
                &url,
                "text/html",
                html,
                json!({ "content-security-policy": policy }),
            )
            .await;
        let page = browser.open(context, &url).await;
        page.until(
            "inbox.state.connection === 'open'",
            "[violations, window.inbox?.state]",
            SOON,
        )
        .await;
        assert_eq!(
            value(&page, "violations.length").await,
            violations,
            "{policy}"
        );
        let other = browser.open(context, &url).await;
        other
            .until("inbox.state.connection === 'open'", "violations", SOON)
            .await;
        streams_become(&service, 1).await;
        page.close().await;
        other.close().await;
        streams_become(&service, 0).await;
    }
}

/// A page of another origin: with the client from its own, and with the gateway's.
#[tokio::test(flavor = "multi_thread")]
async fn across_origins() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let site = Setup::serve().start().await;
    let origin = format!("http://{}", site.http());
    let service = Setup::serve()
        .args(["--cors-origin", &origin])
        .start()
        .await;
    let gateway = format!("http://{}", service.http());
    for (context, module, auth) in [
        ("a", "/client.js".to_owned(), "header"),
        ("b", format!("{gateway}/client.js"), "header"),
        ("c", format!("{gateway}/client.js"), "query"),
    ] {
        let id = service
            .service_api()
            .publish(to(&["alice"], "t", "x"))
            .await
            .id;
        let options = json!({ "url": gateway, "auth": auth, "module": module });
        let options = with(token(&service, "alice"), options);
        let mut pages = Vec::new();
        for _ in 0..3 {
            pages.push(connected(&browser, context, &site, options.clone()).await);
        }
        pages[2].run("await inbox.markRead(value)", json!(id)).await;
        for page in &pages {
            until(
                page,
                &format!("ids()[0] === {id} && inbox.state.unreadCount === 0"),
            )
            .await;
        }
        assert_eq!(streams(&service).await, 1, "{module}");
        for page in pages {
            page.close().await;
        }
        streams_become(&service, 0).await;
    }
}

/// The README's page, as it stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_works() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let readme = std::fs::read_to_string(repository().join("web/README.md")).expect("the README");
    let block = readme.split_once("```html\n").expect("an html block").1;
    let html = block.split_once("```").expect("its end").0;
    let service = Setup::serve().start().await;
    let at = |path: &str| format!("http://{}{path}", service.http());
    let token = service.secret().user("alice");
    browser
        .serve("one", &at("/token"), "text/plain", &token, json!({}))
        .await;
    browser
        .serve("one", &at("/page"), "text/html", html, json!({}))
        .await;
    let api = service.service_api();
    let mut ids = many(&api, 31).await;
    let page = browser.open("one", &at("/page")).await;
    let shows = async |badge: &str, items: usize| {
        let expression = format!(
            "document.querySelector('#badge').textContent === '{badge}' &&
             document.querySelectorAll('li').length === {items}"
        );
        page.until(&expression, "document.body.innerText", SOON)
            .await;
    };
    shows("31", 30).await;
    ids.push(api.publish(to(&["alice"], "t", "<b>live</b>")).await.id);
    shows("32", 31).await;
    let first = "document.querySelector('li').textContent";
    assert_eq!(value(&page, first).await, "<b>live</b>");
    page.run("document.querySelector('#more').click()", Value::Null)
        .await;
    shows("32", 32).await;
    assert_eq!(
        value(&page, "document.querySelector('#more').hidden").await,
        true
    );
    page.run("document.querySelector('li').click()", Value::Null)
        .await;
    shows("31", 32).await;
    page.run("document.querySelector('#all-read').click()", Value::Null)
        .await;
    shows("", 32).await;
    assert_eq!(api.unread("alice").await, 0);
}
