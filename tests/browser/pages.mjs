// Drives pages of a real browser for the tests in Rust: tests/src/browser.rs is its other end.
//
// Reads requests, one JSON a line; answers each, in any order, with {"id", "value"} or {"id", "error"}.
// What a page says by itself, with window.say(what), is {"page": P, "said": what} (Chromium).
//   {"id", "do": "open", "page": P, "context": C, "url": U}   a page P, in a context (cookies, workers) C
//   {"id", "do": "run", "page": P, "code": S, "value": V}     S is the body of an async function of `value`
//   {"id", "do": "go", "page": P, "url": U}                   leaves it for another address, or reloads it
//   {"id", "do": "freeze", "page": P}                         nothing runs in it, until "thaw" (Chromium)
//   {"id", "do": "close", "page": P}
//   {"id", "do": "offline", "context": C, "value": bool}
//   {"id", "do": "serve", "context": C, "url": U, "kind", "body", "headers"}   answers this address with this
//   {"id", "do": "kill", "kind": K}                           ends what runs as a K ("shared_worker") (Chromium)
//   {"id", "do": "press", "page": P, "keys": [K, …]}          real key presses; "Tab", "Shift+Tab", "a"
//   {"id", "do": "click", "page": P, "at": S}                 a real click; S also reaches into shadow trees
//   {"id", "do": "look", "page": P, "width", "height", "scheme": "light"|"dark", "motion": "reduce"|null}
//   {"id", "do": "screenshot", "page": P, "path": F}
// usage: node pages.mjs chromium|firefox EXECUTABLE [ARGUMENT…]

import { createInterface } from "node:readline";

const [, , kind, executable, ...given] = process.argv;
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

// Both drivers have the same verbs, but for what is told apart below.
const isChromium = kind === "chromium";
const browser = isChromium ? await startChromium() : await startFirefox();
const contexts = new Map();
const pages = new Map();
const frozen = new Map();

async function startChromium() {
  const { chromium } = await import("playwright-core");
  return chromium.launch({
    executablePath: executable,
    headless: true,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync", ...given,
    ],
  });
}

async function startFirefox() {
  const puppeteer = await import("puppeteer-core");
  return puppeteer.launch({ browser: "firefox", executablePath: executable, headless: true, args: given });
}

async function context(name) {
  if (!contexts.has(name)) {
    contexts.set(name, isChromium ? browser.newContext() : browser.createBrowserContext());
  }
  return contexts.get(name);
}

const verbs = {
  async open({ page: name, context: within, url }) {
    const page = await (await context(within)).newPage();
    page.on("pageerror", (error) => process.stderr.write(`${name}: ${error.stack ?? error}\n`));
    page.on("console", (message) => process.stderr.write(`${name}: ${message.text()}\n`));
    if (isChromium) await page.exposeFunction("say", (said) => say({ page: name, said }));
    pages.set(name, page);
    return (await page.goto(url))?.status();
  },
  async go({ page, url }) {
    return (await pages.get(page).goto(url))?.status();
  },
  run({ page, code, value = null }) {
    const body = `(async (value) => {\n${code}\n})(${JSON.stringify(value)})`;
    return pages.get(page).evaluate(body);
  },
  async freeze({ page: name }) {
    const page = pages.get(name);
    // A headless browser's pages are always visible, and those it does not freeze.
    const session = await page.context().newCDPSession(page);
    await session.send("Debugger.enable");
    await session.send("Debugger.pause");
    frozen.set(name, session);
  },
  async thaw({ page }) {
    await frozen.get(page).send("Debugger.disable");
  },
  async close({ page }) {
    await pages.get(page).close();
    pages.delete(page);
  },
  async offline({ context: name, value }) {
    await (await context(name)).setOffline(value);
  },
  async serve({ context: name, url, kind, body, headers }) {
    const answer = { body, headers: { "content-type": `${kind}; charset=utf-8`, ...headers } };
    await (await context(name)).route(url, (route) => route.fulfill(answer));
  },
  async kill({ kind }) {
    const session = await browser.newBrowserCDPSession();
    const { targetInfos } = await session.send("Target.getTargets", { filter: [{}] });
    const found = targetInfos.filter(({ type }) => type === kind);
    for (const { targetId } of found) await session.send("Target.closeTarget", { targetId });
    return found.length;
  },
  async press({ page, keys }) {
    for (const key of keys) await pages.get(page).keyboard.press(key);
  },
  async click({ page, at }) {
    await pages.get(page).click(at, { timeout: 20_000 });
  },
  async look({ page: name, width, height, scheme, motion = null }) {
    const page = pages.get(name);
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
  },
  async screenshot({ page, path }) {
    await pages.get(page).screenshot({ path });
  },
};

say({ ready: await browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: verb, ...rest } = JSON.parse(line);
  Promise.resolve()
    .then(() => verbs[verb](rest))
    .then((value) => say({ id, value: value ?? null }))
    .catch((error) => say({ id, error: String(error) }));
}
await browser.close();
