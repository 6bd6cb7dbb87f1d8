//! An address in front of another, as a network is: it can be cut, frozen and mended.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

use crate::service::free_address;

/// Passes connections on to another address. Ends when dropped.
pub struct Link {
    /// Where it listens.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Connections are accepted and stay open, and nothing passes.
    Frozen,
    /// Connections are closed and refused.
    Cut,
}

impl Link {
    /// A link to this address, open.
    pub async fn to(target: SocketAddr) -> Link {
        let address = free_address();
        let (state, watched) = watch::channel(State::Open);
        let listener = listen(address).await;
        let task = tokio::spawn(run(listener, address, target, watched));
        Link {
            address,
            state,
            task,
        }
    }

    /// Its address as a core's.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes every connection, and refuses new ones.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets nothing through any more, and says nothing of it: connections stay, and are accepted.
    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    /// Lets everything through again, what was held back included.
    pub fn mend(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    // Sets SO_REUSEADDR: connections that were cut don't hold the address.
    TcpListener::bind(address).await.expect("bind the link")
}

async fn run(
    mut listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
) {
    let of_connections = state.clone();
    loop {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = state.wait_for(|state| *state == State::Cut) => break,
                accepted = listener.accept() => {
                    let (from, _) = accepted.expect("accept a connection");
                    connections.spawn(pass(from, target, of_connections.clone()));
                }
            }
        }
        drop(listener);
        // Closes them.
        connections.shutdown().await;
        if state.wait_for(|state| *state != State::Cut).await.is_err() {
            return;
        }
        listener = listen(address).await;
    }
}

async fn pass(from: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    // Who is frozen out is not connected further.
    if state.wait_for(|state| *state == State::Open).await.is_err() {
        return;
    }
    let Ok(to) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&from, &to] {
        let _ = stream.set_nodelay(true);
    }
    let ((a, b), (c, d)) = (from.into_split(), to.into_split());
    // Either side's end is both sides'.
    tokio::select! {
        () = copy(a, d, state.clone()) => {}
        () = copy(c, b, state) => {}
    }
}

async fn copy(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        // What was on its way stays there.
        if state.wait_for(|state| *state == State::Open).await.is_err()
            || to.write_all(&bytes[..read]).await.is_err()
        {
            return;
        }
    }
}
