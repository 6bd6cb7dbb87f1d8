//! Server-Sent Events as a browser reads them: the parser follows the EventSource section of the
//! HTML standard, not our server's idea of it.

use std::{io, net::SocketAddr};

use crate::{
    http::{Open, Request},
    wait::{SOON, within},
};

/// What a stream brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A dispatched event.
    Event(Event),
    /// A comment line, without its colon.
    Comment(String),
    /// A reconnection time in milliseconds.
    Retry(u64),
}

/// One event as a browser would dispatch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `lastEventId`: the last `id:` seen on the stream, also one of an earlier event.
    pub id: String,
    /// The event's type: `message` where none is named.
    pub name: String,
    /// The data, lines joined by LF.
    pub data: String,
}

impl Event {
    /// The data as JSON; panics where it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {:?}", self.data))
    }

    /// The id as a cursor; panics where it is not a number.
    pub fn cursor(&self) -> u64 {
        self.id
            .parse()
            .unwrap_or_else(|_| panic!("not a cursor: {self:?}"))
    }
}

/// Bytes in, items out.
#[derive(Default)]
pub struct Parser {
    buffer: Vec<u8>,
    started: bool,
    /// The last line ended with CR: an LF right after it belongs to it.
    after_cr: bool,
    last_id: String,
    name: String,
    data: String,
}

impl Parser {
    /// A parser whose `lastEventId` begins as `last_id`, as it does after a reconnect.
    pub fn resuming(last_id: &str) -> Parser {
        Parser {
            last_id: last_id.to_owned(),
            ..Parser::default()
        }
    }

    /// Takes the next bytes and gives what they completed.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            let lf_of_crlf = byte == b'\n' && std::mem::take(&mut self.after_cr);
            if lf_of_crlf {
                continue;
            }
            self.after_cr = byte == b'\r';
            if byte == b'\n' || byte == b'\r' {
                let line = std::mem::take(&mut self.buffer);
                let line = String::from_utf8_lossy(&line);
                let line = if self.started {
                    &line
                } else {
                    line.trim_start_matches('\u{feff}')
                };
                self.started = true;
                self.line(line, &mut items);
            } else {
                self.buffer.push(byte);
            }
        }
        items
    }

    fn line(&mut self, line: &str, items: &mut Vec<Item>) {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let mut data = std::mem::take(&mut self.data);
            if data.pop().is_some() {
                let name = if name.is_empty() {
                    "message".to_owned()
                } else {
                    name
                };
                items.push(Item::Event(Event {
                    id: self.last_id.clone(),
                    name,
                    data,
                }));
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let unspaced = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => items.push(Item::Comment(value.to_owned())),
            "event" => self.name = unspaced.to_owned(),
            "data" => {
                self.data += unspaced;
                self.data.push('\n');
            }
            "id" if !unspaced.contains('\0') => self.last_id = unspaced.to_owned(),
            "retry" if !unspaced.is_empty() && unspaced.bytes().all(|b| b.is_ascii_digit()) => {
                items.extend(unspaced.parse().ok().map(Item::Retry));
            }
            _ => {}
        }
    }
}

/// One open connection to a stream.
pub struct Stream {
    /// The answer's head.
    pub open: Open,
    parser: Parser,
    ready: std::collections::VecDeque<Item>,
    /// The last `retry:` seen, in milliseconds.
    pub retry: Option<u64>,
}

impl Stream {
    /// Sends the request and reads the head; panics unless it is answered 200 with an event stream.
    pub async fn open(to: SocketAddr, request: Request) -> Stream {
        let stream = within("the stream's head", SOON, Self::try_open(to, request, "")).await;
        stream.unwrap_or_else(|error| panic!("open the stream: {error}"))
    }

    /// Opens a stream as a reconnecting browser does: `last_id` is what it has seen.
    pub async fn try_open(to: SocketAddr, request: Request, last_id: &str) -> io::Result<Stream> {
        let mut request = request.header("Accept", "text/event-stream");
        if !last_id.is_empty() {
            request = request.header("Last-Event-ID", last_id);
        }
        let mut open = request.open(to).await?;
        if open.status != 200 {
            let body = open.chunk().await?.unwrap_or_default();
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(io::Error::other(format!("{}: {body}", open.status)));
        }
        let kind = open.header("content-type").unwrap_or("");
        if !kind.starts_with("text/event-stream") {
            return Err(io::Error::other(format!("not an event stream: {kind:?}")));
        }
        Ok(Stream {
            open,
            parser: Parser::resuming(last_id),
            ready: Default::default(),
            retry: None,
        })
    }

    /// The next item; `None` at the stream's end. A broken connection is an error.
    pub async fn item(&mut self) -> io::Result<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                if let Item::Retry(ms) = item {
                    self.retry = Some(ms);
                }
                return Ok(Some(item));
            }
            let Some(chunk) = self.open.chunk().await? else {
                return Ok(None);
            };
            self.ready.extend(self.parser.push(&chunk));
        }
    }

    /// The next event, comments and retries passed over; `None` at the stream's end.
    pub async fn try_event(&mut self) -> io::Result<Option<Event>> {
        while let Some(item) = self.item().await? {
            if let Item::Event(event) = item {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The next event; panics at the stream's end or when none comes soon.
    pub async fn event(&mut self) -> Event {
        within("the next event", SOON, self.try_event())
            .await
            .expect("read the stream")
            .expect("the stream goes on")
    }

    /// The next event, which has to be of this type.
    #[track_caller]
    pub fn expect(&mut self, name: &'static str) -> impl Future<Output = Event> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let event = self.event().await;
            assert_eq!(event.name, name, "at {caller}: {event:?}");
            event
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Item> {
        // Byte by byte: no item may depend on how the bytes were cut.
        let mut parser = Parser::default();
        let whole = Parser::default().push(text.as_bytes());
        let cut: Vec<Item> = text.bytes().flat_map(|b| parser.push(&[b])).collect();
        assert_eq!(whole, cut);
        whole
    }

    fn event(id: &str, name: &str, data: &str) -> Item {
        Item::Event(Event {
            id: id.into(),
            name: name.into(),
            data: data.into(),
        })
    }

    #[test]
    fn the_standards_examples() {
        assert_eq!(
            parse("data: YHOO\ndata: +2\ndata: 10\n\n"),
            [event("", "message", "YHOO\n+2\n10")]
        );
        assert_eq!(
            parse(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
            ),
            [
                Item::Comment(" test stream".into()),
                event("1", "message", "first event"),
                event("", "message", "second event"),
            ]
        );
        assert_eq!(
            parse("data\n\ndata\ndata\n\ndata:"),
            [event("", "message", ""), event("", "message", "\n")]
        );
    }

    #[test]
    fn line_ends_ids_and_retries() {
        assert_eq!(
            parse("\u{feff}retry: 3000\r\nid: 7\revent: x\r\ndata: a\r\r\n"),
            [Item::Retry(3000), event("7", "x", "a")]
        );
        assert_eq!(
            parse("retry: 3s\nid: a\0b\ndata: 1\n\n"),
            [event("", "message", "1")]
        );
        assert_eq!(
            parse("event: lost\n\ndata: kept\n\n"),
            [event("", "message", "kept")]
        );
        // An id without data is kept for the next event, as a browser keeps it.
        assert_eq!(parse("id: 5\n\ndata: x\n\n"), [event("5", "message", "x")]);
    }
}
