//! NATS servers: one, or a cluster of three, with JetStream, on free ports and in a directory of
//! their own. Killed, stopped, cut off and started again as a test likes.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, stream::Stream};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::Request,
    network::Network,
    process::{Process, Signal},
    service::free_address,
    tools,
    wait::{SOON, eventually},
};

/// Some servers that are one.
pub struct Nats {
    nodes: Vec<Node>,
    binary: PathBuf,
    home: TempDir,
    /// Where each has a machine of its own.
    network: Option<Network>,
}

struct Node {
    client: SocketAddr,
    monitor: SocketAddr,
    config: PathBuf,
    process: Option<Process>,
}

impl Nats {
    /// Starts these many, which sync what they acknowledge. `None` where there is no nats-server.
    pub fn start(count: usize) -> Option<Nats> {
        Self::start_with(count, "sync_interval: always", "")
    }

    /// Starts these many with this in their `jetstream` block, and this beside it.
    pub fn start_with(count: usize, jetstream: &str, more: &str) -> Option<Nats> {
        Self::start_in(None, count, jetstream, more)
    }

    /// Starts these many, each on a machine of its own, which can be cut off. `None` also where no
    /// network may be made.
    pub fn start_apart(count: usize) -> Option<Nats> {
        let network = Network::new(count)?;
        Self::start_in(Some(network), count, "sync_interval: always", "")
    }

    fn start_in(
        network: Option<Network>,
        count: usize,
        jetstream: &str,
        more: &str,
    ) -> Option<Nats> {
        let binary = tools::tool("nats-server")?;
        let home = TempDir::new().expect("a temporary directory");
        let address = |number: usize, port: u16| match &network {
            Some(network) => network.at(number, port),
            None => free_address(),
        };
        let routes: Vec<SocketAddr> = (0..count).map(|number| address(number, 6222)).collect();
        let all: Vec<String> = routes
            .iter()
            .map(|route| format!("nats://{route}"))
            .collect();
        let nodes = routes.iter().enumerate().map(|(number, route)| {
            let (client, monitor) = (address(number, 4222), address(number, 8222));
            let name = format!("n{number}");
            let store = home.path().join(&name);
            let cluster = match count {
                1 => String::new(),
                _ => format!(
                    "cluster {{ name: mercurio, listen: \"{route}\", routes: [{}] }}",
                    all.join(", ")
                ),
            };
            let text = format!(
                "server_name: {name}\nlisten: \"{client}\"\nhttp: \"{monitor}\"\nmax_payload: 8MB\n\
                 jetstream {{ store_dir: \"{}\", {jetstream} }}\n{cluster}\n{more}\n",
                store.display()
            );
            let config = home.path().join(format!("{name}.conf"));
            std::fs::write(&config, text).expect("write a configuration");
            Node {
                client,
                monitor,
                config,
                process: None,
            }
        });
        let mut nats = Nats {
            nodes: nodes.collect(),
            binary,
            home,
            network,
        };
        for node in 0..count {
            nats.start_node(node);
        }
        // A new core does not wait long for its log.
        let deadline = Instant::now() + SOON;
        for node in &nats.nodes {
            while TcpStream::connect(node.client).is_err() {
                assert!(Instant::now() < deadline, "nats-server does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Some(nats)
    }

    /// Starts one that is not running.
    pub fn start_node(&mut self, node: usize) {
        let config = &self.nodes[node].config;
        let mut command = match &self.network {
            Some(network) => network.command(node, &self.binary),
            None => Command::new(&self.binary),
        };
        let process = Process::spawn("nats-server", command.arg("-c").arg(config));
        self.nodes[node].process = Some(process);
    }

    /// Where one keeps what it has.
    pub fn store(&self, node: usize) -> PathBuf {
        self.home.path().join(format!("n{node}"))
    }

    /// kill -9.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// Kills all, and forgets all that they had.
    pub fn wipe(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
            std::fs::remove_dir_all(self.store(node)).expect("remove what it had");
        }
    }

    /// Sends a signal: SIGSTOP, SIGCONT.
    pub fn signal(&self, node: usize, signal: Signal) {
        if let Some(process) = &self.nodes[node].process {
            process.signal(signal);
        }
    }

    /// The network that each has a machine of its own in.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// There is one at least.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Where clients connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.client).collect()
    }

    /// The arguments for a core.
    pub fn args(&self) -> Vec<String> {
        let mut args = vec!["--log".to_owned(), "nats".into()];
        args.extend(["--log-replicas".into(), self.len().to_string()]);
        for node in &self.nodes {
            args.extend(["--log-url".into(), format!("nats://{}", node.client)]);
            args.extend([
                "--log-monitor-url".into(),
                format!("http://{}", node.monitor),
            ]);
        }
        args
    }

    /// What an operator does with tools of NATS.
    pub async fn operator(&self) -> jetstream::Context {
        let address = format!("nats://{}", self.addresses()[0]);
        jetstream::new(async_nats::connect(address).await.expect("connect"))
    }

    /// The stream `mercurio`.
    pub async fn stream(&self) -> Stream {
        let jetstream = self.operator().await;
        jetstream.get_stream("mercurio").await.expect("the stream")
    }

    /// Which one leads the stream `mercurio`.
    pub async fn leader(&self) -> usize {
        eventually(
            "the stream has a leader",
            Duration::from_secs(30),
            async || {
                for node in self.nodes.iter().filter(|node| node.process.is_some()) {
                    let asked = Request::get("/jsz?streams=true")
                        .try_send(node.monitor)
                        .await;
                    let Some(state) = asked.ok().filter(|answer| answer.status == 200) else {
                        continue;
                    };
                    let state: Value = state.json();
                    let streams = state["account_details"][0]["stream_detail"].clone();
                    for stream in streams.as_array().into_iter().flatten() {
                        if let Some(leader) = stream["cluster"]["leader"].as_str()
                            && stream["name"] == "mercurio"
                            && let Some(number) = leader.strip_prefix('n')
                        {
                            return number.parse().ok();
                        }
                    }
                }
                None
            },
        )
        .await
    }
}
