//! Marks, on the screen they are made on and on every other.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn marks_show_on_every_device_of_the_user() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["one", "two", "three"]).await;
    let token = service.secret().user("alice");
    let laptop = page(&browser, "laptop", &service, &token).await;
    let phone = page(&browser, "phone", &service, &token).await;
    for page in [&laptop, &phone] {
        page.click("#bell .bell").await;
        until(page, "unread().length === 3 && badge() === '3'").await;
    }
    let both = async |expression: &str| {
        for page in [&laptop, &phone] {
            until(page, expression).await;
        }
    };

    // Read by its toggle, unread by it, read by being opened.
    laptop.click("#bell .item:nth-child(2) .toggle").await;
    both("unread().join() === 'three,one' && badge() === '2'").await;
    phone.click("#bell .item:nth-child(2) .toggle").await;
    both("unread().join() === 'three,two,one' && badge() === '3'").await;
    phone.click("#bell .item:nth-child(1) .title").await;
    both("unread().join() === 'two,one' && badge() === '2'").await;

    // What arrives is unread on both; all of it is read on both.
    publish(&api, &["four"]).await;
    both("unread().join() === 'four,two,one' && badge() === '3'").await;
    laptop.click("#bell .mark-all").await;
    both("unread().length === 0 && badge() === '' && titles().length === 4").await;
    both("at('.mark-all').ariaDisabled === 'true'").await;
    assert_eq!(api.unread("alice").await, 0);

    // Somebody else's are somebody else's.
    let bob = page(&browser, "bob", &service, &service.secret().user("bob")).await;
    assert_eq!(value(&bob, "titles()").await, json!([]));
    for page in [&laptop, &phone, &bob] {
        is_clean(page).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_is_refused_is_put_back_and_said() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let api = apart.core.service_api();
    publish(&api, &["one", "two"]).await;
    let token = apart.core.secret().user("alice");
    let page = page(&browser, "one", &apart.gateway, &token).await;
    page.click("#bell .bell").await;
    until(&page, "unread().length === 2").await;
    apart.core.kill();
    page.click("#bell .item:nth-child(1) .toggle").await;
    until(&page, "at('.notice').textContent.includes('put back')").await;
    until(&page, "unread().length === 2 && badge() === '2'").await;
    until(
        &page,
        "at('[role=status]').textContent.includes('put back')",
    )
    .await;
    apart.core.restart().await;
    until(&page, "bell.inbox.state.connection === 'open'").await;
    page.click("#bell .item:nth-child(1) .toggle").await;
    until(&page, "unread().join() === 'one' && badge() === '1'").await;
    assert_eq!(api.unread("alice").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_decides_what_opening_means() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let data = json!({ "title": "linked", "url": "/page#linked" }).to_string();
    let id = api.publish(to(&["alice"], "t", &data)).await.id;
    publish(&api, &["plain"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run(
        "window.opened = []
        window.prevent = true
        bell.addEventListener('notification-click', (event) => {
          opened.push(event.detail.notificationID)
          if (prevent) event.preventDefault()
        })
        bell.open = true",
        Value::Null,
    )
    .await;
    until(&page, "unread().length === 2").await;
    page.click("#bell .item:nth-child(2) .title").await;
    until(&page, &format!("opened.join() === '{id}'")).await;
    // The page does all of it: nothing is marked, no link is followed.
    assert_eq!(
        value(&page, "[location.hash, badge()]").await,
        json!(["", "2"])
    );
    page.run("window.prevent = false", Value::Null).await;
    page.click("#bell .item:nth-child(2) .title").await;
    until(&page, "location.hash === '#linked' && badge() === '1'").await;
}
