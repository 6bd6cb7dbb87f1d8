//! Clients that call, and don't take the answer.

use std::{future::poll_fn, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use mercurio_core::{CoreSettings, Transport};
use mercurio_proto::v1 as pb;
use prost::Message;
use tonic::{body::Body, transport::Channel};
use tower::Service;

use crate::harness::*;

const PATIENCE: Duration = Duration::from_millis(500);
const CONNECTIONS: &str = "mercurio_core_connections_open";

/// A core that is impatient, and has something to answer.
async fn impatient() -> TestCore {
    let transport = Transport {
        call_timeout: PATIENCE,
        ..Transport::default()
    };
    let core = TestCore::with(CoreSettings {
        transport,
        ..CoreSettings::default()
    })
    .await;
    for _ in 0..4 {
        core.publish(&["ada"], &"x".repeat(60_000)).await;
    }
    core
}

/// A connection whose streams have room for so many bytes.
async fn narrow(core: &TestCore, window: u32) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", core.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(window);
    soon(endpoint.connect()).await.unwrap()
}

/// The answer to a call, of which nothing is read yet.
async fn ask<M: Message>(channel: &mut Channel, path: &str, message: M) -> http::Response<Body> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.encoded_len() as u32);
    message.encode(&mut body).unwrap();
    let request = http::Request::post(format!(
        "http://core/mercurio.v1.NotificationService/{path}"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("authorization", format!("Bearer {}", token("ada", &[])))
    .body(Body::new(Full::new(Bytes::from(body))));
    poll_fn(|task| channel.poll_ready(task)).await.unwrap();
    soon(channel.call(request.unwrap())).await.unwrap()
}

async fn history(channel: &mut Channel) -> http::Response<Body> {
    let list = pb::ListHistoryRequest {
        recipient_id: "ada".into(),
        ..Default::default()
    };
    ask(channel, "ListHistory", list).await
}

#[tokio::test]
async fn who_takes_no_answers_is_cut() {
    let core = impatient().await;
    let mut channel = narrow(&core, 4096).await;
    core.metric_becomes(CONNECTIONS, |open| open == 2.0).await;
    let mut left = Vec::new();
    for _ in 0..20 {
        left.push(history(&mut channel).await);
    }
    core.metric_becomes(CONNECTIONS, |open| open == 1.0).await;
    core.publish(&["ada"], "others go on").await;
    core.stop().await;
}

/// Of these hyper has all, and the trailers, as soon as a byte may go.
#[tokio::test]
async fn who_takes_no_short_answers_is_cut() {
    let core = impatient().await;
    let mut channel = narrow(&core, 1).await;
    core.metric_becomes(CONNECTIONS, |open| open == 2.0).await;
    let id = core.publish(&["ada"], &"x".repeat(1_000)).await;
    let get = pb::GetNotificationRequest {
        recipient_id: "ada".into(),
        id,
    };
    let mut left = Vec::new();
    for _ in 0..20 {
        left.push(ask(&mut channel, "GetNotification", get.clone()).await);
    }
    core.metric_becomes(CONNECTIONS, |open| open == 1.0).await;
    core.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_and_a_stream_does_not() {
    let core = impatient().await;
    let mut channel = narrow(&core, 4096).await;
    let stream = ask(&mut channel, "Subscribe", subscription("ada", Some(0))).await;
    // On a loaded machine it may take longer to be given up.
    let mut wait = PATIENCE * 2;
    loop {
        let left = history(&mut channel).await;
        tokio::time::sleep(wait).await;
        if soon(left.collect()).await.is_err() {
            break;
        }
        wait *= 2;
        assert!(wait < DEADLINE, "an answer that is not taken stays");
    }
    // The stream goes on, and so does the connection, as slowly as its windows have it.
    let mut stream = stream.into_body();
    let mut bytes = 0;
    while bytes < 4 * 60_000 {
        let frame = soon(stream.frame()).await.unwrap().unwrap();
        bytes += frame.into_data().unwrap().len();
    }
    let marking = pb::SetReadStateRequest {
        recipient_id: "ada".into(),
        target: Some(pb::set_read_state_request::Target::UpTo(1)),
        read: true,
    };
    let answer = ask(&mut channel, "SetReadState", marking).await.collect();
    assert!(soon(answer).await.unwrap().trailers().is_some());
    core.stop().await;
}
