//! The gateways whose relays are open here, for those who ask what goes on; and questions to them,
//! which travel on the relay.
//!
//! Nothing of it costs a gateway that nobody asks about: it is asked when somebody wants to know.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use mercurio_proto::v1::{
    RelayAnswer, RelayQuestion, relay_answer::Answer, relay_question::Question,
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::hub::RelayLoad;

/// How long a gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions that wait for a relay to send them, and for their answers.
const QUESTIONS: usize = 16;

/// The open relays. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Gateways(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    last: u64,
    relays: BTreeMap<u64, Arc<Gateway>>,
}

/// A gateway, as its relay shows it.
pub(super) struct Gateway {
    pub relay_id: u64,
    pub connected_at: SystemTime,
    /// `None`: it is in this process.
    pub remote: Option<SocketAddr>,
    pub load: RelayLoad,
    questions: mpsc::Sender<Asked>,
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

impl Gateways {
    /// Takes a relay in for as long as what is returned lives.
    pub(super) fn connected(&self, remote: Option<SocketAddr>, load: RelayLoad) -> Questions {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let mut open = self.0.lock();
        open.last += 1;
        let relay_id = open.last;
        let gateway = Gateway {
            relay_id,
            connected_at: SystemTime::now(),
            remote,
            load,
            questions,
        };
        open.relays.insert(relay_id, Arc::new(gateway));
        drop(open);
        Questions {
            gateways: self.clone(),
            relay_id,
            asked,
            last: 0,
            unanswered: VecDeque::new(),
        }
    }

    /// All of them, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Gateway>> {
        self.0.lock().relays.values().cloned().collect()
    }

    /// The first one from this id on.
    pub(super) fn from(&self, relay_id: u64) -> Option<Arc<Gateway>> {
        let open = self.0.lock();
        open.relays
            .range(relay_id..)
            .next()
            .map(|(_, gateway)| gateway.clone())
    }
}

impl Gateway {
    /// Asks it; `None`: it doesn't answer in time, or doesn't know the question.
    pub async fn ask(&self, question: Question) -> Option<Answer> {
        let asking = async {
            let (answer, answered) = oneshot::channel();
            let asked = Asked { question, answer };
            self.questions.send(asked).await.ok()?;
            answered.await.ok()
        };
        timeout(PATIENCE, asking).await.ok().flatten()
    }
}

/// What a relay's gateway is asked; the relay's end.
pub(super) struct Questions {
    gateways: Gateways,
    relay_id: u64,
    asked: mpsc::Receiver<Asked>,
    last: u64,
    /// In the order in which they were asked.
    unanswered: VecDeque<(u64, oneshot::Sender<Answer>)>,
}

impl Questions {
    /// The next one to be sent. Cancelling it loses none.
    pub async fn next(&mut self) -> RelayQuestion {
        loop {
            // The sender stands in the registry until this is dropped.
            let Some(Asked { question, answer }) = self.asked.recv().await else {
                std::future::pending::<()>().await;
                continue;
            };
            // Who asked may have given up.
            self.unanswered.retain(|(_, answer)| !answer.is_closed());
            if self.unanswered.len() >= QUESTIONS {
                continue;
            }
            self.last += 1;
            self.unanswered.push_back((self.last, answer));
            return RelayQuestion {
                question_id: self.last,
                question: Some(question),
            };
        }
    }

    /// Takes an answer; one that nobody waits for any more is passed over.
    pub fn answered(&mut self, answer: RelayAnswer) {
        let waiting = self.unanswered.iter();
        let mut waiting = waiting.map(|(id, _)| *id);
        let place = waiting.position(|id| id == answer.question_id);
        let asked = place.and_then(|place| self.unanswered.remove(place));
        if let (Some((_, asked)), Some(answer)) = (asked, answer.answer) {
            let _ = asked.send(answer);
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.gateways.0.lock().relays.remove(&self.relay_id);
    }
}
