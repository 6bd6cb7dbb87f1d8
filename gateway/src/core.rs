//! One core: the connections to it, made when first used. Three of them: the relay has its own, so
//! that nothing else in flight can take its share of the flow control, and catch-ups have theirs.

use std::time::Duration;

use mercurio_proto::v1::{
    notification_service_client::NotificationServiceClient,
    relay_service_client::RelayServiceClient,
};
use mercurio_trace::grpc::Calls;
use tokio::time::timeout;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Error},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt;

use crate::{choice::Health, settings::GatewaySettings};

/// For calls of the core's.
pub(crate) type Client = NotificationServiceClient<Calls<Channel>>;

pub(crate) struct Core {
    pub url: String,
    relay: Channel,
    calls: Calls<Channel>,
    catch_ups: Calls<Channel>,
    message_max: usize,
}

/// Bytes that a catch-up may have in flight.
const CATCH_UP_WINDOW: u32 = 128 << 10;
/// How long a core may take to say how it is.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_500);

impl Core {
    /// Fails only on an address that is none.
    pub fn new(url: &str, settings: &GatewaySettings) -> Result<Self, Error> {
        let endpoint = endpoint(url)?;
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
        let traced = |channel| Calls::over(channel, settings.traces.clone());
        Ok(Self {
            url: url.to_owned(),
            relay: open(&endpoint),
            calls: traced(open(&endpoint)),
            catch_ups: traced(open(&catch_ups)),
            // A page of 500 of the largest notifications, as JSON would not be smaller.
            message_max: 500 * (settings.data_max_bytes + 4096),
        })
    }

    /// For calls that end by themselves.
    pub fn client(&self) -> Client {
        Client::new(self.calls.clone()).max_decoding_message_size(self.message_max)
    }

    /// For reading the store.
    pub fn catch_ups(&self) -> Client {
        Client::new(self.catch_ups.clone()).max_decoding_message_size(self.message_max)
    }

    pub fn relay(&self) -> RelayServiceClient<Channel> {
        RelayServiceClient::new(self.relay.clone()).max_decoding_message_size(self.message_max)
    }

    /// Asks the core how it is.
    pub async fn health(&self) -> Health {
        let mut client = HealthClient::new(self.calls.clone());
        let asked = client.check(HealthCheckRequest::default());
        match timeout(CHECK_TIMEOUT, asked).await {
            Ok(Ok(said)) if said.get_ref().status() == ServingStatus::Serving => Health::Serving,
            Ok(Ok(_)) => Health::NotServing,
            Ok(Err(_)) | Err(_) => Health::Silent,
        }
    }
}

/// How a core is connected to. One that is gone without a word is noticed within the two times of
/// the keep-alive, whatever is in flight.
fn endpoint(url: &str) -> Result<Endpoint, Error> {
    Ok(Endpoint::from_shared(url.to_owned())?
        .connect_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5)))
}

/// The stable reason of what a core refused; `None`: it is not the core's word.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Whether the same may well be answered soon, or by another core: this one is away, ends, lags, or
/// can't just now.
pub(crate) fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A connection that broke.
        Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded => {
            reason(status).is_none()
        }
        _ => false,
    }
}
