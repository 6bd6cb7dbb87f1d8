//! History, stream and marks.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

/// How long a notification is there that expires: much longer than it takes to be seen before.
const BRIEF: Duration = Duration::from_secs(10);

/// What is published between the history's answer and the stream's opening is neither lost nor
/// twice there, nor counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn no_gap_at_page_load() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut ids = many(&api, 3).await;
    let page = blank(&browser, "one", &service).await;
    // The stream's request waits at the door.
    let hold = "const real = fetch
        window.fetch = async (url, options) => {
          if (!String(url).includes('/stream')) return real(url, options)
          window.waiting = true
          await new Promise((resolve) => (window.release = resolve))
          return real(url, options)
        }";
    page.run(hold, Value::Null).await;
    let options = with(token(&service, "alice"), json!({ "sharing": "none" }));
    page.run("await start(value)", options).await;
    page.until("window.waiting", "about()", SOON).await;
    assert_eq!(value(&page, "ids().length").await, 3);
    ids.extend(many(&api, 3).await);
    api.mark("alice", &[ids[0], ids[4]], true).await;
    page.run("release()", Value::Null).await;
    until(&page, "ids().length === 6 && inbox.state.unreadCount === 4").await;
    ids.extend(many(&api, 3).await);
    until(&page, "ids().length === 9").await;

    assert_eq!(value(&page, "ids().reverse()").await, json!(ids));
    assert_eq!(value(&page, "arrived()").await, json!(ids[3..]));
    let unread: Vec<u64> = [1, 2, 3, 5, 6, 7, 8].map(|n| ids[n]).to_vec();
    assert_eq!(value(&page, "unread().reverse()").await, json!(unread));
    assert_eq!(value(&page, "inbox.state.unreadCount").await, 7);
    assert_eq!(api.unread("alice").await, 7);
}

/// The same with nothing held up: pages that are loaded while a publisher goes on.
#[tokio::test(flavor = "multi_thread")]
async fn pages_loaded_under_load_see_everything_once() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let publishing = tokio::spawn(async move {
        let mut ids = Vec::new();
        for n in 0..400 {
            ids.push(api.publish(to(&["alice"], "t", &n.to_string())).await.id);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ids
    });
    let mut pages = Vec::new();
    for sharing in ["none", "worker", "leader", "none"] {
        let options = json!({ "sharing": sharing, "pageSize": 500 });
        let options = with(token(&service, "alice"), options);
        pages.push(connected(&browser, "one", &service, options).await);
    }
    let ids = publishing.await.expect("published");
    for page in &pages {
        until(page, &format!("ids()[0] === {}", ids[399])).await;
        assert_eq!(value(page, "ids().reverse()").await, json!(ids));
        assert_eq!(value(page, "inbox.state.unreadCount").await, 400);
        let arrived = value(page, "arrived()").await;
        let arrived = arrived.as_array().expect("a list");
        let first = ids.len() - arrived.len();
        assert_eq!(
            json!(arrived),
            json!(ids[first..]),
            "in order, without gaps"
        );
    }
}

/// What is deleted goes from every page, with the server's count; of what went to everyone it is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_goes() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.api(&service.secret().operator());
    let ids = many(&api, 3).await;
    let all = api.publish(to_everyone("t", "x")).await.id;
    let mut pages = Vec::new();
    for sharing in ["none", "worker", "leader"] {
        let options = with(token(&service, "alice"), json!({ "sharing": sharing }));
        pages.push(connected(&browser, "one", &service, options).await);
    }
    let shows = async |left: Vec<u64>| {
        let count = left.len();
        for page in &pages {
            let is_so = format!(
                "JSON.stringify(ids().reverse()) === '{}' && inbox.state.unreadCount === {count}",
                json!(left)
            );
            until(page, &is_so).await;
        }
    };
    shows(vec![ids[0], ids[1], ids[2], all]).await;
    api.delete("alice", &[ids[1]]).await;
    shows(vec![ids[0], ids[2], all]).await;
    api.delete_for_all(all).await.expect("deleted");
    shows(vec![ids[0], ids[2]]).await;
    api.forget("alice").await;
    shows(vec![]).await;
    let next = api.publish(to(&["alice"], "t", "anew")).await.id;
    shows(vec![next]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_history_and_topics() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut wanted = Vec::new();
    for n in 0..25 {
        wanted.push(
            api.publish(to(&["alice"], "invoice.paid", &n.to_string()))
                .await
                .id,
        );
        api.publish(to(&["alice"], "news", "x")).await;
    }
    let options = json!({ "topics": ["invoice.*"], "pageSize": 10 });
    let options = with(token(&service, "alice"), options);
    let page = connected(&browser, "one", &service, options).await;
    for loaded in [10, 20, 25] {
        assert_eq!(
            value(&page, "ids().reverse()").await,
            json!(wanted[25 - loaded..])
        );
        assert_eq!(value(&page, "inbox.state.hasMore").await, loaded < 25);
        page.run("await inbox.loadMore()", Value::Null).await;
    }
    // The count is the server's, of all topics, whatever is shown.
    assert_eq!(value(&page, "inbox.state.unreadCount").await, 50);
    api.publish(to(&["alice"], "news", "x")).await;
    wanted.push(api.publish(to(&["alice"], "invoice.sent", "x")).await.id);
    until(&page, "inbox.state.unreadCount === 52").await;
    assert_eq!(value(&page, "ids().reverse()").await, json!(wanted));
    assert_eq!(value(&page, "arrived()").await, json!(wanted[25..]));

    page.run(
        "window.before = inbox.state; await inbox.markAllRead()",
        Value::Null,
    )
    .await;
    until(
        &page,
        "inbox.state.unreadCount === 0 && unread().length === 0",
    )
    .await;
    // Snapshots are not touched again.
    let frozen = "Object.isFrozen(before) && Object.isFrozen(before.notifications)
        && Object.isFrozen(before.notifications[0]) && !before.notifications[0].readAt";
    assert_eq!(value(&page, frozen).await, true);
}

/// Two people's devices: what one marks, the other shows at once.
#[tokio::test(flavor = "multi_thread")]
async fn marks_made_elsewhere_appear() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let ids = many(&api, 5).await;
    let desk = connected(&browser, "desk", &service, token(&service, "alice")).await;
    let phone = connected(&browser, "phone", &service, token(&service, "alice")).await;
    for (page, other) in [(&desk, &phone), (&phone, &desk)] {
        page.run("await inbox.markRead(value)", json!([ids[0], ids[2]]))
            .await;
        until(other, "inbox.state.unreadCount === 3").await;
        assert_eq!(
            value(other, "unread().reverse()").await,
            json!([ids[1], ids[3], ids[4]])
        );
        assert!(value(other, "told('read-state').length").await.as_u64() >= Some(1));
        page.run("await inbox.markUnread(value)", json!([ids[0], ids[2]]))
            .await;
        until(
            other,
            "inbox.state.unreadCount === 5 && unread().length === 5",
        )
        .await;
        page.run("await inbox.markAllRead()", Value::Null).await;
        until(
            other,
            "inbox.state.unreadCount === 0 && unread().length === 0",
        )
        .await;
        page.run("await inbox.markUnread(value)", json!(ids)).await;
        until(
            other,
            "inbox.state.unreadCount === 5 && unread().length === 5",
        )
        .await;
    }
    // And by a service.
    api.mark_up_to("alice", ids[3], true).await;
    for page in [&desk, &phone] {
        until(page, "inbox.state.unreadCount === 1").await;
        assert_eq!(value(page, "unread()").await, json!([ids[4]]));
    }
}

/// A mark is shown at once; what the server refuses is put back, and the caller told.
#[tokio::test(flavor = "multi_thread")]
async fn marks_are_optimistic_and_put_back() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let ids = many(&apart.core.service_api(), 3).await;
    let page = alices(&browser, &apart.gateway).await;
    page.run(
        "window.seen = []; inbox.addEventListener('change', () => seen.push(unread().length))",
        Value::Null,
    )
    .await;
    apart.core.kill();
    for (call, least) in [("inbox.markRead(value)", 1), ("inbox.markAllRead()", 0)] {
        page.run("seen.length = 0", Value::Null).await;
        let code = format!("return {call}.then(() => 'marked', (error) => error.code)");
        let outcome = page.run(&code, json!([ids[0], ids[2]])).await;
        assert_eq!(outcome, "core-unavailable", "{call}");
        let seen = value(&page, "Math.min(...seen)").await;
        assert_eq!(seen, least, "{call}: shown before the answer");
        assert_eq!(value(&page, "unread().length").await, 3, "{call}: put back");
        assert_eq!(value(&page, "inbox.state.unreadCount").await, 3);
    }
    apart.core.restart().await;
    eventually("the mark is taken", SOON, async || {
        let code = "return inbox.markRead(value).then(() => true, () => false)";
        (page.run(code, json!(ids[0])).await == true).then_some(())
    })
    .await;
    until(&page, "inbox.state.unreadCount === 2").await;
    assert_eq!(value(&page, "unread().reverse()").await, json!(ids[1..]));

    // What is not there, and what is no id.
    for (id, code) in [
        (json!(999), "not-found"),
        (json!("x"), "invalid-field"),
        (json!(-1), "invalid-field"),
    ] {
        let run = "return inbox.markRead([value]).then(() => 'marked', (error) => error.code)";
        assert_eq!(page.run(run, id).await, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_goes_when_it_is_due() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let kept = api.publish(to(&["alice"], "t", "kept")).await.id;
    // A browser takes seconds to open a page where much runs beside it: before anything may expire.
    let page = blank(&browser, "one", &service).await;
    let loaded = api
        .publish(with_ttl(BRIEF, to(&["alice"], "t", "loaded")))
        .await
        .id;
    start(&page, token(&service, "alice")).await;
    let live = api
        .publish(with_ttl(BRIEF, to(&["alice"], "t", "live")))
        .await
        .id;
    until(&page, "ids().length === 3 && inbox.state.unreadCount === 3").await;
    assert_eq!(value(&page, "ids()").await, json!([live, loaded, kept]));
    until(&page, "ids().length === 1 && inbox.state.unreadCount === 1").await;
    assert_eq!(value(&page, "ids()").await, json!([kept]));
}

/// What expires and is not loaded goes unnoticed, until somebody looks.
#[tokio::test(flavor = "multi_thread")]
async fn the_count_is_asked_for_when_a_page_comes_to_the_front() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let page = blank(&browser, "one", &service).await;
    api.publish(with_ttl(BRIEF, to(&["alice"], "t", "soon gone")))
        .await;
    many(&api, 1).await;
    let options = json!({ "sharing": "none", "pageSize": 1 });
    start(&page, with(token(&service, "alice"), options)).await;
    assert_eq!(value(&page, "inbox.state.unreadCount").await, 2);
    eventually("it expires", SOON, async || {
        (api.unread("alice").await == 1).then_some(())
    })
    .await;
    assert_eq!(value(&page, "inbox.state.unreadCount").await, 2);
    let front = "const real = Date.now; Date.now = () => real() + 15e3
        document.dispatchEvent(new Event('visibilitychange'))";
    page.run(front, Value::Null).await;
    until(&page, "inbox.state.unreadCount === 1").await;
    assert_eq!(value(&page, "told('connection')").await, json!(["open"]));
}

/// A tab that is open for long: what arrives all day falls off at the end of the list, and can be
/// loaded again. What somebody has loaded stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_does_not_grow_for_ever() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut ids = many(&api, 2).await;
    let options = with(token(&service, "alice"), json!({ "pageSize": 2 }));
    let page = connected(&browser, "one", &service, options).await;
    let longest = "window.longest = 0
        inbox.addEventListener('change', () => (longest = Math.max(longest, ids().length)))";
    page.run(longest, Value::Null).await;
    // Twenty are kept of forty-one.
    while ids.len() < 102 {
        ids.extend(many(&api, 1).await);
        until(&page, &format!("arrived().length === {}", ids.len() - 2)).await;
    }
    until(&page, "inbox.state.hasMore").await;
    let longest = value(&page, "longest").await.as_u64().expect("a length");
    assert!((41..60).contains(&longest), "{longest}");
    assert_eq!(value(&page, "arrived()").await, json!(ids[2..]));
    assert_eq!(value(&page, "inbox.state.unreadCount").await, 102);
    let all = "while (inbox.state.hasMore) await inbox.loadMore()";
    page.run(all, Value::Null).await;
    ids.extend(many(&api, 5).await);
    until(&page, "arrived().length === 105").await;
    assert_eq!(value(&page, "ids().reverse()").await, json!(ids));
}

/// Whatever is in a notification arrives as it was sent, through stream, history and worker.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_data_arrives_intact() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let huge = "\u{1f98b}é\"\\".repeat(7000);
    let texts = [
        "<img src=x onerror=alert(1)><script>alert(1)</script></script>",
        "a\nb\r\nc\rd\n\ndata: x\n\nevent: closing\ndata: {}\n\nid: 99999\n\n",
        "\0\u{1}\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{fffe}",
        "\u{202e}\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{645}\u{631}\u{62d}\u{628}\u{627}\u{202c} abc",
        "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466} e\u{301} \u{1f1e9}\u{1f1ea}",
        "__proto__ {\"__proto__\": {\"polluted\": true}}",
        &huge,
        "",
    ];
    let page = alices(&browser, &service).await;
    for text in texts.iter().filter(|text| !text.is_empty()) {
        api.publish(to(&["alice"], "t", text)).await;
    }
    let count = texts.len() - 1;
    until(&page, &format!("ids().length === {count}")).await;
    let data = "inbox.state.notifications.map((one) => one.data).reverse()";
    assert_eq!(value(&page, data).await, json!(texts[..count]));
    let live = "told('notification').map((one) => one.data)";
    assert_eq!(value(&page, live).await, json!(texts[..count]));
    let later = connected(&browser, "two", &service, token(&service, "alice")).await;
    assert_eq!(value(&later, data).await, json!(texts[..count]));
    assert_eq!(value(&later, "({}).polluted ?? null").await, Value::Null);
}
