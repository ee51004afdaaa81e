//! Binding the address, also while the process that is being replaced still serves on it.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::web::health::STOPPING;

/// How many connections may wait to be accepted. With more, a burst is accepted faster than the connections that it
/// replaces can be closed, and descriptors run out.
const BACKLOG: i32 = 128;
/// How long the process on the address may take to say that it is stopping.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than the response of `/readyz` takes, in bytes.
const MAX_RESPONSE: u64 = 16 * 1024;

/// Binds an address. It may be shared with a Keydesk process that has received SIGTERM, so that its replacement
/// can start during `KEYDESK_DRAIN` and no connection is refused in between. An address that anything else
/// listens on is in use, even though the kernel would let two processes of one user share it (`SO_REUSEPORT`).
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    match socket(address, false) {
        Ok(free) => drop(free),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stopping(address) => {
            tracing::info!(%address, "taking over the address from a process that is stopping");
        }
        Err(error) => return Err(error),
    }
    let socket = socket(address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that is bound but does not listen.
fn socket(address: SocketAddr, is_shared: bool) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Whether a Keydesk process that is stopping serves on the address.
fn is_stopping(mut address: SocketAddr) -> bool {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    readiness(address).is_ok_and(|response| response.contains(STOPPING))
}

fn readiness(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.take(MAX_RESPONSE).read_to_string(&mut response)?;
    Ok(response)
}
