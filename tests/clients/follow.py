"""Follows a stream with httpx-sse, reconnecting as its manual shows. Says what page.mjs does.

usage: python3 follow.py URL TOKEN
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse


def say(**what):
    print(json.dumps(what), flush=True)


def follow(client, url, token):
    last_event_id = ""
    delay = 0.0
    while True:
        headers = {"Authorization": f"Bearer {token}"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        try:
            with connect_sse(client, "GET", url, headers=headers) as source:
                source.response.raise_for_status()
                for sse in source.iter_sse():
                    last_event_id = sse.id
                    if sse.retry is not None:
                        delay = sse.retry / 1000
                    say(type=sse.event, id=sse.id, data=sse.data)
            say(type="error", why="ended")
        except httpx.HTTPStatusError as error:
            say(type="closed", status=error.response.status_code)
            return
        except httpx.TransportError as error:
            say(type="error", why=repr(error))
        time.sleep(delay)


# httpx gives up reading after 5 s by itself; the gateway's heartbeats come every 15 s.
with httpx.Client(timeout=httpx.Timeout(5, read=60)) as client:
    follow(client, sys.argv[1], sys.argv[2])
