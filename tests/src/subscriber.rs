//! Subscribers that reconnect and resume by themselves, as a browser or a service does, and
//! write down what they see.

use std::{net::SocketAddr, ops::Range, time::Duration};

use mercurio_proto::v1::SubscribeRequest;
use tokio::task::JoinHandle;

use crate::{
    grpc::{Api, feed},
    http::{Request, escape},
    record::{Change, Entry, Record},
    sse::Stream,
};

/// The longest pause before a reconnect, whatever the server asks for: tests are in a hurry.
const PAUSE: Duration = Duration::from_millis(50);

/// A subscriber at work. It ends when dropped.
pub struct Subscriber {
    /// What it has seen.
    pub record: Record,
    task: JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a subscriber behaves.
#[derive(Clone, Default)]
pub struct Manner {
    /// Where it starts; `None`: from now on.
    pub after: Option<u64>,
    /// Topic filters.
    pub topics: Vec<String>,
    /// Hangs up by itself after so many entries, each time a number in this range.
    pub hang_up: Option<Range<usize>>,
}

impl Manner {
    /// From the oldest kept.
    pub fn from_start() -> Manner {
        Manner {
            after: Some(0),
            ..Manner::default()
        }
    }

    /// Hanging up after so many entries.
    pub fn hanging_up(self, after: Range<usize>) -> Manner {
        Manner {
            hang_up: Some(after),
            ..self
        }
    }

    fn patience(&self) -> usize {
        self.hang_up.clone().map_or(usize::MAX, fastrand::usize)
    }
}

impl Subscriber {
    /// A browser: native EventSource's behaviour over HTTP.
    pub fn sse(to: SocketAddr, token: &str, user: &str, manner: Manner) -> Subscriber {
        let record = Record::default();
        let topics: Vec<String> = manner
            .topics
            .iter()
            .map(|topic| format!("topic={}", escape(topic)))
            .collect();
        let path = format!("/api/clients/{}/notifications/stream", escape(user));
        let path = format!("{path}?{}", topics.join("&"));
        let request = Request::get(path).bearer(token);
        let seen = record.clone();
        let task = tokio::spawn(async move {
            let mut last = manner
                .after
                .map(|after| after.to_string())
                .unwrap_or_default();
            loop {
                if let Ok(stream) = Stream::try_open(to, request.clone(), &last).await {
                    read_sse(stream, manner.patience(), &mut last, &seen).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Subscriber { record, task }
    }

    /// A service: gRPC, resuming with `after`.
    pub fn grpc(api: Api, user: &str, manner: Manner) -> Subscriber {
        let record = Record::default();
        let mut request = SubscribeRequest {
            topics: manner.topics.clone(),
            ..feed(user, manner.after)
        };
        let seen = record.clone();
        let task = tokio::spawn(async move {
            loop {
                let mut patience = manner.patience();
                if let Ok(mut stream) = api.try_subscribe(request.clone()).await {
                    while let (true, Ok(Some(message))) = (patience > 0, stream.message().await) {
                        request.after = Some(message.cursor);
                        seen.push((&message).into());
                        patience -= 1;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Subscriber { record, task }
    }

    /// Waits until its stream is open.
    pub async fn opened(self) -> Subscriber {
        let open = |all: &[Entry]| {
            all.last()
                .is_some_and(|entry| !matches!(entry.change, Change::Closing(_)))
        };
        self.record
            .wait_until("the stream opens", crate::wait::SOON, open)
            .await;
        self
    }

    /// Panics where the task has: an event it could not read.
    pub fn check_alive(&self) {
        assert!(!self.task.is_finished(), "the subscriber's task has ended");
    }
}

async fn read_sse(mut stream: Stream, mut patience: usize, last: &mut String, seen: &Record) {
    while patience > 0 {
        let Ok(Some(event)) = stream.try_event().await else {
            return;
        };
        last.clone_from(&event.id);
        seen.push((&event).into());
        patience -= 1;
    }
}
