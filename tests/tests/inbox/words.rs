//! Its words: counts, times, other languages and directions.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn another_language() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["eins"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run(
        "document.documentElement.lang = 'de'
        bell.texts = {
          title: 'Benachrichtigungen',
          bell: { 0: 'Benachrichtigungen', one: 'Benachrichtigungen, eine ungelesen', other: 'Benachrichtigungen, {count} ungelesen' },
          markRead: 'Als gelesen markieren',
        }
        bell.open = true",
        Value::Null,
    )
    .await;
    until(&page, "at('#title').textContent === 'Benachrichtigungen'").await;
    until(&page, "at('time')?.textContent === 'jetzt'").await;
    let labels = "[at('.bell').ariaLabel, at('.toggle').ariaLabel, at('.mark-all').textContent]";
    let expected = json!([
        "Benachrichtigungen, eine ungelesen",
        "Als gelesen markieren: eins",
        "Mark all read"
    ]);
    assert_eq!(value(&page, labels).await, expected);
    publish(&api, &["zwei"]).await;
    until(
        &page,
        "at('.bell').ariaLabel === 'Benachrichtigungen, 2 ungelesen'",
    )
    .await;
    // By attribute, for a page without a script of its own; and a wrong language is none.
    page.run(
        "bell.texts = null
        document.documentElement.lang = 'not_a language'
        bell.setAttribute('texts', '{\"title\": \"<b>Avvisi</b>\"}')",
        Value::Null,
    )
    .await;
    until(
        &page,
        "at('#title').textContent === '<b>Avvisi</b>' && at('time').textContent === 'now'",
    )
    .await;
    page.run("bell.setAttribute('texts', 'not JSON')", Value::Null)
        .await;
    until(&page, "at('#title').textContent === 'Notifications'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn right_to_left() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["שלום", "one"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run(
        "document.documentElement.dir = 'rtl'; bell.open = true",
        Value::Null,
    )
    .await;
    until(&page, "titles().length === 2").await;
    // The bell is at the left end, the panel opens towards the right; what marks a notification is
    // before it, its toggle behind.
    let places = "((box) => [
        Math.abs(at('#panel').offsetLeft - box('.bell').left) < 2,
        box('.avatar').left > box('.main').left && box('.main').left > box('.toggle').left,
    ])((selector) => at(selector).getBoundingClientRect())";
    assert_eq!(value(&page, places).await, json!([true, true]));
    page.screenshot("inbox-rtl").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_go_on() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["one"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "at('time')?.textContent === 'now'").await;
    // An hour later by the page's clock, at the next tick.
    page.run(
        "const { bell } = window
        bell.remove()
        await new Promise((resolve) => setTimeout(resolve))
        const tick = window.setInterval
        window.setInterval = (work) => tick(work, 20)
        document.querySelector('header').append(bell)
        bell.open = true",
        Value::Null,
    )
    .await;
    until(&page, "at('time')?.textContent === 'now'").await;
    page.run(
        "const Real = Date
        window.Date = class extends Real {
          constructor(...given) { given.length ? super(...given) : super(Real.now() + 3_700_000) }
        }",
        Value::Null,
    )
    .await;
    until(&page, "at('time')?.textContent === '1 hr. ago'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_are_more_than_the_badge_says() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    until(&page, "badge() === ''").await;
    for n in 0..99 {
        api.publish(to(&["alice"], "t", &n.to_string())).await;
    }
    until(&page, "badge() === '99'").await;
    api.publish(to(&["alice"], "t", "one more")).await;
    until(
        &page,
        "badge() === '99+' && at('.bell').ariaLabel === 'Notifications, 100 unread'",
    )
    .await;
    page.screenshot("inbox-badge").await;
}
