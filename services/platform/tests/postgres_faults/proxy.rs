//! The network between a service and its database, which can lose everything without a word.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Forwards connections, until it is told to lose them: then nothing comes through in either direction, and
/// nobody is told, as when a host has vanished or a firewall has forgotten its connections.
pub struct Proxy {
    pub address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Network {
    is_up: bool,
    /// Connections of an earlier one are lost.
    age: u64,
}

impl Proxy {
    /// A network that works, on the way to `server`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = watch::Sender::new(Network {
            is_up: true,
            age: 0,
        });
        let state = network.clone();
        let accepting = tokio::spawn(async move {
            // Kept open, because the end of a connection is a word too.
            let mut lost = Vec::new();
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let now = *state.borrow();
                if !now.is_up {
                    lost.push(client);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                tokio::spawn(forward(client_in, server_out, state.subscribe()));
                tokio::spawn(forward(server_in, client_out, state.subscribe()));
            }
        });
        Self {
            address,
            network,
            accepting,
        }
    }

    /// Loses every connection, and those that are made from now on.
    pub fn vanish(&self) {
        self.change(false);
    }

    /// Loses every connection that there is; new ones work.
    pub fn forget(&self) {
        self.change(true);
    }

    fn change(&self, is_up: bool) {
        self.network.send_modify(|network| {
            network.is_up = is_up;
            network.age += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
) {
    let begun = *network.borrow_and_update();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = async { drop(network.wait_for(|now| *now != begun).await) } => None,
            read = from.read(&mut bytes) => Some(read),
        };
        match read {
            Some(Ok(length)) if length > 0 && to.write_all(&bytes[..length]).await.is_ok() => {}
            Some(_) => return,
            None => break,
        }
    }
    // Until the proxy is gone the sockets stay open, and nothing moves.
    while network.changed().await.is_ok() {}
}
