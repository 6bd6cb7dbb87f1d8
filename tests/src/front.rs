//! A core's front: an address that says of its health what it is told to, and passes every other
//! call on to the core. Reads of the feed may go to another core, or all but the relay be refused
//! by one that lags.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Status,
    codegen::{Service as _, http},
    service::Routes,
    transport::Channel,
};
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{grpc::channel, service::free_address};

/// An address in front of a core. Ends when dropped.
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    health: server::HealthReporter,
    /// Where `Subscribe` goes.
    feeds: Arc<Mutex<Channel>>,
    /// How many calls more are refused.
    refusals: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Front {
    /// A front of this core, which says that it serves.
    pub async fn of(core: SocketAddr) -> Front {
        let address = free_address();
        let listener = TcpListener::bind(address).await.expect("bind the front");
        let health = server::HealthReporter::new();
        let service = server::HealthService::from_health_reporter(health.clone());
        let core = channel(core);
        let feeds = Arc::new(Mutex::new(core.clone()));
        let of_feeds = feeds.clone();
        let refusals = Arc::<AtomicUsize>::default();
        let of_core = refusals.clone();
        let router = Routes::new(HealthServer::new(service))
            .into_axum_router()
            .fallback(move |request: http::Request<Body>| {
                let path = request.uri().path();
                let to = match path.ends_with("/Subscribe") {
                    true => of_feeds.lock().unwrap().clone(),
                    false => core.clone(),
                };
                let is_relay = path.ends_with("/Relay");
                let is_refused = !is_relay && take_one(&of_core);
                async move {
                    match is_refused {
                        true => lagging().into_http(),
                        false => pass(to, request).await,
                    }
                }
            });
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serve");
        });
        Front {
            address,
            health,
            feeds,
            refusals,
            task,
        }
    }

    /// Its address as a core's.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says from now on that it serves, or that it doesn't.
    pub async fn say(&self, serves: bool) {
        let status = match serves {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        self.health.set_service_status("", status).await;
    }

    /// Refuses so many calls from now on, the relay's apart: the core's log is behind.
    pub fn lag(&self, calls: usize) {
        self.refusals.store(calls, Ordering::Relaxed);
    }

    /// Has feeds read from another core from now on.
    pub fn read_feeds_from(&self, core: SocketAddr) {
        *self.feeds.lock().unwrap() = channel(core);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    let order = Ordering::Relaxed;
    let taken = left.fetch_update(order, order, |left| left.checked_sub(1));
    taken.is_ok()
}

fn lagging() -> Status {
    let mut details = ErrorDetails::with_error_info("LAGGING", "mercurio", []);
    details.set_retry_info(Some(Duration::from_millis(100)));
    Status::with_error_details(tonic::Code::Unavailable, "the core lags", details)
}

async fn pass(mut to: Channel, request: http::Request<Body>) -> http::Response<Body> {
    let away = |error| Status::unavailable(format!("behind the front: {error}"));
    let answer = async {
        std::future::poll_fn(|task| to.poll_ready(task)).await?;
        to.call(request.map(tonic::body::Body::new)).await
    };
    match answer.await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => away(error).into_http(),
    }
}
