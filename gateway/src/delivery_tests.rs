//! A line between its task, its mailbox and who brings an entry: over real sockets.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use mercurio_auth::{ClaimRules, ServiceTokens, Verifier};
use mercurio_proto::v1 as pb;
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, yield_now},
    time::timeout,
};

use crate::{
    Context, Gateway, GatewaySettings,
    catch_up::{Page, Reader},
    closing::Closing,
    courier::{self, Loan},
    delivery::Delivery,
    feed::Feed,
    lease::Lease,
    mailbox::{End, Mailbox},
    query::Filters,
    socket::Socket,
    sse::Event,
};

const SOON: Duration = Duration::from_secs(30);

/// An open stream that has read what the store has.
struct Stream {
    context: Arc<Context>,
    mailbox: Arc<Mailbox>,
    client: TcpStream,
    task: JoinHandle<()>,
    polls: Arc<AtomicUsize>,
}

impl Stream {
    async fn open() -> Self {
        let settings = GatewaySettings::default();
        let verifier = Arc::new(Verifier::new(Vec::new(), ClaimRules::default()));
        let tokens = ServiceTokens::fixed(String::new());
        let gateway = Gateway::new(settings, verifier, tokens, &mut Registry::default());
        let context = gateway.unwrap().context;
        let lease = Lease::endless("a");
        let place = context.registry.open("a", lease).unwrap();
        place.mailbox.resume();
        let mailbox = place.mailbox.clone();
        let reader = Arc::new(Reader {
            context: context.clone(),
            place,
            topics: Vec::new(),
            request_id: "".into(),
            remote: None,
            _of_source: None,
        });
        let mut feed = Feed::new(reader, Filters::new(&[]), None);
        feed.turn(Page {
            frames: Vec::new(),
            cursor: Some(0),
            entries: 0,
            is_last: true,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let socket = Socket::from(accepted.unwrap().0);
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = polls.clone();
        let task = tokio::spawn(async move {
            let mut delivery = pin!(Delivery::new(feed, socket, None, false));
            poll_fn(|task| {
                counted.fetch_add(1, Relaxed);
                delivery.as_mut().poll(task)
            })
            .await;
        });
        let stream = Self {
            context,
            mailbox,
            client: client.unwrap(),
            task,
            polls,
        };
        stream.is_left().await;
        stream
    }

    /// Waits until the task has nothing to do.
    async fn is_left(&self) {
        let left = async {
            while !self.mailbox.is_left() {
                yield_now().await;
            }
        };
        timeout(SOON, left).await.expect("the line is left");
    }

    fn hand_in(&self, event: &Arc<Event>) -> Vec<Loan> {
        self.context.registry.dispatch(&["a".into()], event).1
    }

    /// Waits until the client has these entries next.
    async fn reads(&mut self, cursors: std::ops::RangeInclusive<u64>, bytes: usize) {
        for cursor in cursors {
            let expected = text(&event(cursor, bytes));
            let mut read = vec![0; expected.len()];
            let got = timeout(SOON, self.client.read_exact(&mut read)).await;
            got.unwrap_or_else(|_| panic!("{cursor} does not come"))
                .unwrap();
            assert!(read == expected, "instead of {cursor} something else");
        }
    }

    /// Waits until the connection ends, and gives what came before that.
    async fn ends(&mut self) -> String {
        let mut rest = String::new();
        let ended = timeout(SOON, self.client.read_to_string(&mut rest)).await;
        ended.expect("it ends").unwrap();
        rest
    }
}

fn event(cursor: u64, bytes: usize) -> Arc<Event> {
    let notification = pb::Notification {
        id: cursor,
        data: "x".repeat(bytes),
        ..pb::Notification::default()
    };
    let entry = pb::RelayEntry {
        cursor,
        recipient_ids: vec!["a".into()],
        change: Some(pb::relay_entry::Change::Notification(notification)),
        ..Default::default()
    };
    Arc::new(Event::from_relay(&entry).unwrap())
}

fn text(event: &Event) -> Vec<u8> {
    let nobody = crate::sse::Frame::new(&[b"\"\""]);
    let frames = event.frames(&nobody);
    frames
        .flat_map(|frame| frame.slice(false).to_vec())
        .collect()
}

#[tokio::test]
async fn an_entry_is_written_without_waking_the_task() {
    let mut stream = Stream::open().await;
    let polls = stream.polls.load(Relaxed);
    for cursor in 1..=100 {
        let event = event(cursor, 100);
        let loans = stream.hand_in(&event);
        assert_eq!(loans.len(), 1);
        courier::bring(&event, loans);
    }
    stream.reads(1..=100, 100).await;
    assert_eq!(stream.polls.load(Relaxed), polls);
}

#[tokio::test]
async fn what_the_socket_does_not_take_the_task_writes() {
    const BYTES: usize = 50_000;
    let mut stream = Stream::open().await;
    let mut cursor = 0;
    loop {
        let event = event(cursor + 1, BYTES);
        let loans = stream.hand_in(&event);
        cursor += 1;
        if loans.is_empty() {
            break; // It waits behind one that the socket did not take all of.
        }
        courier::bring(&event, loans);
        // The task takes its line, if it was woken.
        yield_now().await;
    }
    assert!(cursor > 1);
    stream.reads(1..=cursor, BYTES).await;
    stream.is_left().await;
}

/// The relay does not stop for one that is stuck: what it brings before the task has its turn.
#[tokio::test]
async fn a_stuck_one_falls_behind_however_fast_it_comes() {
    let stream = Stream::open().await;
    let mut lent = 0;
    for cursor in 1.. {
        let event = event(cursor, 20_000);
        let loans = stream.hand_in(&event);
        if stream.mailbox.look().0 {
            break;
        }
        lent += loans.len();
        courier::bring(&event, loans);
        assert!(lent < 5_000, "it is never behind");
    }
    assert!(stream.hand_in(&event(u64::MAX, 10)).is_empty());
}

#[tokio::test]
async fn a_loan_that_delivers_nothing_cuts_the_stream() {
    let mut stream = Stream::open().await;
    drop(stream.hand_in(&event(1, 10)));
    let two = event(2, 10);
    courier::bring(&two, stream.hand_in(&two));
    assert_eq!(stream.ends().await, "", "not the second without the first");
}

/// Its leaving wakes the task while the line is lent.
#[tokio::test]
async fn a_client_that_leaves_while_the_line_is_lent_is_noticed() {
    let mut stream = Stream::open().await;
    let (one, polls) = (event(1, 10), stream.polls.load(Relaxed));
    let lent = stream.hand_in(&one);
    // Only that: what is written to it goes through.
    stream.client.shutdown().await.unwrap();
    while stream.polls.load(Relaxed) == polls {
        yield_now().await;
    }
    let two = event(2, 10);
    let registry = &stream.context.registry;
    assert!(registry.dispatch(&["a".into()], &two).1.is_empty());
    courier::bring(&one, lent);
    // Sooner than the next heartbeat finds it.
    let before_the_heartbeat = stream.context.settings.heartbeat * 2 / 3;
    let ended = timeout(before_the_heartbeat, stream.task).await;
    ended.expect("it ends").unwrap();
}

#[tokio::test]
async fn what_comes_while_the_line_is_lent_waits_its_turn() {
    let mut stream = Stream::open().await;
    let (one, polls) = (event(1, 10), stream.polls.load(Relaxed));
    let lent = stream.hand_in(&one);
    for cursor in 2..=5 {
        assert!(stream.hand_in(&event(cursor, 10)).is_empty());
    }
    assert!(!stream.mailbox.look().1, "something waits");
    yield_now().await;
    assert_eq!(stream.polls.load(Relaxed), polls, "for who has the line");
    courier::bring(&one, lent);
    stream.reads(1..=5, 10).await;
    stream.is_left().await;
    assert!(stream.mailbox.look().1);
}

#[tokio::test]
async fn an_end_that_comes_while_the_line_is_lent_is_told_behind_it() {
    let mut stream = Stream::open().await;
    let one = event(1, 10);
    let lent = stream.hand_in(&one);
    stream.mailbox.end(End::Closing(Closing::TokenRevoked));
    // The task wants its line back.
    yield_now().await;
    courier::bring(&one, lent);
    stream.reads(1..=1, 10).await;
    let rest = stream.ends().await;
    assert!(rest.starts_with("event: closing\n"), "{rest}");
    assert!(rest.contains("token-revoked"), "{rest}");
}

#[tokio::test]
async fn nothing_is_written_behind_an_end() {
    let mut stream = Stream::open().await;
    stream.mailbox.end(End::Closing(Closing::TokenRevoked));
    assert!(stream.hand_in(&event(1, 10)).is_empty());
    let rest = stream.ends().await;
    assert!(
        !rest.contains("xxx") && rest.contains("token-revoked"),
        "{rest}"
    );
}

#[tokio::test]
async fn a_line_whose_task_has_gone_is_closed() {
    let mut left = Stream::open().await;
    left.task.abort();
    assert_eq!(left.ends().await, "");
    let mut lent = Stream::open().await;
    let one = event(1, 10);
    let loans = lent.hand_in(&one);
    lent.task.abort();
    let _ = (&mut lent.task).await;
    courier::bring(&one, loans);
    lent.reads(1..=1, 10).await;
    assert_eq!(lent.ends().await, "");
    assert_eq!(lent.context.registry.count().0, 0, "it has left");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_the_line_is_left() {
    let stream = Stream::open().await;
    drop(stream.client);
    timeout(SOON, stream.task).await.expect("it ends").unwrap();
    assert_eq!(stream.context.registry.count().0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_written_by_several_tasks_each_in_order() {
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(Stream::open().await);
    }
    for cursor in 1..=200 {
        let event = event(cursor, 200);
        for stream in &streams {
            let loans = stream.hand_in(&event);
            let event = event.clone();
            tokio::spawn(async move { courier::bring(&event, loans) });
        }
        // No more than a mailbox holds.
        if cursor % 50 == 0 {
            for stream in &mut streams {
                stream.reads(cursor - 49..=cursor, 200).await;
            }
        }
    }
}
