// Opens a stream with the library that the query names, as that library's manual does it, and says
// what happens: {"type": the event's, "id", "data"}, {"type": "error"} where the library tries
// again by itself, {"type": "closed", "status"?} where it has given up.
// usage: page.html?library=…&url=…&token=…, in ../browser/pages.mjs, which has window.say

import { fetchEventSource } from "@microsoft/fetch-event-source";

const { library, url, token } = Object.fromEntries(new URLSearchParams(location.search));
const headers = { Authorization: `Bearer ${token}` };
const say = window.say;

/** Native EventSource, and what has its interface. */
function listen(source) {
  const tell = (event) => say({ type: event.type, id: event.lastEventId, data: event.data });
  source.onmessage = tell;
  for (const type of ["opened", "read-state", "closing"]) source.addEventListener(type, tell);
  source.onerror = (event) => {
    const closed = source.readyState === EventSource.CLOSED;
    say({ type: closed ? "closed" : "error", status: event.status });
  };
}

class GivenUp extends Error {}

const libraries = {
  "native-query"() {
    listen(new EventSource(`${url}?access_token=${token}`));
  },
  "native-cookie"() {
    document.cookie = `mercurio_token=${token}; SameSite=Strict`;
    listen(new EventSource(url, { withCredentials: true }));
  },
  "event-source-polyfill"() {
    listen(new EventSourcePolyfill(url, { headers }));
  },
  "fetch-event-source"() {
    // Without its own `onopen` it would take a refusal for an accident, and without a throw in
    // `onclose` an orderly end for the end of its work.
    const work = fetchEventSource(url, {
      headers,
      async onopen(response) {
        if (!response.ok) throw new GivenUp(response.status);
      },
      onmessage: ({ event, id, data }) => say({ type: event || "message", id, data }),
      onclose() {
        throw new Error("ended");
      },
      onerror(error) {
        if (error instanceof GivenUp) throw error;
        say({ type: "error", why: String(error) });
      },
    });
    work.catch((error) => say({ type: "closed", status: Number(error.message) }));
  },
};

libraries[library]();
