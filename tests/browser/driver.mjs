// Drives a headless Chromium for tests/browser.rs.
//
// Reads commands, one JSON a line; writes what happens, one JSON a line.
//   {"page": URL}                          opens a page          -> {"page": STATUS}
//   {"stream": URL, "name": N}             a native EventSource  -> {"name": N, "type": …, "id", "data"}
//   {"fetch": URL, "name": N, "options"}   fetch() in the page   -> {"name": N, "type": "fetched", "status", "data"}
// usage: node driver.mjs CHROMIUM [ARGUMENTS OF ITS OWN]

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const browser = await chromium.launch({
  executablePath: process.argv[2],
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ...process.argv.slice(3),
  ],
});
const page = await browser.newPage();
await page.exposeFunction("say", say);

// Runs in the page.
const openStream = ({ stream, name }) => {
  const source = new EventSource(stream);
  const tell = (event) =>
    window.say({ name, type: event.type, id: event.lastEventId, data: event.data });
  source.onopen = () => window.say({ name, type: "open" });
  source.onerror = () => window.say({ name, type: "error", state: source.readyState });
  source.onmessage = tell;
  for (const type of ["opened", "read-state", "closing"]) source.addEventListener(type, tell);
};

// Runs in the page.
const fetchThere = async ({ fetch: url, name, options }) => {
  try {
    const answer = await fetch(url, options);
    window.say({ name, type: "fetched", status: answer.status, data: await answer.text() });
  } catch (error) {
    window.say({ name, type: "fetched", status: 0, data: String(error) });
  }
};

say({ ready: browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.page) {
    const answer = await page.goto(command.page);
    say({ page: answer?.status() });
  } else if (command.stream) {
    await page.evaluate(openStream, command);
  } else if (command.fetch) {
    await page.evaluate(fetchThere, command);
  }
}
await browser.close();
