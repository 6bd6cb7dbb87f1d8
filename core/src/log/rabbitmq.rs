//! The log as a stream queue of RabbitMQ, over AMQP 0.9.1: a message's offset plus one is its
//! position.
//!
//! A queue has no room for an identity, so each message says which log it is of, and the first one
//! says nothing else. Where the queue ends can't be asked: it is what the last chunk ends with. When
//! a message came isn't said either, but the queue can be read from a time on: so it is known whether
//! this core's clock is ahead of the servers'.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions,
        BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
    uri::AMQPUri,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{clock, entry::Millis};

use super::{
    CLOCK_AHEAD, LogError, LogSettings, Message, Position,
    broker::{Bounds, Broker, Confirmed, Delivered, Origin, Tail},
};

/// Deliveries that may be under way; acknowledged as they are read.
const PREFETCH: u16 = 500;

/// Of them when it is only looked where the queue ends: the last chunk's may be large.
const LOOKED_AT: u16 = 32;

/// How long the first message of a queue may take to come; an empty one has none.
const FIRST: Duration = Duration::from_secs(2);

/// How long it may take where there is one.
const FIRST_OF_SOME: Duration = Duration::from_secs(4);

/// A last chunk that has been read this long ago is read whole.
const QUIET: Duration = Duration::from_millis(250);

/// Bytes of a message that a server takes by default, in its newest version (`max_message_size`).
const MAX_PAYLOAD: usize = 16 << 20;

struct RabbitMq {
    /// Closed when it is dropped.
    connection: Connection,
    channel: Channel,
    queue: ShortString,
    origin: Origin,
}

pub(super) async fn connect(
    settings: &LogSettings,
    new: Option<Origin>,
) -> Result<Box<dyn Broker>, LogError> {
    let connection = connection(settings).await?;
    let channel = connection.create_channel().await.map_err(LogError::away)?;
    let confirms = ConfirmSelectOptions::default();
    channel
        .confirm_select(confirms)
        .await
        .map_err(LogError::away)?;
    let queue = ShortString::from(settings.name.as_str());
    declare(&connection, settings, new.is_some()).await?;
    let looks = connection.create_channel().await.map_err(LogError::away)?;
    let origin = match (identity(&looks, &queue).await?, new) {
        (Some(origin), _) => origin,
        (None, Some(new)) => {
            // Another core may do the same: the first one says which log it is.
            say_nothing(&channel, &queue, &new).await?;
            let found = identity(&looks, &queue).await?;
            found.ok_or_else(|| LogError::away("the queue has not got its first message yet"))?
        }
        (None, None) => {
            return Err(LogError::away("the queue is empty, or has no leader yet"));
        }
    };
    say_nothing(&channel, &queue, &origin).await?;
    check_clock(&looks, &queue, clock::now()).await?;
    done_looking(looks).await?;
    Ok(Box::new(RabbitMq {
        connection,
        channel,
        queue,
        origin,
    }))
}

/// Appends a message that changes nothing, not even the time.
async fn say_nothing(
    channel: &Channel,
    queue: &ShortString,
    origin: &Origin,
) -> Result<(), LogError> {
    let nothing = Message::stamped(&Message::body(origin, &[]), 0, None);
    publish(channel, queue, &nothing).await?.await
}

/// Refuses a clock that is ahead of the servers': a message was just appended, so the queue has
/// something from a moment ago on.
async fn check_clock(channel: &Channel, queue: &ShortString, now: Millis) -> Result<(), LogError> {
    let there = first(channel, queue, "end", offset_text("last"), FIRST_OF_SOME).await?;
    let since = (now / 1000).saturating_sub(CLOCK_AHEAD.as_secs());
    let newer = first(channel, queue, "clock", AMQPValue::Timestamp(since), FIRST).await?;
    // Where there is nothing so new, what comes is what is appended from now on.
    match (newer, there) {
        (Some(newer), Some(there)) if position(&newer)? <= position(&there)? => Ok(()),
        _ => Err(LogError::Away(format!(
            "this core's clock is more than {} s ahead of the servers': set it right",
            CLOCK_AHEAD.as_secs()
        ))),
    }
}

/// A server that answers, any of them: one may answer and still be of no use.
async fn connection(settings: &LogSettings) -> Result<Connection, LogError> {
    let mut last = LogError::away("no `--log-url` is given");
    let mut urls = settings.urls.clone();
    fastrand::shuffle(&mut urls);
    for url in &urls {
        let mut uri: AMQPUri = url.parse().map_err(|error| {
            LogError::Refused(format!("`--log-url` is no AMQP address: {error}"))
        })?;
        if let Some(user) = &settings.user {
            uri.authority.userinfo.username = user.clone();
            uri.authority.userinfo.password = settings.password.clone().unwrap_or_default();
        }
        uri.query.heartbeat = Some(2);
        uri.query.connection_timeout = Some(2000);
        let properties = ConnectionProperties::default().with_connection_name("mercurio".into());
        let connecting = match &settings.ca {
            None => Connection::connect_uri(uri, properties).boxed(),
            Some(ca) => {
                let chain = std::fs::read_to_string(ca).map_err(|error| {
                    LogError::Refused(format!("read {}: {error}", ca.display()))
                })?;
                let tls = lapin::tcp::OwnedTLSConfig {
                    identity: None,
                    cert_chain: Some(chain),
                };
                async move {
                    lapin::ConnectionBuilder::new()?
                        .with_uri(uri)
                        .with_properties(properties)
                        .with_tls_config(tls)
                        .connect()
                        .await
                }
                .boxed()
            }
        };
        match timeout(Duration::from_secs(3), connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = LogError::away(error),
            Err(_) => last = LogError::away("no answer within 3 s"),
        }
    }
    Err(last)
}

/// Makes the queue where there is none and one may be made, and looks whether it is as asked for.
async fn declare(
    connection: &Connection,
    settings: &LogSettings,
    create: bool,
) -> Result<(), LogError> {
    if !create {
        // It must be there. This ignores the arguments: they are compared below.
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        declare_by(connection, settings, passive)
            .await
            .map_err(LogError::away)?;
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = declare_by(connection, settings, options).await;
    declared.or_else(|error| match reply(&error) {
        Some(PRECONDITION_FAILED) => Err(LogError::Refused(format!(
            "the queue `{}` is there with other settings than `--log-replicas` and \
             `--log-max-age` ask for; give those with which it was made: {error}",
            settings.name
        ))),
        Some(ACCESS_REFUSED) if !create => {
            tracing::warn!(
                "`--log-replicas` and `--log-max-age` are not compared with the queue's: this user \
                 may not declare it"
            );
            Ok(())
        }
        _ => Err(LogError::away(error)),
    })
}

/// On a channel of its own, which a server closes that says no.
async fn declare_by(
    connection: &Connection,
    settings: &LogSettings,
    options: QueueDeclareOptions,
) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    arguments.insert("x-queue-type".into(), text("stream"));
    let replicas = i32::try_from(settings.replicas).unwrap_or(i32::MAX);
    arguments.insert(
        "x-initial-cluster-size".into(),
        AMQPValue::LongInt(replicas),
    );
    if let Some(age) = settings.max_age {
        arguments.insert("x-max-age".into(), text(&format!("{}s", age.as_secs())));
    }
    let channel = connection.create_channel().await?;
    let name = settings.name.as_str().into();
    channel.queue_declare(name, options, arguments).await?;
    channel.close(200, "declared".into()).await
}

/// What the server answered, where it said no.
fn reply(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(protocol) => Some(protocol.get_id()),
        _ => None,
    }
}

/// AMQP's reply codes.
const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;

/// Which log the queue's first message is of. `None`: it has none.
async fn identity(channel: &Channel, queue: &ShortString) -> Result<Option<Origin>, LogError> {
    let Some(first) = first(channel, queue, "identity", offset_text("first"), FIRST).await? else {
        return Ok(None);
    };
    match Message::decode(&first.data) {
        Ok(message) => Ok(Some(message.origin)),
        Err(_) => Err(LogError::Refused(format!(
            "the queue `{queue}` is not one of Mercurio's, or a newer version's: choose another \
             `--log-name`"
        ))),
    }
}

fn offset_text(offset: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(offset))
}

async fn consume(
    channel: &Channel,
    queue: &ShortString,
    tag: &str,
    offset: AMQPValue,
    prefetch: u16,
) -> Result<Consumer, LogError> {
    channel
        .basic_qos(prefetch, BasicQosOptions::default())
        .await
        .map_err(LogError::away)?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), offset);
    channel
        .basic_consume(
            queue.clone(),
            tag.into(),
            BasicConsumeOptions::default(),
            arguments,
        )
        .await
        .map_err(LogError::away)
}

/// What the queue has first from there on. `None`: nothing came.
async fn first(
    channel: &Channel,
    queue: &ShortString,
    tag: &str,
    offset: AMQPValue,
    patience: Duration,
) -> Result<Option<Delivery>, LogError> {
    let mut consumer = consume(channel, queue, tag, offset, 1).await?;
    let first = timeout(patience, consumer.next()).await;
    cancel(channel, &consumer).await?;
    let Ok(Some(first)) = first else {
        return Ok(None);
    };
    let first = first.map_err(LogError::away)?;
    let acked = first.ack(BasicAckOptions::default()).await;
    acked.map_err(LogError::away)?;
    Ok(Some(first))
}

async fn done_looking(looks: Channel) -> Result<(), LogError> {
    let closed = looks.close(200, "looked".into()).await;
    closed.map_err(LogError::away)
}

async fn cancel(channel: &Channel, consumer: &Consumer) -> Result<(), LogError> {
    channel
        .basic_cancel(consumer.tag(), BasicCancelOptions::default())
        .await
        .map_err(LogError::away)
}

async fn publish(
    channel: &Channel,
    queue: &ShortString,
    payload: &[u8],
) -> Result<Confirmed, LogError> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let sent = channel
        .basic_publish("".into(), queue.clone(), options, payload, properties)
        .await
        .map_err(LogError::away)?;
    Ok(async move {
        match timeout(Duration::from_secs(5), sent).await {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            Ok(Ok(other)) => Err(LogError::away(format!("not confirmed: {other:?}"))),
            Ok(Err(error)) => Err(LogError::away(error)),
            Err(_) => Err(LogError::away("not confirmed within 5 s")),
        }
    }
    .boxed())
}

/// A delivery's place.
fn position(delivery: &Delivery) -> Result<Position, LogError> {
    let headers = delivery.properties.headers().as_ref();
    let offset = headers.and_then(|headers| headers.inner().get("x-stream-offset"));
    match offset {
        Some(AMQPValue::LongLongInt(offset)) if *offset >= 0 => Ok(offset.unsigned_abs() + 1),
        _ => Err(LogError::Refused(
            "a message has no offset: the queue is no stream".into(),
        )),
    }
}

#[tonic::async_trait]
impl Broker for RabbitMq {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn max_payload(&self) -> usize {
        MAX_PAYLOAD
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        // A channel of its own: what is delivered and not acknowledged goes with it. Some always comes while
        // a look ends, and would add up.
        let looks = self.connection.create_channel().await;
        let looks = looks.map_err(LogError::away)?;
        let offset = offset_text("first");
        let begins = first(&looks, &self.queue, "first", offset, FIRST_OF_SOME).await?;
        let begins =
            begins.ok_or_else(|| LogError::away("the queue's first message did not come"))?;
        let begins = position(&begins)?;
        let offset = offset_text("last");
        let mut chunk = consume(&looks, &self.queue, "last", offset, LOOKED_AT).await?;
        let mut last = begins;
        // What comes meanwhile comes without end: it is looked for a moment only.
        let mut until = Instant::now() + FIRST;
        let mut has_come = false;
        while let Ok(Some(delivery)) = timeout_at(until, chunk.next()).await {
            if !has_come {
                (has_come, until) = (true, Instant::now() + QUIET);
            }
            let delivery = delivery.map_err(LogError::away)?;
            last = last.max(position(&delivery)?);
            delivery
                .ack(BasicAckOptions::default())
                .await
                .map_err(LogError::away)?;
        }
        done_looking(looks).await?;
        if !has_come {
            return Err(LogError::away("the queue's last messages did not come"));
        }
        Ok(Bounds {
            first: begins,
            last,
        })
    }

    async fn append(&self, payload: Bytes) -> Result<Confirmed, LogError> {
        publish(&self.channel, &self.queue, &payload).await
    }

    async fn tail(&self, from: Position) -> Result<Tail, LogError> {
        let offset = i64::try_from(from - 1).unwrap_or(i64::MAX);
        let consumer = consume(
            &self.channel,
            &self.queue,
            "tail",
            AMQPValue::LongLongInt(offset),
            PREFETCH,
        )
        .await?;
        let tail = consumer.then(async |delivery| {
            let delivery = delivery.map_err(LogError::away)?;
            let position = position(&delivery)?;
            delivery
                .ack(BasicAckOptions::default())
                .await
                .map_err(LogError::away)?;
            Ok(Delivered {
                position,
                at: None,
                payload: Bytes::from(delivery.data),
            })
        });
        Ok(tail.boxed())
    }
}
