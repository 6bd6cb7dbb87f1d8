//! The log as a stream queue of RabbitMQ, over AMQP 0.9.1: a message's offset plus one is its
//! position.
//!
//! A queue has no room for an identity, so each message says which log it is of, and the first one
//! says nothing else. Where the queue ends can't be asked: it is what the last chunk ends with.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
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

use crate::clock;

use super::{
    LogError, LogId, LogSettings, Message, Position,
    broker::{Bounds, Broker, Confirmed, Tail},
};

/// Deliveries that may be under way; acknowledged as they are read.
const PREFETCH: u16 = 500;

/// Of them when it is only looked where the queue ends: the last chunk's may be large.
const LOOKED_AT: u16 = 32;

/// How long it is waited for the first message of a queue, of which it is not known whether it has one.
const FIRST: Duration = Duration::from_secs(2);

/// A last chunk that has been read this long ago is read whole.
const QUIET: Duration = Duration::from_millis(250);

struct RabbitMq {
    /// Closed when it is dropped.
    connection: Connection,
    channel: Channel,
    queue: ShortString,
    log: LogId,
}

pub(super) async fn connect(
    settings: &LogSettings,
    new: Option<LogId>,
) -> Result<Box<dyn Broker>, LogError> {
    let connection = connection(settings).await?;
    let channel = connection.create_channel().await.map_err(LogError::away)?;
    let confirms = ConfirmSelectOptions::default();
    channel
        .confirm_select(confirms)
        .await
        .map_err(LogError::away)?;
    let queue = ShortString::from(settings.name.as_str());
    declare(&channel, settings, new.is_some()).await?;
    let log = match (identity(&connection, &queue).await?, new) {
        (Some(log), _) => log,
        (None, Some(new)) => {
            // Another core may do the same: the first one says which log it is.
            let begun = Message::encode(&new, clock::now(), None, &[]);
            publish(&channel, &queue, &begun).await?.await?;
            let found = identity(&connection, &queue).await?;
            found.ok_or_else(|| LogError::away("the queue has not got its first message yet"))?
        }
        (None, None) => {
            return Err(LogError::away("the queue is empty, or has no leader yet"));
        }
    };
    Ok(Box::new(RabbitMq {
        connection,
        channel,
        queue,
        log,
    }))
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

/// Makes the queue where there is none, or looks whether it is there.
async fn declare(channel: &Channel, settings: &LogSettings, create: bool) -> Result<(), LogError> {
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
    let options = QueueDeclareOptions {
        durable: true,
        passive: !create,
        ..QueueDeclareOptions::default()
    };
    let declared = channel
        .queue_declare(settings.name.as_str().into(), options, arguments)
        .await;
    declared.map(drop).map_err(|error| match error.kind() {
        lapin::ErrorKind::ProtocolError(protocol) if protocol.get_id() == PRECONDITION_FAILED => {
            LogError::Refused(format!(
                "the queue `{}` is there with other settings than asked for (replicas, age): \
                 {protocol}",
                settings.name
            ))
        }
        _ => LogError::away(error),
    })
}

/// AMQP's reply code.
const PRECONDITION_FAILED: u16 = 406;

/// Which log the queue's first message is of. `None`: it has none.
async fn identity(connection: &Connection, queue: &ShortString) -> Result<Option<LogId>, LogError> {
    let looks = connection.create_channel().await.map_err(LogError::away)?;
    let first = timeout(FIRST, first(&looks, queue)).await;
    done_looking(looks).await?;
    let Ok(first) = first else {
        return Ok(None);
    };
    match Message::decode(&first?.data) {
        Ok(message) => Ok(Some(message.log)),
        Err(_) => Err(LogError::Refused(format!(
            "the queue `{queue}` is not one of Mercurio's, or a newer version's: choose another \
             `--log-name`"
        ))),
    }
}

/// The queue's first message, or the one that will be.
async fn first(looks: &Channel, queue: &ShortString) -> Result<Delivery, LogError> {
    let mut consumer = consume(looks, queue, "first", offset_text("first"), 1).await?;
    let first = next(&mut consumer).await?;
    looks
        .basic_cancel(consumer.tag(), BasicCancelOptions::default())
        .await
        .map_err(LogError::away)?;
    Ok(first)
}

async fn next(consumer: &mut Consumer) -> Result<Delivery, LogError> {
    match consumer.next().await {
        Some(delivery) => delivery.map_err(LogError::away),
        None => Err(LogError::away(
            "the server no longer lets the queue be read",
        )),
    }
}

/// The place of the next message, which is acknowledged: there is room for one more then.
async fn read(consumer: &mut Consumer) -> Result<(Position, Delivery), LogError> {
    let delivery = next(consumer).await?;
    let position = position(&delivery)?;
    let acknowledged = delivery.ack(BasicAckOptions::default()).await;
    acknowledged.map_err(LogError::away)?;
    Ok((position, delivery))
}

/// Each look has a channel of its own. What was delivered on it and is not acknowledged goes with it:
/// some always comes while a look ends, and would add up, for which servers close channels in time.
async fn done_looking(looks: Channel) -> Result<(), LogError> {
    let closed = looks.close(200, "looked".into()).await;
    closed.map_err(LogError::away)
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
    fn log(&self) -> LogId {
        self.log
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        let looks = self.connection.create_channel().await;
        let looks = looks.map_err(LogError::away)?;
        let first = position(&first(&looks, &self.queue).await?)?;
        let offset = offset_text("last");
        let mut chunk = consume(&looks, &self.queue, "last", offset, LOOKED_AT).await?;
        let (mut last, _) = read(&mut chunk).await?;
        // What comes meanwhile comes without end: it is looked for a moment only.
        let until = Instant::now() + QUIET;
        while let Ok(more) = timeout_at(until, read(&mut chunk)).await {
            (last, _) = more?;
        }
        done_looking(looks).await?;
        Ok(Bounds { first, last })
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
        let tail = stream::try_unfold(consumer, async |mut consumer| {
            let (position, delivery) = read(&mut consumer).await?;
            Ok(Some(((position, Bytes::from(delivery.data)), consumer)))
        });
        Ok(tail.boxed())
    }
}
