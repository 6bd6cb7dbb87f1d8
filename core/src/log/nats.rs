//! The log as a stream of NATS JetStream: its messages' sequences are the positions, from 1 on.
//!
//! The consumer is our own, not async-nats' ordered one, which begins at the stream's beginning when
//! it is made anew before it has delivered anything. It is ephemeral, in memory, without
//! acknowledgements, and lives no longer than the connection.

use std::{collections::HashMap, time::Duration};

use async_nats::{
    Client, ConnectOptions,
    jetstream::{
        self, ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::{CreateStreamErrorKind, GetStreamErrorKind},
        stream::{Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::Uri;
use mercurio_net::{ClientFiles, ClientTls, Dial, HTTP1, get};
use tokio::time::timeout;

use crate::store::Retention;

use super::{
    LogError, LogSettings, Position,
    broker::{Bounds, Broker, Confirmed, Delivered, Origin, Tail},
};

/// Where a stream's identity stands in its metadata.
const ID_KEY: &str = "mercurio-log";

/// Where the retention that all its cores have stands in it.
const RETENTION_KEY: &str = "mercurio-retention";

/// How long an acknowledgement may take before all is sent again.
const ACK: Duration = Duration::from_secs(5);

/// How long a server's monitoring may take to answer, and how much it may say.
const MONITOR: Duration = Duration::from_secs(2);
const MONITOR_MAX: usize = 1 << 20;

struct Nats {
    jetstream: jetstream::Context,
    stream: String,
    subject: String,
    origin: Origin,
    max_payload: usize,
}

pub(super) async fn connect(
    settings: &LogSettings,
    new: Option<Origin>,
) -> Result<Box<dyn Broker>, LogError> {
    for monitor in &settings.monitors {
        check_sync(monitor, settings).await?;
    }
    let client = client(settings).await?;
    let jetstream = jetstream::context::ContextBuilder::new()
        .timeout(Duration::from_secs(3))
        .ack_timeout(ACK)
        .build(client.clone());
    let info = stream(&jetstream, settings, new).await?;
    let origin = check(&info, settings)?;
    Ok(Box::new(Nats {
        jetstream,
        stream: info.config.name.clone(),
        subject: subject(settings),
        origin,
        max_payload: largest(client.max_payload(), info.config.max_message_size),
    }))
}

/// Bytes of the largest message that is taken, by the server and by the stream, which may have a limit
/// of its own (0 and less: none).
fn largest(server: usize, stream: i32) -> usize {
    match usize::try_from(stream) {
        Ok(stream) if stream > 0 => server.min(stream),
        _ => server,
    }
}

async fn client(settings: &LogSettings) -> Result<Client, LogError> {
    let mut options = ConnectOptions::new()
        .name("mercurio")
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_secs(1))
        // A connection that is lost is not mended here: it is made anew, and all is looked at again.
        .max_reconnects(1);
    if let Some(user) = &settings.user {
        let password = settings.password.clone().unwrap_or_default();
        options = options.user_and_password(user.clone(), password);
    }
    if let Some(file) = &settings.credentials {
        options = options.credentials_file(file).await.map_err(|error| {
            LogError::Refused(format!("read the credentials {}: {error}", file.display()))
        })?;
    }
    if let Some(ca) = &settings.ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &settings.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
        .connect(settings.urls.as_slice())
        .await
        .map_err(LogError::away)
}

fn subject(settings: &LogSettings) -> String {
    format!("{}.log", settings.name)
}

/// The stream, made where there is none. Who makes it first says which log it is.
async fn stream(
    jetstream: &jetstream::Context,
    settings: &LogSettings,
    new: Option<Origin>,
) -> Result<Info, LogError> {
    let found = jetstream.get_stream(&settings.name).await;
    let error = match found {
        Ok(stream) => return Ok(stream.cached_info().clone()),
        Err(error) => error,
    };
    let is_missing = matches!(error.kind(), GetStreamErrorKind::JetStream(ref error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND);
    // Said as well while the cluster has no leader: what this core knew before may come back.
    let Some(new) = new.filter(|_| is_missing) else {
        return Err(LogError::away(error));
    };
    let mut metadata = HashMap::from([(ID_KEY.to_owned(), new.log.to_string())]);
    metadata.extend(
        new.retention
            .map(|retention| (RETENTION_KEY.to_owned(), retention.to_text())),
    );
    let config = Config {
        name: settings.name.clone(),
        subjects: vec![subject(settings)],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: settings.replicas,
        max_age: settings.max_age.unwrap_or_default(),
        allow_direct: false,
        deny_delete: true,
        metadata,
        ..Config::default()
    };
    match jetstream.create_stream(config).await {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(error) => match error.kind() {
            // Another core was faster, and says which log it is.
            CreateStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NAME_EXIST =>
            {
                let stream = jetstream.get_stream(&settings.name).await;
                Ok(stream.map_err(LogError::away)?.cached_info().clone())
            }
            _ => Err(LogError::away(format!(
                "create the stream `{}`: {error}",
                settings.name
            ))),
        },
    }
}

/// A server that acknowledges before it has synced is refused. Its clients can't ask it; its monitoring
/// says it. One that doesn't answer now may be the one that failed, and is passed over.
async fn check_sync(monitor: &str, settings: &LogSettings) -> Result<(), LogError> {
    let refused = |why: String| LogError::Refused(format!("--log-monitor-url {monitor}: {why}"));
    let url = format!("{}/jsz?config=true", monitor.trim_end_matches('/'));
    let url: Uri = url.parse().map_err(|_| refused("no address".into()))?;
    let tls = match url.scheme_str() {
        Some("https") => {
            let files = ClientFiles {
                ca: settings.ca.clone(),
                own: None,
            };
            let tls = ClientTls::load(files, HTTP1);
            Some(tls.map_err(|error| refused(error.to_string()))?)
        }
        _ => None,
    };
    let answer = timeout(MONITOR, get(&url, &Dial::Tcp(tls), MONITOR_MAX)).await;
    let said = match answer {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => {
            tracing::warn!(monitor, error, "can't ask whether this server syncs");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!(monitor, "can't ask whether this server syncs: no answer");
            return Ok(());
        }
    };
    let said: serde_json::Value = serde_json::from_slice(&said)
        .map_err(|_| refused("the answer is not that of a NATS server".into()))?;
    if said["config"]["sync_always"] == true {
        return Ok(());
    }
    if said["config"]["store_dir"]
        .as_str()
        .is_none_or(str::is_empty)
    {
        return Err(LogError::away(format!("{monitor}: no JetStream there yet")));
    }
    Err(refused(
        "this server acknowledges what it has not synced: set `sync_interval: always` in its \
         `jetstream` block"
            .into(),
    ))
}

/// A stream that keeps less than was asked for is refused.
fn check(info: &Info, settings: &LogSettings) -> Result<Origin, LogError> {
    let config = &info.config;
    let refuse = |what: String| {
        Err(LogError::Refused(format!(
            "the stream `{}` {what}",
            config.name
        )))
    };
    if config.num_replicas < settings.replicas {
        return refuse(format!(
            "has {} replicas, and {} are asked for: raise them on the server, or lower \
             `--log-replicas`",
            config.num_replicas, settings.replicas
        ));
    }
    if config.storage != StorageType::File {
        return refuse("is kept in memory: a log has to be kept in files".into());
    }
    if config.persist_mode == Some(PersistenceMode::Async) {
        return refuse("is written asynchronously: what is acknowledged would not be safe".into());
    }
    if config.retention != RetentionPolicy::Limits || config.no_ack {
        return refuse(
            "is no log: it has to have the retention `limits`, and acknowledgements".into(),
        );
    }
    if config.max_messages_per_subject > 0 {
        return refuse("drops messages by their subject".into());
    }
    let Some(Ok(log)) = config.metadata.get(ID_KEY).map(|id| id.parse()) else {
        return refuse(format!(
            "is not one of Mercurio's: its metadata has no `{ID_KEY}`; choose another `--log-name`"
        ));
    };
    let noted: Option<Result<Retention, ()>> =
        config.metadata.get(RETENTION_KEY).map(|text| text.parse());
    match noted.transpose() {
        Ok(retention) => Ok(Origin { log, retention }),
        Err(()) => refuse(format!("has a `{RETENTION_KEY}` that can't be read")),
    }
}

#[tonic::async_trait]
impl Broker for Nats {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        let stream = self.jetstream.get_stream(&self.stream).await;
        let state = &stream.map_err(LogError::away)?.cached_info().state.clone();
        Ok(Bounds {
            first: state.first_sequence.max(1),
            last: state.last_sequence,
        })
    }

    async fn append(&self, payload: Bytes) -> Result<Confirmed, LogError> {
        let sent = self.jetstream.publish(self.subject.clone(), payload).await;
        let acknowledged = sent.map_err(LogError::away)?.into_future();
        Ok(acknowledged
            .map(|ack| ack.map(drop).map_err(LogError::away))
            .boxed())
    }

    async fn tail(&self, from: Position) -> Result<Tail, LogError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: from,
            },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(30),
            ..pull::Config::default()
        };
        let consumer = self
            .jetstream
            .create_consumer_on_stream(config, self.stream.as_str())
            .await
            .map_err(LogError::away)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(500)
            .expires(Duration::from_secs(5))
            .heartbeat(Duration::from_millis(500))
            .messages()
            .await
            .map_err(LogError::away)?;
        let messages = messages.map_err(LogError::away).and_then(async |message| {
            let info = message.info().map_err(LogError::away)?;
            let (position, at) = (info.stream_sequence, info.published);
            let millis = at.unix_timestamp_nanos() / 1_000_000;
            Ok(Delivered {
                position,
                at: u64::try_from(millis).ok(),
                payload: message.message.payload,
            })
        });
        Ok(messages.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_counts() {
        for (stream, is) in [(-1, 1000), (0, 1000), (400, 400), (4000, 1000)] {
            assert_eq!(largest(1000, stream), is, "{stream}");
        }
    }
}
