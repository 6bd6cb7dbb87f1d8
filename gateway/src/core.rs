//! Calls to the core. Of each core three connections: the relay has its own, so that nothing else
//! in flight can take its share of the flow control, and catch-ups have theirs.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use mercurio_auth::ServiceTokens;
use mercurio_proto::v1::{
    notification_service_client::NotificationServiceClient,
    relay_service_client::RelayServiceClient,
};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use crate::settings::GatewaySettings;

pub(crate) struct Core {
    cores: Vec<Channels>,
    current: AtomicUsize,
    tokens: ServiceTokens,
    call_timeout: Duration,
    message_max: usize,
}

/// The connections to one core, made when first used.
struct Channels {
    relay: Channel,
    calls: Channel,
    catch_ups: Channel,
}

/// Bytes that a catch-up may have in flight.
const CATCH_UP_WINDOW: u32 = 128 << 10;

impl Core {
    /// Connects when first called. Fails only on an address that is none.
    pub fn new(
        settings: &GatewaySettings,
        tokens: ServiceTokens,
    ) -> Result<Self, (String, tonic::transport::Error)> {
        let connect = |url: &String| {
            let endpoint: Endpoint = Endpoint::from_shared(url.clone())
                .map_err(|error| (url.clone(), error))?
                .connect_timeout(Duration::from_secs(2))
                .keep_alive_while_idle(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5));
            // Room for all of them, so that one which is not read holds up no other.
            let room = u32::try_from(settings.catch_ups + 1)
                .unwrap_or(u32::MAX)
                .saturating_mul(CATCH_UP_WINDOW)
                .min(i32::MAX as u32);
            let catch_ups = endpoint
                .clone()
                .initial_stream_window_size(CATCH_UP_WINDOW)
                .initial_connection_window_size(room);
            let open =
                |endpoint: &Endpoint| endpoint.connect_with_connector_lazy(settings.dial.clone());
            Ok(Channels {
                relay: open(&endpoint),
                calls: open(&endpoint),
                catch_ups: open(&catch_ups),
            })
        };
        Ok(Self {
            cores: settings
                .core_urls
                .iter()
                .map(connect)
                .collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
            tokens,
            call_timeout: settings.call_timeout,
            // A page of 500 of the largest notifications, as JSON would not be smaller.
            message_max: 500 * (settings.data_max_bytes + 4096),
        })
    }

    /// For calls that end by themselves.
    pub fn client(&self) -> NotificationServiceClient<Channel> {
        NotificationServiceClient::new(self.current().calls.clone())
            .max_decoding_message_size(self.message_max)
    }

    /// For reading the store.
    pub fn catch_ups(&self) -> NotificationServiceClient<Channel> {
        NotificationServiceClient::new(self.current().catch_ups.clone())
            .max_decoding_message_size(self.message_max)
    }

    pub fn relay(&self) -> RelayServiceClient<Channel> {
        RelayServiceClient::new(self.current().relay.clone())
            .max_decoding_message_size(self.message_max)
    }

    fn current(&self) -> &Channels {
        &self.cores[self.current.load(Ordering::Relaxed) % self.cores.len()]
    }

    /// This one can't be reached: the next in turn.
    pub fn turn(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// The gateway's own token, to be shown with each call.
    pub fn token(&self) -> Result<String, Status> {
        self.tokens.token().map_err(|error| {
            tracing::error!(%error, "no token to call the core with");
            Status::unauthenticated("the gateway has no token")
        })
    }

    /// A call that ends by itself.
    pub fn call<T>(&self, request_id: &str, message: T) -> Result<Request<T>, Status> {
        let mut request = self.stream(request_id, message)?;
        request.set_timeout(self.call_timeout);
        Ok(request)
    }

    /// A call that may go on.
    pub fn stream<T>(&self, request_id: &str, message: T) -> Result<Request<T>, Status> {
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
