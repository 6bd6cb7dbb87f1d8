//! With the keyboard alone, and with a screen reader.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["one", "two", "three"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    until(&page, "badge() === '3'").await;
    let bell = "[at('.bell').ariaExpanded, at('.bell').ariaHasPopup, at('.bell').ariaLabel]";
    let closed = json!(["false", "dialog", "Notifications, 3 unread"]);
    assert_eq!(value(&page, bell).await, closed);

    // In: the dialog has the focus. Out by Escape: the bell has it again.
    page.run("before.focus()", Value::Null).await;
    page.press(&["Tab", "Enter"]).await;
    until(&page, "bell.open && focused() === 'panel'").await;
    assert_eq!(value(&page, "at('.bell').ariaExpanded").await, "true");
    assert_eq!(
        value(&page, "[at('#panel').getAttribute('role'), at('#' + at('#panel').getAttribute('aria-labelledby')).textContent]").await,
        json!(["dialog", "Notifications"])
    );
    page.press(&["Escape"]).await;
    until(&page, "!bell.open && focused() === 'bell'").await;
    page.press(&["Space"]).await;
    until(&page, "bell.open && focused() === 'panel'").await;

    // Through everything by Tab, and back.
    let stops = [
        "mark-all",
        "title of three",
        "toggle of three",
        "title of two",
        "toggle of two",
        "title of one",
        "toggle of one",
    ];
    for stop in stops {
        page.press(&["Tab"]).await;
        assert_eq!(value(&page, "focused()").await, stop);
    }
    page.press(&["Shift+Tab"]).await;
    assert_eq!(value(&page, "focused()").await, "title of one");

    // From one to the next, as in any feed, and by the arrows.
    for (key, focused) in [
        ("PageUp", "item two"),
        ("PageUp", "item three"),
        ("PageUp", "item three"),
        ("PageDown", "item two"),
        ("End", "item one"),
        ("ArrowUp", "item two"),
        ("Home", "item three"),
        ("ArrowDown", "item two"),
        ("Control+Home", "mark-all"),
    ] {
        page.press(&[key]).await;
        assert_eq!(value(&page, "focused()").await, focused, "{key}");
    }

    // Marked without losing the place.
    page.press(&["Tab", "PageDown", "Tab", "Tab"]).await;
    assert_eq!(value(&page, "focused()").await, "toggle of two");
    page.press(&["Space"]).await;
    until(&page, "unread().join() === 'three,one'").await;
    assert_eq!(value(&page, "focused()").await, "toggle of two");
    page.press(&["Enter"]).await;
    until(&page, "unread().join() === 'three,two,one'").await;
    page.press(&["Shift+Tab", "Enter"]).await;
    until(&page, "unread().join() === 'three,one'").await;
    assert_eq!(value(&page, "focused()").await, "title of two");
    page.press(&["Control+Home", "Enter"]).await;
    until(&page, "unread().length === 0").await;
    assert_eq!(value(&page, "focused()").await, "mark-all");

    // Going on past the end closes it, and the focus is where it went.
    page.press(&["Tab", "End", "Tab", "Tab", "Tab"]).await;
    until(&page, "!bell.open && focused() === 'after'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn focus_stays_where_it_is_whatever_comes_and_goes() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["one", "two"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.click("#bell .bell").await;
    // Long enough for what comes until it is focused, also on a machine that is busy.
    let brief = with_ttl(Duration::from_secs(10), to(&["alice"], "t", "brief"));
    api.publish(brief).await;
    until(&page, "titles().join() === 'brief,two,one'").await;
    page.run(
        "all('.toggle')[titles().indexOf('two')].focus()",
        Value::Null,
    )
    .await;
    let ids = publish(&api, &["three"]).await;
    until(&page, "titles()[0] === 'three'").await;
    assert_eq!(value(&page, "focused()").await, "toggle of two");
    api.mark_up_to("alice", ids[0], true).await;
    until(&page, "unread().length === 0").await;
    assert_eq!(value(&page, "focused()").await, "toggle of two");
    // What had the focus expires: its neighbour has it.
    page.run(
        "all('.toggle')[titles().indexOf('brief')].focus()",
        Value::Null,
    )
    .await;
    assert_eq!(value(&page, "focused()").await, "toggle of brief");
    until(&page, "titles().join() === 'three,two,one'").await;
    assert_eq!(value(&page, "focused()").await, "item two");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_is_loaded_by_its_button_and_by_scrolling() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let titles: Vec<String> = (1..=70).map(|n| format!("number {n}")).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    publish(&api, &titles).await;
    let page = blank(&browser, "one", &service).await;
    page.run(
        "bell.setAttribute('page-size', 20)
        bell.getToken = async () => value
        bell.open = true",
        json!(service.secret().user("alice")),
    )
    .await;
    until(&page, "titles().length === 20 && badge() === '70'").await;
    let sizes =
        "[at('.item').ariaPosInSet, at('.item').ariaSetSize, at('.item:last-child').ariaPosInSet]";
    assert_eq!(value(&page, sizes).await, json!(["1", "-1", "20"]));
    // Its button keeps the focus while there is more.
    page.run("at('.more').focus({ preventScroll: true })", Value::Null)
        .await;
    page.press(&["Enter"]).await;
    until(&page, "titles().length === 40").await;
    assert_eq!(value(&page, "focused()").await, "more");
    page.run("at('.scroller').scrollTo(0, 1e9)", Value::Null)
        .await;
    until(&page, "titles().length === 60").await;
    // With the last page it goes, and the focus is on the first that came.
    page.run("at('.more').focus({ preventScroll: true })", Value::Null)
        .await;
    page.press(&["Enter"]).await;
    until(&page, "titles().length === 70 && at('.more').hidden").await;
    assert_eq!(value(&page, "focused()").await, "item number 10");
    assert_eq!(value(&page, sizes).await, json!(["1", "70", "70"]));
    let expected: Vec<&str> = titles.into_iter().rev().collect();
    assert_eq!(value(&page, "titles()").await, json!(expected));

    // What arrives above is told, and is one step away.
    publish(&api, &["above"]).await;
    until(&page, "titles().length === 71 && !at('.above').hidden").await;
    assert_eq!(value(&page, "at('.above').textContent").await, "1 new");
    page.click("#bell .above").await;
    until(
        &page,
        "at('.scroller').scrollTop === 0 && at('.above').hidden && focused() === 'item above'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_are_announced_and_a_flood_is_one_word() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    publish(&api, &["before"]).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    until(&page, "badge() === '1'").await;
    page.run(
        "window.said = []
        new MutationObserver(() => said.push(at('[role=status]').textContent))
          .observe(at('[role=status]'), { childList: true, subtree: true, characterData: true })",
        Value::Null,
    )
    .await;
    let live = "[at('[role=status]').ariaLive, at('[role=status]').ariaAtomic, at('[role=status]').textContent]";
    // History is no news.
    assert_eq!(value(&page, live).await, json!(["polite", "true", ""]));
    publish(&api, &["hello <b>"]).await;
    until(&page, "said.join() === 'New notification: hello <b>'").await;
    // At the same time: they are announced 4 s apart, however long the disk takes.
    api.publish_many("alice", "flood", 40).await;
    until(&page, "badge() === '42'").await;
    until(
        &page,
        "said.length >= 2 && said.slice(1).reduce((sum, one) => sum + parseInt(one), 0) === 40",
    )
    .await;
    let said = value(&page, "said").await;
    assert!(
        said.as_array().is_some_and(|said| said.len() <= 4),
        "{said}"
    );
}
