//! Listeners: bound to what is configured, and where they are then.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::Addresses;
use crate::{error::Failure, settings::Settings};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 8192;

/// Where this process reaches a listener of its own: not every address to listen on is one to
/// connect to.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

/// The listeners that are bound.
pub struct Bound<'a> {
    pub settings: &'a Settings,
    pub addresses: &'a mut Addresses,
}

impl Bound<'_> {
    /// Binds the listener of a setting.
    ///
    /// # Errors
    /// The address can't be had.
    pub async fn bind(&mut self, setting: &str, has_tls: bool) -> Result<TcpListener, Failure> {
        let given = self.settings.text(setting).unwrap_or_default();
        let refused =
            |error: std::io::Error| Failure::other(format!("--{setting} {given}: {error}"));
        let listener = bind(given).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        if !has_tls && !address.ip().is_loopback() {
            tracing::warn!(%address, "--{setting} listens beyond this machine, without TLS");
        }
        let place = match setting {
            "grpc-addr" => &mut self.addresses.grpc,
            "http-addr" => &mut self.addresses.http,
            _ => &mut self.addresses.admin,
        };
        *place = Some(address);
        Ok(listener)
    }
}

async fn bind(given: &str) -> std::io::Result<TcpListener> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in lookup_host(given).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
