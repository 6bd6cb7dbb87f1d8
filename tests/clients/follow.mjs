// Follows a stream with the package `eventsource`. Says what page.mjs does, one JSON a line.
// usage: node follow.mjs URL TOKEN

import { EventSource } from "eventsource";

const [url, token] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

const source = new EventSource(url, {
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});
const tell = (event) => say({ type: event.type, id: event.lastEventId, data: event.data });
for (const type of ["message", "opened", "read-state", "closing"]) {
  source.addEventListener(type, tell);
}
source.addEventListener("error", ({ code }) => {
  const closed = source.readyState === EventSource.CLOSED;
  say({ type: closed ? "closed" : "error", status: code });
});
