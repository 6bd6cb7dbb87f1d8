//! What the commands that call a core share.

use std::{
    fmt::Display,
    future::Future,
    io::{self, Write},
    time::Duration,
};

use mercurio_auth::{Issuer, SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH};
use mercurio_net::Dial;
use mercurio_proto::v1::{
    admin_service_client::AdminServiceClient,
    notification_service_client::NotificationServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    error::Failure,
    server::{keys, tls},
    settings::Settings,
};

/// Shows its token with each call.
type Authorized = InterceptedService<Channel, Bearer>;
/// A client of the feeds.
pub type Client = NotificationServiceClient<Authorized>;
/// A client of the administration.
pub type Admin = AdminServiceClient<Authorized>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A core that hangs is one that can't be reached: how often it is asked, and how long it has.
const KEEPALIVE: Duration = Duration::from_secs(5);
const MESSAGE_MAX: usize = 64 << 20;

/// Runs a command's future to its end.
pub fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(Failure::other)?.block_on(command)
}

/// Connects to the first core that answers.
pub async fn connect(settings: &Settings) -> Result<Client, Failure> {
    let channel = channel(settings, &[SCOPE_ANY, SCOPE_PUBLISH]).await?;
    Ok(Client::new(channel).max_decoding_message_size(MESSAGE_MAX))
}

/// [`connect`], for what only those who run the service may.
pub async fn admin(settings: &Settings) -> Result<Admin, Failure> {
    let channel = channel(settings, &[SCOPE_ADMIN]).await?;
    Ok(Admin::new(channel).max_decoding_message_size(MESSAGE_MAX))
}

/// [`admin`], of this core alone.
pub async fn admin_of(settings: &Settings, url: &str) -> Result<Admin, Failure> {
    let bearer = Bearer::new(&token(settings, &[SCOPE_ADMIN])?)?;
    let channel = channel_to(url, Dial::Tcp(tls::client(settings)?)).await?;
    let channel = InterceptedService::new(channel, bearer);
    Ok(Admin::new(channel).max_decoding_message_size(MESSAGE_MAX))
}

/// Keeps a failure for the end, when others are still to be asked; the one before it is said.
pub fn note(failed: &mut Option<Failure>, failure: Failure) {
    if let Some(before) = failed.replace(failure) {
        eprintln!("mercurio: {before}");
    }
}

async fn channel_to(url: &str, dial: Dial) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Failure::Usage(format!("--core-url {url}: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let connected = endpoint.connect_with_connector(dial).await;
    connected.map_err(|error| {
        let message = format!("no core answers at {url}: {}", cause(&error));
        Status::unavailable(message).into()
    })
}

async fn channel(settings: &Settings, scopes: &[&str]) -> Result<Authorized, Failure> {
    let bearer = Bearer::new(&token(settings, scopes)?)?;
    let dial = Dial::Tcp(tls::client(settings)?);
    let mut last = Failure::Usage("--core-url: none is given".into());
    for url in settings.texts("core-url") {
        match channel_to(&url, dial.clone()).await {
            Ok(channel) => return Ok(InterceptedService::new(channel, bearer)),
            Err(failure @ Failure::Usage(_)) => return Err(failure),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// The innermost reason: what is around it says only that there was an error.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The token to call with: given, or made with these scopes from the secret, or from the key of
/// `mercurio dev`.
pub fn token(settings: &Settings, scopes: &[&str]) -> Result<String, Failure> {
    if let Some(token) = settings.text("token") {
        return Ok(token.to_owned());
    }
    if let Some(path) = settings.path("token-file") {
        let token = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("--token-file {}: {error}", path.display())))?;
        return Ok(token.trim().to_owned());
    }
    let key = keys::signing_or_dev(settings)?;
    let issuer = Issuer::new(key, &keys::rules(settings)?);
    issuer
        .issue("mercurio-cli", scopes, Duration::from_secs(24 * 3600))
        .map_err(Failure::other)
}

/// Adds the Authorization header.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(token: &str) -> Result<Self, Failure> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| Failure::Usage("the token has bytes that no token has".into()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Prints a line. `false`: nobody reads any more.
pub fn print(line: &impl Display) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::other(format!("write the output: {error}"))),
    }
}
