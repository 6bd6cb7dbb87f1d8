//! What can be set.

use std::time::Duration;

use ipnet::IpNet;
use mercurio_auth::Issuer;
use mercurio_net::{Dial, ServerTls};
use mercurio_trace::Traces;

/// The gateway's settings, with their defaults.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// The cores, of which one at a time is the gateway's. Default `http://127.0.0.1:50051`.
    pub core_urls: Vec<String>,
    /// How they are reached. Default: over TCP, without TLS.
    pub dial: Dial,
    /// The listener's certificate, for HTTP/2 and HTTP/1.1. Default: none, HTTP/1.1 alone.
    pub tls: Option<ServerTls>,
    /// Origins whose pages may call; `*` is any, without cookies. Default: none.
    pub cors_origins: Vec<String>,
    /// The cookie that may carry a token. Default `mercurio_token`.
    pub cookie_name: String,
    /// Open streams of all users. Default 100,000.
    pub streams_max: usize,
    /// Connections, as far as open files allow; beyond it they wait to be accepted. Default: as
    /// many as streams, and some.
    pub connections_max: usize,
    /// Open streams of one user. Default 64.
    pub streams_per_user: usize,
    /// Open streams of one address, and with some more its connections. Default 10,000.
    pub streams_per_address: usize,
    /// Requests a second from one address, and ten times as many at once; 0: no limit. Default 1,000.
    pub requests_per_address: u32,
    /// Requests a second of one user's, and ten times as many at once; 0: no limit. Default 100.
    /// Publishing is limited by the core.
    pub requests_per_user: u32,
    /// Whose word is taken for the address that a request comes from. Default: nobody's.
    pub trusted_proxies: Vec<IpNet>,
    /// Entries that wait for one slow stream before it goes back to the store. Default 64.
    pub mailbox: usize,
    /// Streams that read the store at once. Default 128.
    pub catch_ups: usize,
    /// After so much quiet a stream gets a heartbeat. Default 15 s.
    pub heartbeat: Duration,
    /// When a browser is to reconnect. Default 3 s.
    pub retry: Duration,
    /// How long a new stream waits for the core before it is refused. Default 5 s.
    pub open_timeout: Duration,
    /// How long a call to the core may take. Default 10 s.
    pub call_timeout: Duration,
    /// How long a client may take to send its head, or its body, and may leave an answer unread.
    /// Over HTTP/2, where a head is noticed only when it is whole, three times as long, and twice for
    /// an answer. Default 10 s.
    pub read_timeout: Duration,
    /// Bytes of a notification's data. Default 65,536.
    pub data_max_bytes: usize,
    /// Destinations of one broadcast. Default 10,000.
    pub recipients_max: usize,
    /// Serve the demo page at `/`, and hand it tokens of this issuer's. Default no.
    pub demo: Option<Issuer>,
    /// How long streams and calls have to end at shutdown. Default 5 s.
    pub shutdown_grace: Duration,
    /// Where spans of requests and deliveries are made. Default: none are.
    pub traces: Traces,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            core_urls: vec!["http://127.0.0.1:50051".into()],
            dial: Dial::Tcp(None),
            tls: None,
            cors_origins: Vec::new(),
            cookie_name: "mercurio_token".into(),
            streams_max: 100_000,
            connections_max: usize::MAX,
            streams_per_user: 64,
            streams_per_address: 10_000,
            requests_per_address: 1_000,
            requests_per_user: 100,
            trusted_proxies: Vec::new(),
            mailbox: 64,
            catch_ups: 128,
            heartbeat: Duration::from_secs(15),
            retry: Duration::from_secs(3),
            open_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            data_max_bytes: 65_536,
            recipients_max: 10_000,
            demo: None,
            shutdown_grace: Duration::from_secs(5),
            traces: Traces::default(),
        }
    }
}
