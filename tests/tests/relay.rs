//! The relay as a gateway sees it: each entry once, in order, and a reset where it reads too
//! slowly.

use mercurio_proto::v1::{
    RelayEntry, RelayJoin, RelayLeave, RelayRequest, RelayResponse, relay_entry::Change as Wire,
    relay_request::Message as Ask, relay_response::Message as Said,
    relay_service_client::RelayServiceClient,
};
use mercurio_tests::{grpc::channel, prelude::*};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

struct Relay {
    asks: mpsc::Sender<RelayRequest>,
    said: Streaming<RelayResponse>,
}

impl Relay {
    async fn open(core: &Service, token: &str) -> Result<Relay, Status> {
        let (asks, requests) = mpsc::channel(16);
        let mut request = tonic::Request::new(ReceiverStream::new(requests));
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut client = RelayServiceClient::new(channel(core.grpc()));
        let said = within("the relay opens", SOON, client.relay(request))
            .await?
            .into_inner();
        Ok(Relay { asks, said })
    }

    async fn ask(&self, message: Ask) {
        self.asks
            .send(RelayRequest {
                message: Some(message),
            })
            .await
            .expect("the relay is open");
    }

    async fn join(&mut self, join_id: u64, users: &[&str]) -> u64 {
        let recipient_ids = users.iter().map(|user| (*user).to_owned()).collect();
        self.ask(Ask::Join(RelayJoin {
            join_id,
            recipient_ids,
        }))
        .await;
        match self.next().await {
            Said::Joined(joined) if joined.join_id == join_id => joined.cursor,
            other => panic!("{other:?}"),
        }
    }

    /// What it says next, but for what is revoked.
    async fn next(&mut self) -> Said {
        loop {
            let next = within("the relay says something", SOON, self.said.message()).await;
            let next = next.expect("it goes on").expect("it goes on");
            match next.message.expect("a message") {
                Said::Revocations(_) => {}
                said => return said,
            }
        }
    }

    async fn entry(&mut self) -> RelayEntry {
        match self.next().await {
            Said::Entry(entry) => entry,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_crosses_once_however_many_it_goes_to() {
    let core = Setup::core().start().await;
    let api = core.service_api();
    let mut relay = Relay::open(&core, &core.secret().service()).await.unwrap();
    let before = api.publish(to(&["alice"], "t", "before")).await.id;
    assert_eq!(relay.join(1, &["alice", "bob"]).await, before);
    // Joined again, as for a second stream: nothing comes twice.
    relay.join(2, &["bob", "carol"]).await;

    let both = api
        .publish(to(&["dave", "bob", "alice"], "t", "both"))
        .await
        .id;
    api.publish(to(&["dave"], "t", "none of ours")).await;
    let all = api.publish(to_everyone("t", "all")).await.id;
    let marked = api.mark("carol", &[all], true).await.cursor;

    let entry = relay.entry().await;
    assert_eq!(entry.cursor, both);
    let mut named = entry.recipient_ids.clone();
    named.sort();
    assert_eq!(named, ["alice", "bob"]);
    match entry.change {
        Some(Wire::Notification(notification)) => {
            assert_eq!(
                (
                    notification.recipient_id.as_str(),
                    notification.data.as_str()
                ),
                ("", "both")
            );
        }
        other => panic!("{other:?}"),
    }
    let entry = relay.entry().await;
    assert_eq!((entry.cursor, entry.recipient_ids.len()), (all, 0));
    let entry = relay.entry().await;
    assert_eq!(
        (entry.cursor, entry.recipient_ids),
        (marked, vec!["carol".to_owned()])
    );
    assert!(matches!(entry.change, Some(Wire::ReadState(state)) if state.unread_count == 0));

    // Who left is not named any more.
    relay
        .ask(Ask::Leave(RelayLeave {
            recipient_ids: vec!["alice".into()],
        }))
        .await;
    relay.join(3, &["erin"]).await;
    api.publish(to(&["alice"], "t", "gone")).await;
    let last = api.publish(to(&["alice", "bob"], "t", "last")).await.id;
    let entry = relay.entry().await;
    assert_eq!(
        (entry.cursor, entry.recipient_ids),
        (last, vec!["bob".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_the_scope() {
    let core = Setup::core().start().await;
    for token in [core.secret().user("alice"), core.secret().publisher("shop")] {
        let refused = match Relay::open(&core, &token).await {
            Err(status) => status,
            Ok(mut relay) => relay.said.message().await.unwrap_err(),
        };
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "SCOPE_MISSING")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_reads_too_slowly_is_reset_not_fed_for_ever() {
    let _heavy = mercurio_tests::tools::heavy().await;
    let core = Setup::core()
        .args(["--max-per-recipient", "1000000"])
        .start()
        .await;
    let api = core.service_api();
    let mut relay = Relay::open(&core, &core.secret().service()).await.unwrap();
    relay.join(1, &["alice"]).await;
    let before = core.process.resident();
    let body = "r".repeat(8000);
    let mut last = 0;
    for round in 0..120 {
        let calls = (0..64).map(|n| {
            let (api, body) = (api.clone(), body.clone());
            let request = with_id(&format!("{round}-{n}"), to(&["alice"], "t", &body));
            tokio::spawn(async move { api.publish(request).await.id })
        });
        for call in calls.collect::<Vec<_>>() {
            last = last.max(call.await.unwrap());
        }
    }
    // 61 MB went by.
    let grown = core.process.resident().saturating_sub(before);
    assert!(grown < 150 << 20, "grew by {} MB", grown >> 20);

    let mut reached = 0;
    let mut resets = 0;
    while reached < last {
        match relay.next().await {
            Said::Entry(entry) => {
                assert!(entry.cursor > reached, "{} after {reached}", entry.cursor);
                reached = entry.cursor;
            }
            Said::Reset(reset) => {
                assert!(reset.cursor > reached, "{} after {reached}", reset.cursor);
                reached = reset.cursor;
                resets += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(resets > 0, "61 MB waited for a relay that did not read");
    // Behind the reset everything comes again.
    let next = api.publish(to(&["alice"], "t", "next")).await.id;
    assert_eq!(relay.entry().await.cursor, next);
}
