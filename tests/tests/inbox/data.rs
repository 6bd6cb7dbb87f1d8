//! Data is anybody's: it is shown as text, in its place, and as nothing else.

use super::*;

/// What is published, and what has to be read. None of it may become an element, an attribute, a
/// script, or a link to one.
fn hostile() -> Vec<(String, Value)> {
    let texts = [
        "<script>window.ran = 1</script>",
        "<img src=x onerror='window.ran = 1'>",
        "<svg onload=\"window.ran = 1\"><a href=javascript:window.ran=1>x</a></svg>",
        "\"><iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
        "<mercurio-inbox layout=inline></mercurio-inbox><style>* { display: none }</style>",
        "<!--",
        "]]>",
        "&lt;b&gt; &amp;amp; &#60;",
        "{{constructor.constructor('window.ran = 1')()}}",
        "${window.ran = 1}",
        "javascript:window.ran=1",
        "{\"title\": broken",
        "{}",
        "[]",
        "null",
        "0",
        "\"text\"",
        "{\"title\": {\"toString\": 1}, \"body\": [\"<b>\"]}",
        "{\"__proto__\": {\"title\": \"polluted\"}}",
        "שלום עולם, זו הודעה with English in it",
        "\u{202e}gnp.exe\u{202d} \u{2066}\u{2067}",
        "👩‍👩‍👧‍👦🦀🇮🇹 \u{fe0f}\u{200d}",
        "nul \u{0} bell \u{7} escape \u{1b}[31m",
    ];
    let mut all: Vec<(String, Value)> = texts
        .iter()
        .map(|text| ((*text).to_owned(), json!(text.trim())))
        .collect();
    let object = |fields: Value, shown: Value| (fields.to_string(), shown);
    all.push(object(
        json!({ "title": "<b>bold</b>", "body": "<img src=x onerror=alert(1)>", "url": "javascript:alert(1)" }),
        json!("<b>bold</b>"),
    ));
    for url in [
        "java\nscript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "blob:x",
        "file:///etc/passwd",
        "https://acme.example:pw@evil.example/",
        "http://[",
    ] {
        all.push(object(
            json!({ "title": "link", "url": url }),
            json!("link"),
        ));
    }
    let clipped = |text: &str| format!("{}…", text.chars().take(300).collect::<String>());
    for piece in ["A", "word ", "\u{5d0}", "Z\u{334}\u{322}\u{31b}\u{356}"] {
        let text = piece.repeat(60_000 / piece.len());
        all.push((text.clone(), json!(clipped(&text))));
    }
    // Two units of UTF-16 each, the clip falls between: one is missing, none is halved.
    let crabs = "🦀".repeat(10_000);
    all.push((
        format!("x{crabs}"),
        json!(format!("x{}…", "🦀".repeat(149))),
    ));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_data_is_text() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let hostile = hostile();
    let (half, rest) = hostile.split_at(hostile.len() / 2);
    let send = async |(data, _): &(String, Value)| {
        let mut request = to(&["alice"], "t", data);
        "<i onclick=alert(1)>\u{202e}".clone_into(&mut request.source_id);
        api.publish(request).await;
    };
    // Some are there when the page comes, the others arrive.
    for one in half {
        send(one).await;
    }
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.click("#bell .bell").await;
    until(&page, "titles().length > 0").await;
    for one in rest {
        send(one).await;
    }
    let count = hostile.len();
    page.run("at('.scroller').scrollTo(0, 1e9)", Value::Null)
        .await;
    until(&page, "bell.inbox.state.hasMore === false").await;
    until(&page, &format!("titles().length === {count}")).await;

    let shown: Vec<Value> = hostile.into_iter().rev().map(|(_, shown)| shown).collect();
    assert_eq!(value(&page, "titles()").await, json!(shown));
    is_clean(&page).await;
    // Not an element or attribute that the inbox does not make itself.
    let foreign = "all('*').flatMap((one) => [
        ...(one.matches('div, span, button, svg, path, time, h2, p') ? [] : [one.localName]),
        ...one.getAttributeNames().filter((name) => /^on|^style$|^src|^href$/.test(name) && !(one.id === 'panel' && name === 'style')),
    ])";
    assert_eq!(value(&page, foreign).await, json!([]));
    // Everything within its bounds.
    for width in [1280, 390] {
        page.look((width, 800), "light").await;
        let too_large = "all('.item').filter((one) => one.offsetHeight > 320 || one.scrollWidth > one.clientWidth).map((one) => one.textContent.slice(0, 80))";
        assert_eq!(value(&page, too_large).await, json!([]), "{width}");
        let widths = "[at('.scroller').scrollWidth - at('.scroller').clientWidth, document.documentElement.scrollWidth - innerWidth]";
        assert_eq!(value(&page, widths).await, json!([0, 0]), "{width}");
        page.screenshot(&format!("inbox-hostile-{width}")).await;
    }
    // Opened, the long ones are long within bounds too.
    page.click("#bell .item:nth-child(2) .title").await;
    until(&page, "at('.item:nth-child(2)').hasAttribute('data-open') && at('.item:nth-child(2)').offsetHeight < innerHeight").await;
    is_clean(&page).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_names_title_text_and_link() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for data in [
        json!({ "title": "here", "body": "text", "url": "/page#1" }),
        json!({ "subject": "there", "message": "text", "link": "https://docs.example/x" }),
        json!({ "text": "first line\nsecond line" }),
    ] {
        api.publish(to(&["alice"], "a.b", &data.to_string())).await;
    }
    api.publish(to(&["alice"], "only.topic", "")).await;
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run("bell.open = true", Value::Null).await;
    until(&page, "titles().length === 4").await;
    let shown = "all('.item').map((one) => [
        one.querySelector('.title').firstChild.data,
        one.querySelector('.body')?.textContent ?? '',
        one.querySelector('a')?.getAttribute('href') ?? '',
        one.querySelector('a')?.rel ?? '',
        one.querySelector('.host')?.textContent ?? '',
    ])";
    let origin = format!("http://{}", service.http());
    let expected = json!([
        ["only.topic", "", "", "", ""],
        ["first line", "second line", "", "", ""],
        [
            "there",
            "text",
            "https://docs.example/x",
            "noopener noreferrer",
            "docs.example"
        ],
        ["here", "text", format!("{origin}/page#1"), "", ""],
    ]);
    assert_eq!(value(&page, shown).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_renders_itself_and_a_string_stays_text() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for data in ["string", "node", "throws"] {
        api.publish(to(&["alice"], "t", data)).await;
    }
    let page = page(&browser, "one", &service, &service.secret().user("alice")).await;
    page.run(
        "bell.render = ({ data }) => {
          if (data === 'throws') throw new Error('as it should')
          if (data === 'string') return '<img src=x onerror=alert(1)>'
          const made = document.createElement('em')
          made.textContent = data
          return made
        }
        bell.open = true",
        Value::Null,
    )
    .await;
    until(&page, "all('.item').length === 3").await;
    let shown = "all('.item .main').map((one) => [one.querySelector('img, em, button')?.localName ?? '', one.firstChild.textContent])";
    let expected = json!([
        ["button", "throws"],
        ["em", "node"],
        ["", "<img src=x onerror=alert(1)>"],
    ]);
    assert_eq!(value(&page, shown).await, expected);
    is_clean(&page).await;
    // Opened with the mouse, and with the keyboard.
    page.click("#bell .item:nth-child(2) em").await;
    until(&page, "badge() === '2'").await;
    page.run("at('.item:nth-child(3)').focus()", Value::Null)
        .await;
    page.press(&["Enter"]).await;
    until(&page, "badge() === '1'").await;
}
