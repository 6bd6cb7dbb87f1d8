//! What was acknowledged: publishers write it down, checks read it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mercurio_proto::v1::{PublishRequest, PublishResponse, publish_request::Audience};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Status};

use crate::{
    grpc::{Api, reason},
    record::Seen,
    wait::LATER,
};

/// How long one try of a publish may take.
const TRY: Duration = Duration::from_secs(60);

/// Acknowledged publishes. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<(u64, PublishRequest)>>>);

impl Ledger {
    /// Writes one down.
    pub fn add(&self, request: PublishRequest, answer: &PublishResponse) {
        assert_eq!(request.event_id, answer.event_id);
        self.0.lock().unwrap().push((answer.id, request));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The highest id acknowledged.
    pub fn last(&self) -> u64 {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(id, _)| *id)
            .max()
            .unwrap_or(0)
    }

    /// Each acknowledged publish with its id, in the order of the ids. Two with one id panic.
    pub fn all(&self) -> Vec<(u64, PublishRequest)> {
        let mut all = self.0.lock().unwrap().clone();
        all.sort_by_key(|(id, _)| *id);
        for pair in all.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "one id for two publishes: {pair:?}");
        }
        all
    }

    /// The part of it up to this id.
    pub fn up_to(&self, last: u64) -> Ledger {
        let mut part = self.all();
        part.retain(|(id, _)| *id <= last);
        Ledger(Arc::new(Mutex::new(part)))
    }

    /// What this recipient should have, oldest first.
    pub fn of(&self, recipient: &str) -> Vec<Seen> {
        self.all()
            .iter()
            .filter_map(|(id, request)| seen_by(recipient, *id, request))
            .collect()
    }
}

/// What a recipient sees of a publish; `None` where it is not for them.
pub fn seen_by(recipient: &str, id: u64, request: &PublishRequest) -> Option<Seen> {
    let broadcast = match request.audience.as_ref()? {
        Audience::Recipients(list) if list.ids.iter().any(|id| id == recipient) => false,
        Audience::Recipients(_) => return None,
        Audience::Everyone(_) => true,
    };
    Some(Seen {
        id,
        event_id: request.event_id.clone(),
        source_id: request.source_id.clone(),
        recipient: recipient.to_owned(),
        topic: request.topic.clone(),
        data: request.data.clone(),
        broadcast,
    })
}

/// True where a call failed because the process went away, or is going: trying again is right.
pub fn went_away(status: &Status) -> bool {
    match reason(status).as_str() {
        "" => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
        ),
        // STORE_FAILED: whether it was stored is not known; on a lost disk, until the restart.
        why => matches!(
            why,
            "SHUTTING_DOWN" | "STORE_BUSY" | "STORE_FAILED" | "LOG_AWAY"
        ),
    }
}

/// Publishes until it is acknowledged, trying again when the core goes away. An answer that it
/// was a duplicate is as good: an earlier try was stored, its answer lost.
///
/// Each try has a deadline, as gRPC's clients should have, longer than a core takes to answer any call.
/// One that runs out is told, with what the sockets hold: a core answers or its connection ends.
pub async fn publish_surely(api: &Api, ledger: &Ledger, request: PublishRequest) {
    let start = Instant::now();
    loop {
        let answer = timeout(TRY, api.publish_once(request.clone())).await;
        let answer = answer.unwrap_or_else(|_| {
            let id = &request.event_id;
            eprintln!(
                "publish {id}: no answer within {TRY:?}; sockets:\n{}",
                sockets()
            );
            Err(Status::cancelled("no answer"))
        });
        match answer {
            Ok(answer) => return ledger.add(request, &answer),
            Err(status) if went_away(&status) && start.elapsed() < LATER => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(status) => panic!("publish {}: {status:?}", request.event_id),
        }
    }
}

/// The TCP sockets of this machine in which something waits, as Linux shows them.
fn sockets() -> String {
    let all = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let waiting = all
        .lines()
        .filter(|line| !line.contains(" 00000000:00000000 "));
    waiting.collect::<Vec<_>>().join("\n")
}

/// A task that publishes one after the other until it is stopped.
pub struct Publisher {
    task: JoinHandle<u64>,
    stop: Arc<AtomicBool>,
}

impl Publisher {
    /// Starts it. `make(n)` gives the nth publish, from 0; its event id has to be its own.
    pub fn start(
        api: Api,
        ledger: Ledger,
        make: impl Fn(u64) -> PublishRequest + Send + 'static,
    ) -> Publisher {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut n = 0;
            while !stopped.load(Ordering::Relaxed) {
                publish_surely(&api, &ledger, make(n)).await;
                n += 1;
            }
            n
        });
        Publisher { task, stop }
    }

    /// Lets it finish the one it is at, and gives how many were acknowledged.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the publisher")
    }
}
