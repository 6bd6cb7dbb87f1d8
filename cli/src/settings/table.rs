//! The one table of settings. Flags, `MERCURIO_…` variables, TOML keys, defaults and help all come
//! from here; a new setting is a new row.

use super::{jwks, kind::Kind, telemetry, tls};

/// A command of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Core and gateway in one process.
    Serve,
    /// The core alone.
    Core,
    /// The gateway alone.
    Gateway,
    /// `serve` for trying out, with a key of its own.
    Dev,
    /// Prints a token.
    Token,
    /// Publishes a notification.
    Publish,
    /// Follows a feed.
    Subscribe,
    /// Lists notifications.
    History,
    /// Marks notifications.
    Read,
    /// Shows how cores and gateways are.
    Status,
    /// Lists who is connected.
    Streams,
    /// Makes a shared log of a data directory.
    Migrate,
    /// Deletes notifications.
    Delete,
    /// Revokes tokens.
    Revoke,
    /// Copies all that a core has.
    Backup,
    /// Makes a data directory of a backup.
    Restore,
    /// Checks a data directory.
    Verify,
}

use Command::{
    Backup, Core, Delete, Dev, Gateway, History, Migrate, Publish, Read, Restore, Revoke, Serve,
    Status, Streams, Subscribe, Token, Verify,
};

impl Command {
    /// All, in the order in which help shows them.
    pub const ALL: &'static [Self] = &[
        Serve, Core, Gateway, Dev, Token, Publish, Subscribe, History, Read, Delete, Revoke,
        Status, Streams, Backup, Restore, Verify, Migrate,
    ];

    /// As it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Serve => "serve",
            Core => "core",
            Gateway => "gateway",
            Dev => "dev",
            Token => "token",
            Publish => "publish",
            Subscribe => "subscribe",
            History => "history",
            Read => "read",
            Status => "status",
            Streams => "streams",
            Migrate => "migrate",
            Delete => "delete",
            Revoke => "revoke",
            Backup => "backup",
            Restore => "restore",
            Verify => "verify",
        }
    }

    /// Whether a core runs in it.
    #[must_use]
    pub fn has_core(self) -> bool {
        CORES.contains(&self)
    }

    /// Whether a gateway runs in it.
    #[must_use]
    pub fn has_gateway(self) -> bool {
        GATEWAYS.contains(&self)
    }
}

pub(super) const SERVERS: &[Command] = &[Serve, Core, Gateway, Dev];
const CORES: &[Command] = &[Serve, Core, Dev];
const LOGS: &[Command] = &[Serve, Core, Dev, Migrate];
const GATEWAYS: &[Command] = &[Serve, Gateway, Dev];
const CLIENTS: &[Command] = &[
    Publish, Subscribe, History, Read, Delete, Revoke, Status, Streams, Backup,
];
const CALLERS: &[Command] = &[
    Gateway, Publish, Subscribe, History, Read, Delete, Revoke, Status, Streams, Backup,
];
const SIGNERS: &[Command] = &[
    Serve, Core, Gateway, Dev, Token, Publish, Subscribe, History, Read, Delete, Revoke, Status,
    Streams, Backup,
];
const DATA: &[Command] = &[
    Serve, Core, Dev, Token, Publish, Subscribe, History, Read, Delete, Revoke, Status, Streams,
    Backup, Restore, Verify, Migrate,
];

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// In kebab-case: the flag behind `--`, and the key in the file.
    pub name: &'static str,
    /// What help calls its value.
    pub value_name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it is where nobody says; `None`: unset.
    pub default: Option<&'static str>,
    /// The commands that use it; the others pass it over where it stands in a shared file.
    pub commands: &'static [Command],
    /// The heading in help.
    pub group: &'static str,
    /// What it means, in a sentence or two.
    pub help: &'static str,
    /// Several values: the flag again, a comma in a variable, an array in the file.
    pub repeatable: bool,
    /// Its value is never shown.
    pub secret: bool,
    /// Whether there is a flag; not where the process list would show what it must not.
    pub flag: bool,
}

impl Setting {
    pub(super) const fn new(
        name: &'static str,
        value_name: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            value_name,
            kind,
            default: None,
            commands: &[],
            group: "",
            help,
            repeatable: false,
            secret: false,
            flag: true,
        }
    }

    pub(super) const fn of(mut self, group: &'static str, commands: &'static [Command]) -> Self {
        self.group = group;
        self.commands = commands;
        self
    }

    pub(super) const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    pub(super) const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn without_flag(mut self) -> Self {
        self.flag = false;
        self
    }

    /// Its variable: `MERCURIO_` and the name in capitals.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// What every variable begins with.
pub const PREFIX: &str = "MERCURIO_";

/// The setting of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// Where its listeners are.
const ADDRESSES: &str = "Addresses";
/// Who may do what.
pub(super) const KEYS: &str = "Keys and tokens";
/// What is kept, and where.
const STORE: &str = "Store and retention";
/// The log that cores share.
const LOG: &str = "Log";
/// What is allowed at most.
const LIMITS: &str = "Limits";
/// The gateway's streams.
const STREAMS: &str = "Browser streams";
/// Logs, shutdown, where settings come from.
const RUNNING: &str = "Running";

const MAX_COUNT: u64 = 1_000_000_000;
const TIB: u64 = 1 << 40;
const MIB: u64 = 1 << 20;

/// Every setting there is.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    ROWS.iter()
        .chain(tls::ROWS)
        .chain(jwks::ROWS)
        .chain(telemetry::ROWS)
}

static ROWS: &[Setting] = &[
    Setting::new("grpc-addr", "HOST:PORT", Kind::Address, "Where the core serves gRPC; port 0: any free one")
        .of(ADDRESSES, CORES)
        .default("127.0.0.1:50051"),
    Setting::new("http-addr", "HOST:PORT", Kind::Address, "Where the gateway serves HTTP and SSE; port 0: any free one")
        .of(ADDRESSES, GATEWAYS)
        .default("127.0.0.1:8000"),
    Setting::new("admin-addr", "HOST:PORT", Kind::Address, "Where /metrics, /healthz and /readyz are served; port 0: any free one")
        .of(ADDRESSES, SERVERS)
        .default("127.0.0.1:9464"),
    Setting::new("core-url", "URL", Kind::CoreUrl, "Where a core is, http:// or https://. Several: a gateway keeps to one, drawn at random, and goes to another when that one fails; other commands try them in turn")
        .of(ADDRESSES, CALLERS)
        .default("http://127.0.0.1:50051")
        .repeatable(),
    Setting::new("cors-origin", "ORIGIN", Kind::Origin, "An origin whose pages may call the gateway, as in https://app.example.org")
        .of(ADDRESSES, GATEWAYS)
        .repeatable(),
    Setting::new("jwt-secret", "SECRET", Kind::Text { max: 8192 }, "The secret tokens are signed with (HS256, HS384, HS512). The process list shows it: prefer --jwt-secret-file or the variable")
        .of(KEYS, SIGNERS)
        .secret(),
    Setting::new("jwt-secret-file", "FILE", Kind::Path, "A file whose bytes are that secret. Where it ends with a newline, tokens signed with or without it are accepted, and new ones are signed without it")
        .of(KEYS, SIGNERS),
    Setting::new("jwt-public-key-file", "FILE", Kind::Path, "A PEM file with a public key that tokens are verified with (RS*, PS*, ES*, EdDSA)")
        .of(KEYS, SERVERS)
        .repeatable(),
    Setting::new("jwt-user-claim", "CLAIM", Kind::Text { max: 128 }, "The claim that holds the user's id")
        .of(KEYS, SIGNERS)
        .default("sub"),
    Setting::new("jwt-allow-missing-exp", "", Kind::Switch, "Accept tokens that never expire")
        .of(KEYS, SERVERS)
        .default("false"),
    Setting::new("jwt-issuer", "ISS", Kind::Text { max: 1024 }, "What a token's `iss` must be")
        .of(KEYS, SIGNERS),
    Setting::new("jwt-audience", "AUD", Kind::Text { max: 1024 }, "What a token's `aud` must be or hold")
        .of(KEYS, SIGNERS),
    Setting::new("jwt-leeway", "TIME", Kind::duration("0s", "1h"), "How far the clocks of issuer and verifier may differ")
        .of(KEYS, SERVERS)
        .default("0s"),
    Setting::new("revocation-max-age", "TIME", Kind::duration("1m", "36500d"), "How long a revocation of tokens is kept where who revokes doesn't say when they expire: as long as tokens live, at least. With --jwt-allow-missing-exp, for ever")
        .of(KEYS, CORES)
        .default("90d"),
    Setting::new("jwt-cookie", "NAME", Kind::CookieName, "A cookie that may carry the token; a change by cookie is checked for its origin")
        .of(KEYS, GATEWAYS)
        .default("mercurio_token"),
    Setting::new("publisher", "ID", Kind::Text { max: 128 }, "A user who may publish without the scope notifications:publish")
        .of(KEYS, SERVERS)
        .repeatable(),
    Setting::new("core-token-file", "FILE", Kind::Path, "The token the gateway shows the core, with the scopes notifications:any and notifications:publish; needed where it has only a public key")
        .of(KEYS, &[Gateway]),
    Setting::new("token-file", "FILE", Kind::Path, "A file with the token to call the core with. Otherwise MERCURIO_TOKEN, or one made from the secret, or from the key `mercurio dev` left in the data directory")
        .of(KEYS, CLIENTS),
    Setting::new("token", "TOKEN", Kind::Text { max: 8192 }, "The token to call the core with")
        .of(KEYS, CLIENTS)
        .secret()
        .without_flag(),
    Setting::new("data-dir", "DIR", Kind::Path, "Where everything is stored; for other commands, where `mercurio dev` keeps its key")
        .of(STORE, DATA)
        .default("data"),
    Setting::new("max-age", "TIME", Kind::duration("1s", "36500d"), "How long a notification is kept; the same on every core of a shared log")
        .of(STORE, LOGS)
        .default("90d"),
    Setting::new("max-per-recipient", "N", Kind::number(1, MAX_COUNT), "How many notifications are kept for one recipient, the newest; the same on every core of a shared log")
        .of(STORE, LOGS)
        .default("10000"),
    Setting::new("sweep-interval", "TIME", Kind::duration("100ms", "1d"), "How often retention looks for what is past")
        .of(STORE, CORES)
        .default("1m"),
    Setting::new("disk-reserve-bytes", "BYTES", Kind::number(0, TIB), "Disk space that publishing leaves free; unset: an eighth of the file system, at most 64 MiB")
        .of(STORE, CORES),
    Setting::new("segment-rows", "N", Kind::number(100, 10_000_000), "Rows after which a segment of the store is full; space comes back a segment at a time")
        .of(STORE, CORES)
        .default("125000"),
    Setting::new("segment-bytes", "BYTES", Kind::number(64 * 1024, 4096 * MIB), "Bytes after which a segment of the store is full")
        .of(STORE, CORES)
        .default("268435456"),
    Setting::new("cache-bytes", "BYTES", Kind::number(MIB, TIB), "Page cache of the segment that is written to")
        .of(STORE, CORES)
        .default("67108864"),
    Setting::new("record-cache-bytes", "BYTES", Kind::number(MIB, TIB), "Cache for the index of the older segments, and a quarter of it for bodies that many share; what is everyone's comes on top")
        .of(STORE, CORES)
        .default("67108864"),
    Setting::new("snapshot-idle", "TIME", Kind::duration("100ms", "1d"), "How long a snapshot that a backup or another core began is kept when it is not read")
        .of(STORE, CORES)
        .default("10m"),
    Setting::new("log", "LOG", Kind::Choice(&["embedded", "nats", "rabbitmq"]), "Which log the core writes to: its own, or one that several cores share")
        .of(LOG, LOGS)
        .default("embedded"),
    Setting::new("log-url", "URL", Kind::LogUrl, "Where a shared log is: nats:// or tls:// for NATS, amqp:// or amqps:// for RabbitMQ; several: the next one is tried where one can't be reached")
        .of(LOG, LOGS)
        .repeatable(),
    Setting::new("log-name", "NAME", Kind::Name, "The stream's or queue's name")
        .of(LOG, LOGS)
        .default("mercurio"),
    Setting::new("log-user", "USER", Kind::Text { max: 256 }, "Who connects to the shared log")
        .of(LOG, LOGS),
    Setting::new("log-password", "PASSWORD", Kind::Text { max: 1024 }, "The password of --log-user")
        .of(LOG, LOGS)
        .secret()
        .without_flag(),
    Setting::new("log-credentials-file", "FILE", Kind::Path, "NATS: a credentials file, with a JWT and its seed")
        .of(LOG, LOGS),
    Setting::new("log-ca-file", "FILE", Kind::Path, "A PEM file with who signed the shared log's certificate; unset: whom the system trusts")
        .of(LOG, LOGS),
    Setting::new("log-cert-file", "FILE", Kind::Path, "NATS: a PEM file with the certificate that the core shows; needs --log-key-file")
        .of(LOG, LOGS),
    Setting::new("log-key-file", "FILE", Kind::Path, "NATS: a PEM file with its key")
        .of(LOG, LOGS),
    Setting::new("log-replicas", "N", Kind::number(1, 7), "Copies that the shared log keeps; a log with fewer is refused")
        .of(LOG, LOGS)
        .default("1"),
    Setting::new("log-monitor-url", "URL", Kind::CoreUrl, "NATS: where a server's monitoring is, as in http://10.0.0.7:8222; it is asked whether the server syncs what it acknowledges, and refused where it doesn't. Once for each server")
        .of(LOG, LOGS)
        .repeatable(),
    Setting::new("log-max-age", "TIME", Kind::duration("1m", "36500d"), "How long a shared log keeps what was appended, set when it is created; unset: for ever")
        .of(LOG, LOGS),
    Setting::new("log-wait", "TIME", Kind::duration("100ms", "5m"), "How long a write waits for the log before it is refused; an election of JetStream takes up to 9 s")
        .of(LOG, LOGS)
        .default("15s"),
    Setting::new("peer-url", "URL", Kind::CoreUrl, "A core of the same shared log, from which a new one is filled where the log no longer reaches back to its beginning")
        .of(LOG, CORES)
        .repeatable(),
    Setting::new("peer-token-file", "FILE", Kind::Path, "The token that is shown to --peer-url, with the scope notifications:admin; needed where there is only a public key")
        .of(LOG, CORES),
    Setting::new("log-lag", "TIME", Kind::duration("100ms", "1h"), "How long this core may be behind a shared log before it says that it is not ready")
        .of(LOG, LOGS)
        .default("10s"),
    Setting::new("data-max-bytes", "BYTES", Kind::number(1, 16 * MIB), "Bytes of a notification's data")
        .of(LIMITS, SERVERS)
        .default("65536"),
    Setting::new("recipients-max", "N", Kind::number(1, 100_000), "Recipients named in one publish")
        .of(LIMITS, SERVERS)
        .default("10000"),
    Setting::new("streams-per-user", "N", Kind::number(1, 1_000_000), "Streams open for one user")
        .of(LIMITS, SERVERS)
        .default("64"),
    Setting::new("streams-max", "N", Kind::number(1, 10_000_000), "Streams open at once")
        .of(LIMITS, SERVERS)
        .default("100000"),
    Setting::new("streams-per-address", "N", Kind::number(0, 10_000_000), "Browser streams open from one address (IPv6: from a /64), and with 1,024 more its connections; 0: no limit")
        .of(LIMITS, GATEWAYS)
        .default("10000"),
    Setting::new("requests-per-address", "N", Kind::number(0, 1_000_000), "HTTP requests a second from one address (IPv6: from a /64), and ten times as many at once; 0: no limit")
        .of(LIMITS, GATEWAYS)
        .default("1000"),
    Setting::new("requests-per-user", "N", Kind::number(0, 1_000_000), "HTTP requests, and calls over gRPC, a second by one user, publishing aside, and ten times as many at once; over gRPC those with the scope notifications:any are not limited; 0: no limit")
        .of(LIMITS, SERVERS)
        .default("100"),
    Setting::new("publishes-per-publisher", "N", Kind::number(0, 10_000_000), "Publishes a second by one publisher, over gRPC and HTTP, and ten times as many at once; one that names several hundred recipients counts as so many; 0: no limit")
        .of(LIMITS, CORES)
        .default("5000"),
    Setting::new("trusted-proxy", "NETWORK", Kind::Network, "A proxy in front of the gateway, as an address or a network as in 10.0.0.0/8, whose X-Forwarded-For or Forwarded says from which address a request comes")
        .of(LIMITS, GATEWAYS)
        .repeatable(),
    Setting::new("read-timeout", "TIME", Kind::duration("100ms", "5m"), "How long an HTTP client may take to send a request's head, or its body, or to take what it is sent; over HTTP/2 three times as long for a head")
        .of(LIMITS, GATEWAYS)
        .default("10s"),
    Setting::new("writer-queue", "N", Kind::number(1, 1_000_000), "Requests that may wait for the writer")
        .of(LIMITS, CORES)
        .default("8192"),
    Setting::new("grpc-connections-max", "N", Kind::number(1, 1_000_000), "gRPC connections open at once; more wait to be accepted")
        .of(LIMITS, CORES)
        .default("10000"),
    Setting::new("grpc-connections-per-address", "N", Kind::number(0, 1_000_000), "gRPC connections open at once from one address; one more is closed; 0: no limit")
        .of(LIMITS, CORES)
        .default("1000"),
    Setting::new("grpc-calls-per-address", "N", Kind::number(0, 10_000_000), "gRPC calls a second from one address, and ten times as many at once; 0: no limit")
        .of(LIMITS, CORES)
        .default("50000"),
    Setting::new("grpc-keepalive", "TIME", Kind::duration("100ms", "1h"), "How often a quiet gRPC peer is asked whether it is there; it has half as long to answer")
        .of(LIMITS, CORES)
        .default("20s"),
    Setting::new("heartbeat", "TIME", Kind::duration("100ms", "10m"), "How often a quiet browser stream gets a comment")
        .of(STREAMS, GATEWAYS)
        .default("15s"),
    Setting::new("retry", "TIME", Kind::duration("1ms", "10m"), "How long a browser waits before it reconnects")
        .of(STREAMS, GATEWAYS)
        .default("3s"),
    Setting::new("shutdown-grace", "TIME", Kind::duration("100ms", "1h"), "How long a shutdown may take")
        .of(RUNNING, SERVERS)
        .default("10s"),
    Setting::new("log-format", "FORMAT", Kind::Choice(&["text", "json"]), "How the log on standard error is written")
        .of(RUNNING, SERVERS)
        .default("text"),
    Setting::new("log-level", "FILTER", Kind::LogFilter, "What is logged: error, warn, info, debug, trace, or by module as in info,mercurio_core=debug")
        .of(RUNNING, SERVERS)
        .default("info"),
    Setting::new("access-log", "", Kind::Switch, "Log a line for each request and call, and for each stream at its end, at the level info as mercurio::access")
        .of(RUNNING, SERVERS)
        .default("true"),
    Setting::new(CONFIG, "FILE", Kind::Path, "A TOML file with settings, the keys named as the flags")
        .of(RUNNING, Command::ALL),
];

/// The setting that names the file with the others.
pub const CONFIG: &str = "config";
