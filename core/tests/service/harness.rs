//! A core in this process, on a port and in a directory of its own.
//!
//! ```ignore
//! let core = TestCore::start().await;
//! let id = core.publish(&["ada"], "hello").await;
//! let mut stream = core.subscribe("ada", Some(0)).await;
//! assert!(stream.opened().await.complete);
//! assert_eq!(stream.notification().await.id, id);
//! core.stop().await;
//! ```
//!
//! Every wait has a deadline ([`soon`]); nothing sleeps and hopes. A core that is dropped without
//! [`TestCore::stop`] ends with the test's runtime.

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use mercurio_auth::{
    ClaimRules, Issuer, SCOPE_ANY, SCOPE_PUBLISH, SigningKey, Verifier, VerifyingKey,
};
use mercurio_core::{Core, CoreSettings, ServeError, serve};
use mercurio_proto::{
    REVOCATIONS_METADATA,
    v1::{
        self as pb, notification_service_client::NotificationServiceClient,
        relay_service_client::RelayServiceClient, subscribe_response::Change,
    },
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

const SECRET: &[u8] = b"a secret of the tests, of 32 bytes or more";

/// What takes longer than this does not happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
#[track_caller]
pub fn soon<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(DEADLINE, what).await {
            Ok(done) => done,
            Err(_elapsed) => panic!("{caller}: not within {DEADLINE:?}"),
        }
    }
}

/// A running core.
pub struct TestCore {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    channel: Channel,
    serving: JoinHandle<Result<(), ServeError>>,
    registry: Registry,
    _dir: Option<TempDir>,
}

impl TestCore {
    /// A core with default settings.
    pub async fn start() -> Self {
        Self::with(CoreSettings::default()).await
    }

    /// A core with these settings, in a directory of its own.
    pub async fn with(settings: CoreSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut core = Self::at(dir.path(), settings).await;
        core._dir = Some(dir);
        core
    }

    /// A core that takes tokens by these rules.
    pub async fn by_rules(rules: ClaimRules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut core = Self::open(dir.path(), CoreSettings::default(), rules).await;
        core._dir = Some(dir);
        core
    }

    /// A core with these settings, in this directory.
    pub async fn at(dir: &Path, settings: CoreSettings) -> Self {
        Self::open(dir, settings, ClaimRules::default()).await
    }

    async fn open(dir: &Path, settings: CoreSettings, rules: ClaimRules) -> Self {
        let settings = CoreSettings {
            data_dir: dir.to_owned(),
            ..settings
        };
        let (core, registry) = tokio::task::spawn_blocking(|| {
            let mut registry = Registry::default();
            let core = Core::open(settings, None, &mut registry).unwrap();
            (core, registry)
        })
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = VerifyingKey::from_secret(SECRET).unwrap();
        let verifier = Arc::new(Verifier::new(vec![key], rules));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(core, listener, verifier, shutdown.clone()));
        let channel = connect(address).await;
        Self {
            address,
            shutdown,
            channel,
            serving,
            registry,
            _dir: None,
        }
    }

    /// Shuts the core down, and waits until it is.
    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap().unwrap();
    }

    pub fn client(&self) -> NotificationServiceClient<Channel> {
        NotificationServiceClient::new(self.channel.clone())
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20)
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A channel of its own.
    pub async fn connect(&self) -> Channel {
        connect(self.address).await
    }

    /// Publishes to these; the id.
    pub async fn publish(&self, ids: &[&str], data: &str) -> u64 {
        self.publish_as(pb::PublishRequest {
            data: data.into(),
            ..to(ids)
        })
        .await
        .unwrap()
        .id
    }

    pub async fn publish_as(
        &self,
        request: pb::PublishRequest,
    ) -> Result<pb::PublishResponse, Status> {
        let request = with(&publisher(), request);
        soon(self.client().publish(request))
            .await
            .map(tonic::Response::into_inner)
    }

    /// A live stream of this recipient's own, opened; `after` unset: from now on.
    pub async fn subscribe(&self, recipient: &str, after: Option<u64>) -> Feed {
        self.subscribe_as(subscription(recipient, after))
            .await
            .unwrap()
    }

    pub async fn subscribe_as(&self, request: pb::SubscribeRequest) -> Result<Feed, Status> {
        let token = token(&request.recipient_id, &[]);
        let opening = soon(self.client().subscribe(with(&token, request))).await?;
        Ok(Feed(opening.into_inner()))
    }

    pub async fn mark(&self, recipient: &str, ids: &[u64], read: bool) -> pb::SetReadStateResponse {
        let target = pb::set_read_state_request::Target::Ids(pb::Ids { ids: ids.to_vec() });
        let recipient_id = recipient.to_owned();
        let request = pb::SetReadStateRequest {
            recipient_id,
            target: Some(target),
            read,
        };
        let request = with(&token(recipient, &[]), request);
        soon(self.client().set_read_state(request))
            .await
            .unwrap()
            .into_inner()
    }

    /// A relay with the way to speak on it.
    pub async fn relay(&self) -> Relay {
        self.relay_as(&gateway()).await.unwrap()
    }

    pub async fn relay_as(&self, token: &str) -> Result<Relay, Status> {
        let (requests, waiting) = tokio::sync::mpsc::channel(16);
        let waiting = tokio_stream::wrappers::ReceiverStream::new(waiting);
        let mut client = RelayServiceClient::new(self.channel.clone());
        let opening = soon(client.relay(with(token, waiting))).await?;
        assert!(opening.metadata().contains_key(REVOCATIONS_METADATA));
        let mut relay = Relay {
            requests,
            messages: opening.into_inner(),
            revoked: Vec::new(),
        };
        relay.revoked = relay.revocations().await;
        Ok(relay)
    }

    /// A metric by its whole name, labels included.
    pub fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let mut values = values.map(|value| value.parse().unwrap());
        values.next().unwrap_or_else(|| panic!("{name} in\n{text}"))
    }

    /// Waits until a metric is as wanted.
    pub async fn metric_becomes(&self, name: &str, is_wanted: impl Fn(f64) -> bool) {
        let started = Instant::now();
        while !is_wanted(self.metric(name)) {
            assert!(
                started.elapsed() < DEADLINE,
                "{name} is {}",
                self.metric(name)
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

/// An open stream.
#[derive(Debug)]
pub struct Feed(pub Streaming<pb::SubscribeResponse>);

impl Feed {
    /// The next message; `None`: the stream has ended.
    pub async fn next(&mut self) -> Result<Option<pb::SubscribeResponse>, Status> {
        soon(self.0.message()).await
    }

    /// The next cursor and change.
    pub async fn change(&mut self) -> (u64, Change) {
        let message = self.next().await.unwrap().expect("the stream goes on");
        (message.cursor, message.change.expect("a change"))
    }

    pub async fn opened(&mut self) -> pb::Opened {
        match self.change().await {
            (_, Change::Opened(opened)) => opened,
            other => panic!("not opened: {other:?}"),
        }
    }

    pub async fn notification(&mut self) -> pb::Notification {
        match self.change().await {
            (cursor, Change::Notification(notification)) if cursor == notification.id => {
                notification
            }
            other => panic!("not a notification at its own cursor: {other:?}"),
        }
    }

    pub async fn read_state(&mut self) -> (u64, pb::ReadStateChanged) {
        match self.change().await {
            (cursor, Change::ReadState(change)) => (cursor, change),
            other => panic!("not a read state: {other:?}"),
        }
    }

    /// The ids of the next notifications.
    pub async fn ids(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.notification().await.id);
        }
        ids
    }

    /// What the stream ends with.
    pub async fn end(&mut self) -> Result<(), Status> {
        loop {
            if self.next().await?.is_none() {
                return Ok(());
            }
        }
    }
}

/// An open relay.
pub struct Relay {
    pub requests: tokio::sync::mpsc::Sender<pb::RelayRequest>,
    pub messages: Streaming<pb::RelayResponse>,
    /// What was revoked when it began.
    pub revoked: Vec<pb::RelayRevocation>,
}

impl Relay {
    /// What is said of revocations next, to its end.
    pub async fn revocations(&mut self) -> Vec<pb::RelayRevocation> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                pb::relay_response::Message::Revocations(told) => {
                    all.extend(told.revocations);
                    if told.complete {
                        return all;
                    }
                }
                other => panic!("not revocations: {other:?}"),
            }
        }
    }

    pub async fn join(&self, join_id: u64, ids: &[&str]) {
        let recipient_ids = owned(ids);
        self.say(pb::relay_request::Message::Join(pb::RelayJoin {
            join_id,
            recipient_ids,
        }))
        .await;
    }

    pub async fn leave(&self, ids: &[&str]) {
        let recipient_ids = owned(ids);
        self.say(pb::relay_request::Message::Leave(pb::RelayLeave {
            recipient_ids,
        }))
        .await;
    }

    pub async fn say(&self, message: pb::relay_request::Message) {
        let request = pb::RelayRequest {
            message: Some(message),
        };
        soon(self.requests.send(request)).await.unwrap();
    }

    pub async fn next(&mut self) -> pb::relay_response::Message {
        let message = soon(self.messages.message()).await.unwrap();
        message
            .expect("the relay goes on")
            .message
            .expect("a message")
    }

    /// Joins, and waits for the answer: its cursor.
    pub async fn joined(&mut self, join_id: u64, ids: &[&str]) -> u64 {
        self.join(join_id, ids).await;
        match self.next().await {
            pb::relay_response::Message::Joined(joined) if joined.join_id == join_id => {
                joined.cursor
            }
            other => panic!("not joined: {other:?}"),
        }
    }

    pub async fn entry(&mut self) -> pb::RelayEntry {
        match self.next().await {
            pb::relay_response::Message::Entry(entry) => entry,
            other => panic!("not an entry: {other:?}"),
        }
    }
}

/// A token for this user.
pub fn token(user: &str, scopes: &[&str]) -> String {
    token_for(user, scopes, Duration::from_secs(3600))
}

/// What makes the tests' tokens.
pub fn issuer() -> Issuer {
    let key = SigningKey::from_secret(SECRET).unwrap();
    Issuer::new(key, &ClaimRules::default())
}

pub fn token_for(user: &str, scopes: &[&str], ttl: Duration) -> String {
    issuer().issue(user, scopes, ttl).unwrap()
}

pub fn publisher() -> String {
    token("publisher", &[SCOPE_PUBLISH])
}

pub fn gateway() -> String {
    token("gateway", &[SCOPE_ANY])
}

/// A call with this token.
pub fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// To be published to these.
pub fn to(ids: &[&str]) -> pb::PublishRequest {
    let recipients = pb::Recipients { ids: owned(ids) };
    let audience = Some(pb::publish_request::Audience::Recipients(recipients));
    pb::PublishRequest {
        source_id: "tests".into(),
        audience,
        ..pb::PublishRequest::default()
    }
}

/// To be published to everyone.
pub fn to_everyone() -> pb::PublishRequest {
    let audience = Some(pb::publish_request::Audience::Everyone(pb::Everyone {}));
    pb::PublishRequest {
        audience,
        ..to(&[])
    }
}

pub fn subscription(recipient: &str, after: Option<u64>) -> pb::SubscribeRequest {
    let recipient_id = recipient.to_owned();
    pb::SubscribeRequest {
        recipient_id,
        after,
        ..pb::SubscribeRequest::default()
    }
}

/// Code and reason of a refusal.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("a refusal");
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "mercurio");
    (status.code(), info.reason.clone())
}

fn owned(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}
