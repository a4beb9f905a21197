//! Opens listeners, so that whoever starts a service learns which setting to change.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use tokio::net::TcpListener;

use super::ConfigError;
use crate::error::Error;

/// Listens on `address`; port 0 takes any free port.
///
/// `what` is the setting that the address came from, such as `registry.listen`. An address that is not
/// loopback is refused unless `insecure` says so, since there is neither TLS nor authentication. Must be
/// called within a tokio runtime.
pub fn bind(address: &str, what: &str, insecure: bool) -> Result<TcpListener, ConfigError> {
    let address = check(address, what, insecure)?;
    let listen = || -> std::io::Result<TcpListener> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    listen().map_err(|error| {
        let port = address.port();
        let reason = match error.kind() {
            ErrorKind::AddrInUse => format!(
                "port {port} on {} is taken by another program",
                address.ip()
            ),
            ErrorKind::PermissionDenied => {
                format!("port {port} needs more rights than this process has")
            }
            ErrorKind::AddrNotAvailable => {
                format!("{} is not an address of this machine", address.ip())
            }
            _ => format!("cannot listen on {address}: {error}"),
        };
        ConfigError::one(format!(
            "{what}: {reason}; choose another with the setting {what}"
        ))
    })
}

/// The address that [`bind`] would listen on.
pub fn check(address: &str, what: &str, insecure: bool) -> Result<SocketAddr, ConfigError> {
    let address = resolve(address, what)?;
    if !address.ip().is_loopback() && !insecure {
        return Err(ConfigError::one(format!(
            "{what}: {address} is not a loopback address; without TLS and authentication everybody who \
             reaches it may command it, so it needs an explicit --insecure"
        )));
    }
    Ok(address)
}

/// The URL by which this machine reaches a listener.
pub fn url_of(listener: &TcpListener) -> crate::Result<String> {
    let mut address = listener
        .local_addr()
        .map_err(|error| Error::internal("read the listener's address", error))?;
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    Ok(format!("http://{address}"))
}

fn resolve(address: &str, what: &str) -> Result<SocketAddr, ConfigError> {
    let malformed = |reason: &str| {
        ConfigError::one(format!(
            "{what}: {address:?} {reason}; it must have the form 127.0.0.1:7401"
        ))
    };
    let mut found = address
        .to_socket_addrs()
        .map_err(|_| malformed("is not an address with a port"))?;
    found
        .next()
        .ok_or_else(|| malformed("resolves to no address"))
}
