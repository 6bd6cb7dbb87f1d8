//! The cores, of which the gateway keeps to one at a time: for its relay, its catch-ups and its
//! calls alike.

use std::{future::Future, sync::Arc, time::Duration};

use mercurio_auth::ServiceTokens;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, metadata::MetadataValue, transport};
use tonic_types::StatusExt;

use crate::{
    choice::{Choice, Reason},
    core::{Client, Core, is_passing, reason},
    metrics::Metrics,
    settings::GatewaySettings,
};

/// How often a core is asked how it is, give or take a fifth.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a call that failed waits for the gateway to go to another core, before it is made again.
const FAILOVER_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Cores {
    /// In this gateway's order of preference.
    cores: Vec<Arc<Core>>,
    choice: Mutex<Choice>,
    /// The choice's, for those who wait for it to change.
    current: watch::Sender<usize>,
    /// A core was checked.
    checked: Notify,
    tokens: ServiceTokens,
    call_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Cores {
    /// Connects when first called. Fails only on an address that is none.
    pub fn new(
        settings: &GatewaySettings,
        tokens: ServiceTokens,
        metrics: Arc<Metrics>,
    ) -> Result<Self, (String, transport::Error)> {
        let mut rng = fastrand::Rng::new();
        let connect = |url: String| match Core::new(&url, settings) {
            Ok(core) => Ok(Arc::new(core)),
            Err(error) => Err((url, error)),
        };
        let cores: Vec<_> = in_order(&settings.core_urls, &mut rng)
            .into_iter()
            .map(connect)
            .collect::<Result<_, _>>()?;
        let cores = Self {
            choice: Mutex::new(Choice::new(cores.len(), rng, Instant::now())),
            cores,
            current: watch::Sender::new(0),
            checked: Notify::new(),
            tokens,
            call_timeout: settings.call_timeout,
            metrics,
        };
        cores.show();
        Ok(cores)
    }

    /// The current core.
    pub fn stay(&self) -> Stay {
        let index = *self.current.borrow();
        self.stay_at(index)
    }

    /// This core. Where the gateway has left it already, its [`Stay::left`] is past.
    pub fn stay_at(&self, index: usize) -> Stay {
        Stay {
            core: self.cores[index].clone(),
            index,
            current: self.current.subscribe(),
        }
    }

    /// The relay to the current core ended; `held`: it had stood for a while. Says when the next
    /// one is to be opened, to the core that is the current one then.
    pub fn failed(&self, held: bool) -> Instant {
        let at = self.choice.lock().failed(held, Instant::now());
        self.go(Reason::Lost);
        at
    }

    /// Waits until another core is better, and takes that as the current one from now on.
    pub async fn improved(&self) {
        loop {
            // A guard of its own: it is not held across the wait.
            let better = self.choice.lock().improve(Instant::now());
            match better {
                Some(reason) => return self.go(reason),
                None => self.checked.notified().await,
            }
        }
    }

    /// Goes where the choice is.
    fn go(&self, reason: Reason) {
        let to = self.choice.lock().current();
        let from = self.current.send_replace(to);
        if from != to {
            let (from, to) = (&self.cores[from].url, &self.cores[to].url);
            tracing::warn!(from, to, reason = reason.name(), "to another core");
            self.metrics.failed_over(reason.name());
            self.show();
        }
    }

    fn show(&self) {
        let current = *self.current.borrow();
        for (index, core) in self.cores.iter().enumerate() {
            self.metrics.show_core(&core.url, index == current);
        }
    }

    /// Asks each core how it is, again and again, until shutdown. One alone needs no asking: there
    /// is no other to go to.
    pub async fn check(&self, shutdown: &CancellationToken) {
        if self.cores.len() < 2 {
            return;
        }
        let checks = (0..self.cores.len()).map(|index| self.check_one(index));
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = futures_util::future::join_all(checks) => {}
        }
    }

    async fn check_one(&self, index: usize) {
        loop {
            let health = self.cores[index].health().await;
            let now = Instant::now();
            self.choice.lock().checked(index, health, now);
            self.checked.notify_one();
            sleep(CHECK_INTERVAL.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    }

    /// Calls the current core. Where that can't answer, or the gateway leaves it meanwhile, the
    /// call is made once more: to another core as soon as there is one. So it has to be one that
    /// may be made twice. Takes no longer than a call may.
    pub async fn call<M, R>(
        &self,
        request_id: &str,
        message: M,
        method: impl AsyncFn(Client, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Status>
    where
        M: Clone,
    {
        let deadline = Instant::now() + self.call_timeout;
        let once = async |stay: &mut Stay, message: M| {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut request = self.request(request_id, message)?;
            request.set_timeout(left);
            let client = stay.core.client();
            let answer = stay.hear(left, method(client, request)).await;
            answer.map(Response::into_inner)
        };
        let mut stay = self.stay();
        let refused = match once(&mut stay, message.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match self.patience(&refused) {
            Some(patience) if patience < left => {
                // Where there is no other, the same may do by then.
                let _ = timeout(patience, stay.left()).await;
                once(&mut self.stay(), message).await
            }
            _ => Err(refused),
        }
    }

    /// How long to wait before a call is made again; `None`: it isn't.
    fn patience(&self, refused: &Status) -> Option<Duration> {
        let is_to_be = match reason(refused).as_deref() {
            // More calls don't help a core that has too many.
            Some("STORE_BUSY") => false,
            Some("LAGGING") => true,
            _ => self.cores.len() > 1 && is_passing(refused),
        };
        let asked = refused.get_details_retry_info();
        let asked = asked.and_then(|info| info.retry_delay);
        is_to_be.then(|| asked.unwrap_or(FAILOVER_PATIENCE).min(FAILOVER_PATIENCE))
    }

    /// The gateway's token of now is refused: the next call has another.
    pub fn forget_token(&self) {
        self.tokens.forget();
    }

    /// The gateway's own token, to be shown with each call.
    pub fn token(&self) -> Result<String, Status> {
        self.tokens.token().map_err(|error| {
            tracing::error!(%error, "no token to call the core with");
            Status::unauthenticated("the gateway has no token")
        })
    }

    /// A request with the gateway's token.
    pub fn request<T>(&self, request_id: &str, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        let bearer = MetadataValue::try_from(format!("Bearer {}", self.token()?))
            .map_err(|_| Status::unauthenticated("the gateway's token is no header value"))?;
        request.metadata_mut().insert("authorization", bearer);
        if let Ok(id) = MetadataValue::try_from(request_id) {
            request.metadata_mut().insert("x-request-id", id);
        }
        Ok(request)
    }
}

/// A core, for as long as the gateway keeps to it.
pub(crate) struct Stay {
    pub core: Arc<Core>,
    pub index: usize,
    current: watch::Receiver<usize>,
}

impl Stay {
    /// Waits until the gateway has left the core.
    async fn left(&mut self) {
        // An error: the gateway is no more.
        let _ = self.current.wait_for(|now| *now != self.index).await;
    }

    /// What the core says; an error if it takes too long, or the gateway leaves it meanwhile.
    pub async fn hear<T>(
        &mut self,
        patience: Duration,
        said: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            biased;
            said = timeout(patience, said) => said
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("the core did not answer in time"))),
            () = self.left() => Err(Status::unavailable("the gateway left this core")),
        }
    }
}

/// The order in which a gateway prefers the cores: a random one, so that many gateways spread.
fn in_order(urls: &[String], rng: &mut fastrand::Rng) -> Vec<String> {
    let mut urls = urls.to_vec();
    rng.shuffle(&mut urls);
    urls
}

#[cfg(test)]
mod tests;
