//! Which log, and how to reach it.

use std::{fmt, path::PathBuf, time::Duration};

/// Which log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogKind {
    /// The store's own. No other core shares it.
    #[default]
    Embedded,
    /// A stream of NATS JetStream.
    Nats,
    /// A stream queue of RabbitMQ, over AMQP 0.9.1.
    RabbitMq,
}

/// Which log, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Which log. Default embedded; nothing else here matters then.
    pub kind: LogKind,
    /// Servers of the engine (`nats://…`, `tls://…`; `amqp://…`, `amqps://…`), tried in turn.
    pub urls: Vec<String>,
    /// The stream's or queue's name. Default `mercurio`.
    pub name: String,
    /// Who connects, where the engine asks.
    pub user: Option<String>,
    /// The password of `user`; never shown.
    pub password: Option<String>,
    /// NATS: a credentials file (a JWT and its seed).
    pub credentials: Option<PathBuf>,
    /// Certificates (PEM) of who signed the server's. `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// NATS: this client's certificate and key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Copies that the engine keeps. A log with fewer is refused. Default 1.
    pub replicas: usize,
    /// NATS: where each server's monitoring is (`http://HOST:8222`). They are asked whether they sync
    /// what they acknowledge, and refused where they don't. None: it can't be known.
    pub monitors: Vec<String>,
    /// How long the engine keeps what was appended; set when the log is created. `None`: for ever.
    pub max_age: Option<Duration>,
    /// How long a write waits for the engine before it is refused. An election of JetStream takes
    /// up to 9 s. Default 15 s.
    pub wait: Duration,
    /// How long this core may be behind the log before it says that it is not well. Default 10 s.
    pub lag: Duration,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            kind: LogKind::Embedded,
            urls: Vec::new(),
            name: "mercurio".into(),
            user: None,
            password: None,
            credentials: None,
            ca: None,
            identity: None,
            replicas: 1,
            monitors: Vec::new(),
            max_age: None,
            wait: Duration::from_secs(15),
            lag: Duration::from_secs(10),
        }
    }
}

/// Without what is secret.
impl fmt::Debug for LogSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSettings")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}
