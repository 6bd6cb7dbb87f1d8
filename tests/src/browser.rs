//! Pages of a real browser: Chromium under playwright-core, Firefox under puppeteer-core.
//!
//! A [`Page`] runs code in itself ([`Page::run`]). Pages of one context share cookies, workers and
//! storage; those of two contexts are two people, or two devices.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    process::{Lines, Process},
    said::Said,
    tools,
    wait::{LATER, within},
};

/// A running browser.
pub struct Browser {
    driver: Mutex<Process>,
    answers: Lines,
    requests: AtomicU64,
}

impl Browser {
    /// Debian's Chromium; `None`, with a notice, where a tool is missing.
    pub async fn chromium() -> Option<Browser> {
        Self::chromium_with(&[]).await
    }

    /// Chromium with more arguments.
    pub async fn chromium_with(args: &[&str]) -> Option<Browser> {
        Self::start("chromium", tools::tool("chromium")?, args).await
    }

    /// Chromium, and an origin with a name for what listens here: it can be offline, which what is
    /// this machine by its name never is; and it is secure only where that is asked for.
    pub async fn chromium_by_name(http: SocketAddr, is_secure: bool) -> Option<(Browser, String)> {
        let origin = format!("http://app.example:{}", http.port());
        let map = "--host-resolver-rules=MAP app.example 127.0.0.1";
        let secure = format!("--unsafely-treat-insecure-origin-as-secure={origin}");
        let args = if is_secure {
            &[map, &secure][..]
        } else {
            &[map]
        };
        Some((Self::chromium_with(args).await?, origin))
    }

    /// Debian's Firefox; `None`, with a notice, where it is missing, even where tools are required:
    /// not every machine has it.
    pub async fn firefox() -> Option<Browser> {
        match tools::optional("firefox-esr") {
            Some(path) => Self::start("firefox", path, &[]).await,
            None => {
                tools::notice("firefox-esr is not installed");
                None
            }
        }
    }

    async fn start(kind: &str, path: std::path::PathBuf, args: &[&str]) -> Option<Browser> {
        let (folder, node) = (
            tools::node_modules("browser", "playwright-core")?,
            tools::tool("node")?,
        );
        let mut command = Command::new(node);
        command
            .args(["pages.mjs", kind])
            .arg(path)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::piped());
        let driver = Process::spawn_with_input("node pages.mjs", &mut command);
        let answers = driver.stdout.clone();
        answers.wait_for("\"ready\"", LATER).await;
        Some(Browser {
            driver: Mutex::new(driver),
            answers,
            requests: AtomicU64::new(0),
        })
    }

    /// Opens a page in a context.
    pub async fn open(&self, context: &str, url: &str) -> Page<'_> {
        let number = self.requests.load(Ordering::Relaxed);
        let name = format!("{context}-{number}");
        self.ask(json!({ "do": "open", "page": name, "context": context, "url": url }))
            .await;
        Page {
            browser: self,
            name,
        }
    }

    /// Takes a context's network away, or gives it back (Chromium).
    pub async fn offline(&self, context: &str, value: bool) {
        self.ask(json!({ "do": "offline", "context": context, "value": value }))
            .await;
    }

    /// Answers an address with this, for a context's pages (Chromium): the fixture's own files, at the
    /// origin under test.
    pub async fn serve(&self, context: &str, url: &str, kind: &str, body: &str, headers: Value) {
        let request = json!({
            "do": "serve", "context": context, "url": url, "kind": kind, "body": body, "headers": headers
        });
        self.ask(request).await;
    }

    /// Ends all that runs as this (`shared_worker`), and says how many there were (Chromium).
    pub async fn kill(&self, kind: &str) -> u64 {
        let ended = self.ask(json!({ "do": "kill", "kind": kind })).await;
        ended.as_u64().expect("a count")
    }

    async fn ask(&self, request: Value) -> Value {
        let answer = within(&format!("{request}"), LATER, self.try_ask(request)).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_ask(&self, mut request: Value) -> Result<Value, String> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        request["id"] = id.into();
        {
            let mut driver = self.driver.lock().unwrap();
            writeln!(driver.stdin(), "{request}").map_err(|error| error.to_string())?;
        }
        let start = format!("{{\"id\":{id},");
        let line = self.answers.find(|line| line.starts_with(&start)).await;
        let line = line.ok_or("the driver has ended")?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        match answer.get("error") {
            Some(error) => Err(format!("{error} in {request}")),
            None => Ok(answer["value"].take()),
        }
    }
}

/// A page.
pub struct Page<'a> {
    browser: &'a Browser,
    name: String,
}

impl Page<'_> {
    /// Runs the body of an async function of `value` in the page, and gives what it returns.
    pub async fn run(&self, code: &str, value: Value) -> Value {
        self.browser.ask(self.running(code, value)).await
    }

    /// Waits until an expression is true in the page; panics with what `about` gives otherwise.
    pub async fn until(&self, expression: &str, about: &str, limit: Duration) {
        let code = format!(
            "for (;;) {{ try {{ if ({expression}) return }} catch {{}}
             await new Promise((resolve) => setTimeout(resolve, 10)) }}"
        );
        let done = self.browser.try_ask(self.running(&code, Value::Null));
        match tokio::time::timeout(limit, done).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {
                let now = self.run(&format!("return {about}"), Value::Null).await;
                panic!("{expression}: not within {limit:?}; {now:#}");
            }
        }
    }

    /// What it says by itself from its beginning on, by `say(what)` (Chromium).
    pub fn said(&self) -> Said {
        let start = format!("{{\"page\":\"{}\",", self.name);
        Said::beginning(self.browser.answers.clone(), start)
    }

    /// Opens the browser's own EventSource. What comes the page says: `{"type", "id", "data"}`, and
    /// `{"type": "error", "state"}`.
    pub async fn event_source(&self, url: &str) {
        let code = "const source = new EventSource(value)
            const tell = (event) => say({ type: event.type, id: event.lastEventId, data: event.data })
            source.onmessage = tell
            for (const type of ['opened', 'read-state', 'closing']) source.addEventListener(type, tell)
            source.onerror = () => say({ type: 'error', state: source.readyState })";
        self.run(code, json!(url)).await;
    }

    /// Fetches in the page: `{"status", "data"}`; the status is 0 where the browser keeps the answer.
    pub async fn fetch(&self, url: &str, options: Value) -> Value {
        let code = "return fetch(value.url, value.options).then(
            async (answer) => ({ status: answer.status, data: await answer.text() }),
            (error) => ({ status: 0, data: String(error) }))";
        self.run(code, json!({ "url": url, "options": options }))
            .await
    }

    /// Presses keys, one after the other (Chromium).
    pub async fn press(&self, keys: &[&str]) {
        self.browser
            .ask(json!({ "do": "press", "page": self.name, "keys": keys }))
            .await;
    }

    /// Clicks what this CSS selector finds, in shadow trees too (Chromium).
    pub async fn click(&self, at: &str) {
        self.browser
            .ask(json!({ "do": "click", "page": self.name, "at": at }))
            .await;
    }

    /// Sets the window's size and the colour scheme that is preferred, `light` or `dark`
    /// (Chromium).
    pub async fn look(&self, (width, height): (u32, u32), scheme: &str) {
        self.browser
            .ask(json!({
                "do": "look", "page": self.name, "width": width, "height": height, "scheme": scheme,
            }))
            .await;
    }

    /// Motion is not wanted (Chromium).
    pub async fn reduce_motion(&self) {
        self.browser
            .ask(json!({
                "do": "look", "page": self.name, "width": 1280, "height": 800, "motion": "reduce",
            }))
            .await;
    }

    /// Keeps a picture in `target/screenshots`.
    pub async fn screenshot(&self, name: &str) {
        let folder = crate::binary::repository().join("target/screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        let path = folder.join(format!("{name}.png"));
        self.browser
            .ask(json!({ "do": "screenshot", "page": self.name, "path": path }))
            .await;
    }

    /// What axe-core finds wrong with the page's accessibility: nothing, or a list.
    pub async fn accessibility(&self) -> Value {
        let folder = tools::node_modules("browser", "axe-core").expect("there is a browser");
        let axe = std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js"))
            .expect("axe-core is installed");
        let code = format!(
            "if (!window.axe) {{ {axe} }}
            const found = await window.axe.run(document, {{ resultTypes: ['violations'] }})
            return found.violations.map(({{ id, help, nodes }}) =>
              ({{ id, help, nodes: nodes.map(({{ target, failureSummary }}) => [target, failureSummary]) }}))"
        );
        self.run(&code, Value::Null).await
    }

    /// Nothing runs in it any more, as in a tab that a browser has frozen, until it is thawed
    /// (Chromium).
    pub async fn freeze(&self) {
        self.browser
            .ask(json!({ "do": "freeze", "page": self.name }))
            .await;
    }

    /// What is frozen goes on.
    pub async fn thaw(&self) {
        self.browser
            .ask(json!({ "do": "thaw", "page": self.name }))
            .await;
    }

    /// Leaves it for another address.
    pub async fn go(&self, url: &str) {
        self.browser
            .ask(json!({ "do": "go", "page": self.name, "url": url }))
            .await;
    }

    /// Closes it.
    pub async fn close(self) {
        self.browser
            .ask(json!({ "do": "close", "page": self.name }))
            .await;
    }

    fn running(&self, code: &str, value: Value) -> Value {
        json!({ "do": "run", "page": self.name, "code": code, "value": value })
    }
}
