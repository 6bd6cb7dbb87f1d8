//! Publishing at a fixed rate: an event that is late is counted as late from when it was due.

use std::{ops::Range, sync::Arc, time::Duration};

use mercurio_proto::v1::{
    Everyone, PublishRequest, Recipients, notification_service_client::NotificationServiceClient,
    publish_request::Audience,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tonic::{Request, metadata::MetadataValue, transport::Channel};

use crate::{
    readers::{Shared, mark},
    target::{Target, user_name},
};

/// For whom an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Everyone,
    User(u32),
}

/// How it is published.
#[derive(Clone)]
pub enum Publisher {
    Grpc(Grpc),
    /// nchan and the floor: HTTP on one connection, one after the other.
    Http(Arc<tokio::sync::Mutex<TcpStream>>),
}

/// A client of the core.
#[derive(Clone)]
pub struct Grpc {
    pub client: NotificationServiceClient<Channel>,
    bearer: MetadataValue<tonic::metadata::Ascii>,
}

impl Grpc {
    /// A connection of its own.
    pub async fn connect(target: &Target) -> Self {
        let address = target.grpc.expect("a core");
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint
            .tcp_nodelay(true)
            .connect()
            .await
            .expect("the core answers");
        let bearer = format!("Bearer {}", target.publisher_token());
        Self {
            client: NotificationServiceClient::new(channel).max_decoding_message_size(64 << 20),
            bearer: bearer.parse().expect("a header value"),
        }
    }

    /// A request with the token.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.bearer.clone());
        request
    }
}

impl Publisher {
    pub async fn connect(target: &Target) -> Self {
        if target.kind.has_grpc() {
            return Self::Grpc(Grpc::connect(target).await);
        }
        let socket = TcpStream::connect(target.http).await.expect("it listens");
        socket.set_nodelay(true).expect("set TCP_NODELAY");
        Self::Http(Arc::new(tokio::sync::Mutex::new(socket)))
    }

    /// Publishes; back when it is acknowledged.
    pub async fn publish(&self, to: To, data: String) {
        match self {
            Self::Grpc(grpc) => {
                let audience = match to {
                    To::Everyone => Audience::Everyone(Everyone {}),
                    To::User(user) => Audience::Recipients(Recipients {
                        ids: vec![user_name(user)],
                    }),
                };
                let request = grpc.request(PublishRequest {
                    source_id: "bench".into(),
                    audience: Some(audience),
                    topic: "bench.event".into(),
                    data,
                    ..PublishRequest::default()
                });
                grpc.client
                    .clone()
                    .publish(request)
                    .await
                    .expect("published");
            }
            Self::Http(socket) => {
                let channel = match to {
                    To::Everyone => "all".to_owned(),
                    To::User(user) => user_name(user),
                };
                let length = data.len();
                let request = format!(
                    "POST /pub?id={channel} HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n{data}"
                );
                let mut socket = socket.lock().await;
                socket.write_all(request.as_bytes()).await.expect("written");
                read_answer(&mut socket).await;
            }
        }
    }
}

/// Reads an answer with a short body, or none.
async fn read_answer(socket: &mut TcpStream) {
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 2048];
        let read = socket.read(&mut buffer).await.expect("an answer");
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("http/1.1 2"), "{text}");
        let length = head
            .split_once("content-length:")
            .map(|(_, rest)| rest.trim_start());
        let digits = length.map_or("", |rest| rest.split("\r\n").next().unwrap_or_default());
        if body.len() >= digits.trim().parse().unwrap_or(0) {
            return;
        }
    }
}

/// Bytes of an event's data.
const DATA: usize = 160;

/// Publishes the events of these numbers, `rate` a second, none waiting for the one before.
pub async fn publish_at(
    publisher: &Publisher,
    shared: &Arc<Shared>,
    rate: f64,
    numbers: Range<u64>,
    mut to: impl FnMut(u64) -> To,
) {
    let begin = Instant::now();
    let mut running = JoinSet::new();
    let first = numbers.start;
    for number in numbers {
        let due = begin + Duration::from_secs_f64((number - first) as f64 / rate);
        sleep_until(due).await;
        let since = due.into_std().saturating_duration_since(shared.start);
        let to = to(number);
        let mut data = mark(to == To::Everyone, number, since);
        data.extend(std::iter::repeat_n('x', DATA.saturating_sub(data.len())));
        let publisher = publisher.clone();
        running.spawn(async move { publisher.publish(to, data).await });
        while running.try_join_next().is_some_and(|done| {
            done.expect("published");
            true
        }) {}
    }
    while let Some(done) = running.join_next().await {
        done.expect("published");
    }
}
