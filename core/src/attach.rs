//! Store and log put together: whose data this is, and from where on the log is applied.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use crate::{
    OpenError,
    bootstrap::{Peers, fetch_snapshot},
    clock,
    entry::Millis,
    log::{
        self, Bounds, Embedded, Joined, Log, LogError, LogId, LogKind, LogState, LogStatus,
        Position,
    },
    metrics::Metrics,
    settings::CoreSettings,
    store::Store,
    writer::Attached,
};

/// Opens the store for the log that the settings name.
pub(crate) fn open(
    settings: &CoreSettings,
    peers: Option<&Peers>,
    metrics: &Arc<Metrics>,
) -> Result<(Store, Attached), OpenError> {
    match settings.log.kind {
        LogKind::Embedded => embedded(settings, metrics),
        LogKind::Nats | LogKind::RabbitMq => shared(settings, peers, metrics),
    }
}

fn embedded(
    settings: &CoreSettings,
    metrics: &Arc<Metrics>,
) -> Result<(Store, Attached), OpenError> {
    let store = Store::open(
        &settings.data_dir,
        settings.store.clone(),
        settings.retention,
    )?;
    let log = Embedded::new(store.clone());
    let attached = Attached {
        status: LogStatus::new(log.state(), None, metrics.clone()),
        log: Box::new(log),
        id: None,
        wait: settings.log.wait,
    };
    Ok((store, attached))
}

/// A core that knows its log starts without it, and serves what it has; a new one needs it.
fn shared(
    settings: &CoreSettings,
    peers: Option<&Peers>,
    metrics: &Arc<Metrics>,
) -> Result<(Store, Attached), OpenError> {
    let runtime = Handle::current();
    if settings.log.kind == LogKind::Nats && settings.log.monitors.is_empty() {
        tracing::warn!(
            "whether the servers of the log sync what they acknowledge is not checked: see \
             --log-monitor-url"
        );
    }
    let bound_to = Store::bound_to(&settings.data_dir)?;
    if bound_to.is_none() {
        Store::refuse_own_data(
            &settings.data_dir,
            settings.store.clone(),
            settings.retention,
        )?;
    }
    let new = bound_to.is_none().then(|| LogId::new(0));
    let connected = match runtime.block_on(connect(settings, new)) {
        Ok(broker) => Some(broker),
        Err(error @ LogError::Refused(_)) => return Err(error.into()),
        Err(error) if bound_to.is_none() => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "starting without it, with what was applied before");
            None
        }
    };
    let id = match (&connected, bound_to) {
        (Some(broker), _) => broker.origin().log,
        (None, Some(bound_to)) => bound_to,
        // Returned above.
        (None, None) => return Err(LogError::Away("not connected".into()).into()),
    };
    if let (Some(broker), None) = (&connected, bound_to) {
        let bounds = runtime.block_on(broker.bounds())?;
        if bounds.first > 1 || id.base > 0 {
            runtime.block_on(fill(settings, &id, peers))?;
        }
    }
    let store = Store::open_shared(
        &settings.data_dir,
        settings.store.clone(),
        settings.retention,
        &id,
    )?;
    let sequence = store.last_sequence();
    let applied = id.position(sequence);
    if let Some(broker) = &connected {
        runtime.block_on(check(async || broker.bounds().await, applied))?;
    }
    let state = LogState {
        applied,
        sequence,
        at: store.log_time(),
        ..LogState::default()
    };
    let status = LogStatus::new(state, Some(id), metrics.clone());
    let joined = Joined {
        settings: settings.log.clone(),
        retention: settings.retention,
        log: id,
        progress: store.progress(),
    };
    let log = log::open(joined, connected, status.clone(), &runtime);
    let attached = Attached {
        log: Box::new(log),
        id: Some(id),
        status,
        wait: settings.log.wait,
    };
    Ok((store, attached))
}

/// Between two looks at a log that is not what it was.
const DOUBT: Duration = Duration::from_secs(1);

/// Refuses a log that ends before what was applied, or begins behind it, when it says so each time that
/// it is asked. One that can't say it now is looked at by whoever follows it.
async fn check(
    look: impl AsyncFn() -> Result<Bounds, LogError>,
    applied: Position,
) -> Result<(), LogError> {
    let mut doubts = 0;
    loop {
        let bounds = match look().await {
            Err(LogError::Away(_)) => return Ok(()),
            bounds => bounds?,
        };
        match log::check(bounds, applied) {
            Err(error) if doubts + 1 < log::DOUBTS => {
                doubts += 1;
                tracing::warn!(%error, "the log is looked at once more");
                tokio::time::sleep(DOUBT).await;
            }
            checked => return checked,
        }
    }
}

/// A new core waits for its log as long as a write would: they may be starting together.
async fn connect(
    settings: &CoreSettings,
    new: Option<LogId>,
) -> Result<Box<dyn log::Broker>, LogError> {
    let CoreSettings { log, retention, .. } = settings;
    let deadline = Instant::now() + log.wait;
    loop {
        match log::connect_once(log, *retention, new).await {
            Err(error @ LogError::Away(_)) if new.is_some() && Instant::now() < deadline => {
                tracing::info!(%error, "waiting for the log");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            connected => return connected,
        }
    }
}

/// Fills a new core from a peer: the log alone no longer has all that history shows.
async fn fill(settings: &CoreSettings, id: &LogId, peers: Option<&Peers>) -> Result<(), OpenError> {
    let Some(peers) = peers else {
        return Err(log::needs_snapshot(id).into());
    };
    tracing::info!("the log does not reach back to its beginning: filling this core from a peer");
    let dir = &settings.data_dir;
    let fetched = fetch_snapshot(peers, dir, Some(id)).await?;
    tracing::info!(
        through = fetched.through,
        bytes = fetched.bytes,
        "filled from a peer"
    );
    Ok(())
}

/// Makes a new shared log of a data directory, which has its own or is of another shared one: its
/// sequences go on behind what is stored, which stays as it is. Asked again after it was cut short,
/// it goes on. Gives the log and the last entry that was stored before it.
///
/// # Errors
/// The directory can't be opened, or is another log's; the log can't be made, or is there already.
pub async fn migrate(settings: CoreSettings) -> Result<LogId, OpenError> {
    let CoreSettings {
        data_dir,
        store,
        retention,
        log,
        ..
    } = settings;
    let dir = data_dir.clone();
    let next = tokio::task::spawn_blocking(move || Store::next_log(&dir, store, retention));
    let next = next.await.map_err(std::io::Error::other)??;
    let broker = log::connect_once(&log, retention, Some(next)).await?;
    let made = broker.origin().log;
    if !Store::hand_over(&data_dir, &made, retention)? {
        return Err(LogError::Refused(format!(
            "there is a log `{}` already, {}: choose another `--log-name`, and ask again",
            log.name, made.id
        ))
        .into());
    }
    Ok(made)
}

/// The time by which retention goes. What it drops decides whether something was published before,
/// so cores that share a log go by the log's own time, by which that is decided, and none runs ahead of
/// what it has applied.
pub(crate) fn retention_clock(attached: &Attached) -> impl Fn() -> Millis + Send + 'static {
    let shared = attached.id.map(|_| attached.status.clone());
    move || match &shared {
        Some(status) => status.now().at.min(clock::now()),
        None => clock::now(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_log_says_once_is_not_believed() {
        let checked = async |times| {
            let looks = Cell::new(0);
            let look = async || {
                looks.set(looks.get() + 1);
                let last = if looks.get() > times { 9 } else { 5 };
                Ok(Bounds { first: 1, last })
            };
            check(look, 9).await
        };
        assert_eq!(checked(0).await, Ok(()));
        assert_eq!(checked(log::DOUBTS - 1).await, Ok(()));
        let refused = checked(log::DOUBTS).await;
        assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
        let away = async || Err(LogError::Away("gone".into()));
        assert_eq!(
            check(away, 9).await,
            Ok(()),
            "whoever follows it sees to it"
        );
    }
}
