//! In every state, light and dark, on a phone and on a desk: no accessibility rule of axe-core is
//! broken, nothing is cut off, and a picture is kept.

use super::*;

const DESK: (u32, u32) = (1440, 900);
const PHONE: (u32, u32) = (390, 844);

/// Looks at a page in all ways.
async fn look(page: &Page<'_>, name: &str) {
    for (size, device) in [(DESK, "desk"), (PHONE, "phone")] {
        for scheme in ["light", "dark"] {
            page.look(size, scheme).await;
            // What moves has come to rest, or colours are measured half-way.
            page.run(
                "await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
                await Promise.all([bell, list].flatMap((one) => one.shadowRoot.getAnimations()).filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished))",
                Value::Null,
            )
            .await;
            page.screenshot(&format!("inbox-{name}-{device}-{scheme}"))
                .await;
            assert_eq!(
                page.accessibility().await,
                json!([]),
                "{name} {device} {scheme}"
            );
            let over = "[document.documentElement.scrollWidth - innerWidth,
                all('*', 'list').concat(all('*')).filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 2 && getComputedStyle(one).overflowX === 'visible' && getComputedStyle(one).display !== 'inline' && !one.matches('.bell')).map((one) => one.className)]";
            assert_eq!(
                value(page, over).await,
                json!([0, []]),
                "{name} {device} {scheme}"
            );
        }
    }
    is_clean(page).await;
}

async fn samples(api: &Api, count: usize) {
    let samples = [
        (
            "billing",
            "invoice.paid",
            json!({ "title": "Invoice 2041 was paid", "body": "Northwind Traders paid €1,280.00 by bank transfer.", "url": "/invoices/2041" }),
        ),
        (
            "comments",
            "comment.mention",
            json!({ "title": "Mara mentioned you in “Launch plan”", "body": "“Can you check the pricing table before Thursday? I moved the enterprise tier.”", "url": "https://docs.example/launch" }),
        ),
        (
            "deploy",
            "deploy.failed",
            json!({ "title": "Deploy of web-frontend failed", "body": "Step “migrate” ended with exit code 1 after 42 s." }),
        ),
        (
            "security",
            "account.sign-in",
            json!({ "title": "New sign-in from Firefox on Linux" }),
        ),
        (
            "operations",
            "",
            json!("Maintenance on Sunday, 02:00 to 04:00 UTC"),
        ),
        (
            "reviews",
            "review.requested",
            json!({ "title": "Jonas asks for your review", "body": "14 files, 3 of them tests." }),
        ),
    ];
    for (source, topic, data) in samples.iter().cycle().take(count) {
        let data = data
            .as_str()
            .map_or_else(|| data.to_string(), str::to_owned);
        let mut request = to(&["alice"], topic, &data);
        (*source).clone_into(&mut request.source_id);
        api.publish(request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_many_and_none() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let token = service.secret().user("alice");
    let page = page(&browser, "one", &service, &token).await;
    look(&page, "closed").await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "at('.state').dataset.state === 'empty'").await;
    look(&page, "empty").await;
    samples(&api, 3).await;
    until(&page, "titles().length === 3").await;
    look(&page, "few").await;
    page.click("#bell .mark-all").await;
    until(&page, "unread().length === 0").await;
    samples(&api, 60).await;
    until(&page, "titles().length === 63").await;
    look(&page, "many").await;
    // In the page, beside the bell, with more to load.
    page.run(
        "bell.open = false
        list.hidden = false
        list.setAttribute('page-size', 20)
        list.getToken = async () => value",
        json!(token),
    )
    .await;
    until(&page, "titles('list').length >= 20").await;
    page.run("at('.scroller', 'list').scrollTo(0, 300)", Value::Null)
        .await;
    look(&page, "inline").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let api = apart.core.service_api();
    let token = apart.core.secret().user("alice");
    samples(&api, 5).await;
    let page = page(&browser, "one", &apart.gateway, &token).await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "titles().length === 5").await;
    apart.gateway.kill();
    until(&page, "!at('.notice').hidden").await;
    look(&page, "reconnecting").await;
    apart.gateway.restart().await;
    until(&page, "at('.notice').hidden").await;
    apart.core.kill();
    page.run("bell.setAttribute('page-size', 10)", Value::Null)
        .await;
    until(&page, "at('.state').dataset.state === 'error'").await;
    look(&page, "error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn themes_and_properties() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    samples(&service.service_api(), 2).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "titles().length === 2").await;
    let colour = "getComputedStyle(at('#panel')).backgroundColor";
    let (light, dark) = ("rgb(255, 255, 255)", "rgb(23, 25, 31)");
    for (scheme, theme, expected) in [
        ("light", "", light),
        ("dark", "", dark),
        ("light", "dark", dark),
        ("dark", "light", light),
    ] {
        page.look(DESK, scheme).await;
        page.run("bell.setAttribute('theme', value)", json!(theme))
            .await;
        assert_eq!(value(&page, colour).await, expected, "{scheme} {theme}");
    }
    page.run(
        "document.documentElement.style.colorScheme = 'dark'; bell.setAttribute('theme', 'page')",
        Value::Null,
    )
    .await;
    assert_eq!(value(&page, colour).await, dark);
    // A page's own colours and parts.
    page.run(
        "styles.insertRule('#bell { --mercurio-background: rgb(1, 2, 3); --mercurio-panel-width: 333px }')
        styles.insertRule('#bell::part(item-title) { color: rgb(4, 5, 6) }')",
        Value::Null,
    )
    .await;
    let own = format!("[{colour}, at('#panel').offsetWidth, getComputedStyle(at('.title')).color]");
    assert_eq!(
        value(&page, &own).await,
        json!(["rgb(1, 2, 3)", 333, "rgb(4, 5, 6)"])
    );
    // Who wants no motion gets none.
    let moving = "at('#panel').getAnimations().length + all('*').flatMap((one) => one.getAnimations()).length";
    page.reduce_motion().await;
    page.run(
        "bell.open = false; bell.open = true; at('.bell').classList.add('rings')",
        Value::Null,
    )
    .await;
    assert_eq!(value(&page, moving).await, 0);
}
