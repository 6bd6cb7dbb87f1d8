//! Empty, loading, broken, offline, signed out; whose the connection is.

use super::*;

const SHOWN: &str = "at('.state').hidden ? '' : at('.state').dataset.state";

#[tokio::test(flavor = "multi_thread")]
async fn loading_then_empty_then_not() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let page = blank(&browser, "one", &service).await;
    page.run(
        "bell.getToken = () => new Promise((resolve) => { window.give = () => resolve(value) })
        bell.open = true",
        json!(service.secret().user("alice")),
    )
    .await;
    until(&page, &format!("({SHOWN}) === 'loading'")).await;
    page.screenshot("inbox-loading").await;
    page.run("give()", Value::Null).await;
    until(&page, &format!("({SHOWN}) === 'empty'")).await;
    publish(&service.service_api(), &["one"]).await;
    until(
        &page,
        &format!("({SHOWN}) === '' && titles().join() === 'one'"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_shown_and_trying_again_helps() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    publish(&apart.core.service_api(), &["one"]).await;
    let token = apart.core.secret().user("alice");
    apart.core.kill();
    let page = blank(&browser, "one", &apart.gateway).await;
    page.run(
        "bell.getToken = async () => value; bell.open = true",
        json!(token),
    )
    .await;
    until(
        &page,
        &format!("({SHOWN}) === 'error' && at('.code').textContent !== ''"),
    )
    .await;
    // Before: it tries by itself, too, and the focus goes to the panel with the button.
    page.run("at('.button').focus()", Value::Null).await;
    apart.core.restart().await;
    page.press(&["Enter"]).await;
    until(
        &page,
        &format!("({SHOWN}) === '' && titles().join() === 'one'"),
    )
    .await;
    assert_eq!(value(&page, "focused()").await, "panel");

    // Signed out is another matter.
    let strange = "e30.e30.e30";
    page.run("bell.getToken = async () => value", json!(strange))
        .await;
    until(&page, &format!("({SHOWN}) === 'signedOut'")).await;
    // And so is what the page's author got wrong.
    page.run("bell.setAttribute('page-size', 'many')", Value::Null)
        .await;
    until(
        &page,
        &format!("({SHOWN}) === 'error' && at('.code').textContent === 'invalid-options'"),
    )
    .await;
    page.run(
        "bell.removeAttribute('page-size'); bell.getToken = async () => value",
        json!(token),
    )
    .await;
    until(&page, "titles().join() === 'one'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_is_said_and_what_is_there_stays() {
    let service = Setup::serve().start().await;
    let Some((browser, origin)) = Browser::chromium_by_name(service.http(), true).await else {
        return;
    };
    let api = service.service_api();
    publish(&api, &["one"]).await;
    let page = blank_at(&browser, "one", &origin).await;
    let token = service.secret().user("alice");
    page.run(
        "bell.getToken = async () => value; bell.open = true",
        json!(token),
    )
    .await;
    until(&page, "titles().join() === 'one' && at('.notice').hidden").await;
    until(&page, "bell.inbox.state.connection === 'open'").await;
    browser.offline("one", true).await;
    until(&page, "at('.notice').textContent.includes('offline')").await;
    until(&page, "at('[role=status]').textContent.includes('offline')").await;
    page.screenshot("inbox-offline").await;
    assert_eq!(value(&page, "titles()").await, json!(["one"]));
    publish(&api, &["two"]).await;
    browser.offline("one", false).await;
    until(
        &page,
        "at('.notice').hidden && titles().join() === 'two,one'",
    )
    .await;
    until(&page, "at('[role=status]').textContent.includes('Connected again') || at('[role=status]').textContent.includes('two')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_said_once_it_lasts() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let api = apart.core.service_api();
    publish(&api, &["one"]).await;
    let token = apart.core.secret().user("alice");
    let page = page(&browser, "one", &apart.gateway, &token).await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "titles().join() === 'one'").await;
    apart.gateway.kill();
    until(&page, "at('.notice').textContent.includes('Reconnecting')").await;
    apart.gateway.restart().await;
    publish(&api, &["two"]).await;
    until(
        &page,
        "at('.notice').hidden && titles().join() === 'two,one'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_connection_it_is() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["one"]).await;
    api.publish(to(&["alice"], "other.topic", "another")).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    // Moved within the page, it stays connected.
    let kept = "window.first = bell.inbox
        document.querySelector('main').append(bell)
        await new Promise((resolve) => setTimeout(resolve))
        return bell.inbox === first && first.state.connection";
    assert_eq!(page.run(kept, Value::Null).await, "open");
    // Other settings are another connection; the element closes its own.
    page.run(
        "bell.setAttribute('topics', ' topic.* '); bell.open = true",
        Value::Null,
    )
    .await;
    until(
        &page,
        "first.state.connection === 'closed' && titles().join() === 'one'",
    )
    .await;
    // One that the page made is the page's: shown here and there, and left alone.
    page.run(
        "const { connect } = await import('/client.js')
        window.own = connect({ getToken: async () => value, sharing: 'leader' })
        bell.inbox = own
        list.inbox = own
        list.hidden = false",
        json!(service.secret().user("alice")),
    )
    .await;
    until(
        &page,
        "titles().length === 2 && titles('list').length === 2",
    )
    .await;
    page.run("bell.remove()", Value::Null).await;
    publish(&api, &["more"]).await;
    until(
        &page,
        "own.state.connection === 'open' && titles('list').length === 3",
    )
    .await;
    is_clean(&page).await;
}

/// The five minutes: a cookie from the application's own log-in, one script, one element.
#[tokio::test(flavor = "multi_thread")]
async fn markup_and_a_cookie_are_enough() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["one", "two"]).await;
    let page = blank(&browser, "one", &service).await;
    let cookie = format!("mercurio_token={}; path=/", service.secret().user("alice"));
    page.run("document.cookie = value", json!(cookie)).await;
    page.go(&format!("http://{}/page", service.http())).await;
    page.run(HELPERS, Value::Null).await;
    until(&page, "badge() === '2'").await;
    page.click("#bell .bell").await;
    page.click("#bell .mark-all").await;
    until(&page, "unread().length === 0 && badge() === ''").await;
    assert_eq!(api.unread("alice").await, 0);
    is_clean(&page).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_ones_that_cannot_be_loaded() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let api = apart.core.service_api();
    publish(&api, &["one", "two", "three"]).await;
    let page = blank(&browser, "one", &apart.gateway).await;
    page.run(
        "bell.setAttribute('page-size', 2); bell.getToken = async () => value; bell.open = true",
        json!(apart.core.secret().user("alice")),
    )
    .await;
    until(
        &page,
        "titles().join() === 'three,two' && bell.inbox.state.connection === 'open'",
    )
    .await;
    apart.core.kill();
    page.click("#bell .more").await;
    until(
        &page,
        "at('.notice').textContent.includes('can’t be loaded')",
    )
    .await;
    assert_eq!(value(&page, "titles()").await, json!(["three", "two"]));
    apart.core.restart().await;
    until(&page, "bell.inbox.state.connection === 'open'").await;
    page.click("#bell .more").await;
    until(&page, "titles().join() === 'three,two,one'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_said() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::with(
        |core| core.args(["--max-per-recipient", "2"]),
        |gateway| gateway,
    )
    .await;
    let api = apart.core.service_api();
    publish(&api, &["one"]).await;
    let token = apart.core.secret().user("alice");
    let page = page(&browser, "one", &apart.gateway, &token).await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "titles().join() === 'one'").await;
    apart.gateway.kill();
    publish(&api, &["two", "three", "four", "five"]).await;
    apart.gateway.restart().await;
    until(&page, "titles().join() === 'five,four'").await;
    until(&page, "at('.notice').textContent.includes('no longer')").await;
    is_clean(&page).await;
}
