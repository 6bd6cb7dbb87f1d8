//! Several cores on one log, over real servers of it.
//!
//! | module | what |
//! |---|---|
//! | `agree` | every core has the same, whoever published and marked where |
//! | `away` | the log's servers go away and come back |
//! | `clocks`, `retention` | clocks that are wrong, and settings that differ |
//! | `stuck` | a core that can't apply what the log has, or not send what it is given |
//! | `chaos` | everything fails in turn, under load |
//! | `disk` | the disk of one core fails |
//! | `guarded` | over TLS, with a password |
//! | `pressure` | more is published than a log that is away can take; SIGTERM then |
//! | `moving` | a new core filled from a peer; a store of its own made a shared log |
//! | `mistakes` | a log that is not what it was is refused |

mod agree;
mod away;
mod chaos;
mod clocks;
mod disk;
mod guarded;
mod mistakes;
mod moving;
mod pressure;
mod retention;
mod stuck;

use mercurio_proto::v1::{PublishRequest, subscribe_response};
use mercurio_tests::{
    engine::{Engine, ready},
    ledger::publish_surely,
    nats::Nats,
    prelude::*,
    process::Signal,
    rabbitmq::RabbitMq,
    verify::verify,
};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

fn nats(nodes: usize) -> Option<Engine> {
    Nats::start(nodes).map(Engine::Nats)
}

async fn rabbitmq(nodes: usize) -> Option<Engine> {
    RabbitMq::start(nodes).await.map(Engine::RabbitMq)
}

/// To one, to some, to everyone, each with an id of its own.
fn request(publisher: usize, n: u64) -> PublishRequest {
    let data = format!("{publisher}-{n}-{}", "x".repeat(fastrand::usize(0..600)));
    let request = match n % 7 {
        0 => to_everyone("all", &data),
        1 | 2 => to(&USERS, "many", &data),
        _ => to(&[USERS[publisher % 3]], "own", &data),
    };
    with_id(&format!("{publisher}-{n}"), request)
}

/// Waits until every core has applied as much of the log, then holds each against what was
/// acknowledged, and against the others.
async fn agree(cores: &[Service], ledger: &Ledger) {
    let apis: Vec<Api> = cores.iter().map(Service::service_api).collect();
    eventually("the cores are at the same place", LATER, async || {
        let mut cursors = Vec::new();
        for api in &apis {
            cursors.push(api.try_list(page("alice", 1)).await.ok()?.cursor);
        }
        cursors.windows(2).all(|two| two[0] == two[1]).then_some(())
    })
    .await;
    let mut seen = Vec::new();
    for api in &apis {
        verify(api, ledger, &USERS).await;
        let mut histories = Vec::new();
        for user in USERS {
            histories.push((api.history(user).await, api.unread(user).await));
        }
        seen.push(histories);
    }
    for other in &seen[1..] {
        assert!(*other == seen[0], "the cores differ");
    }
}
