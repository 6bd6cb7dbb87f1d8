//! RabbitMQ servers: one, or a cluster of three, each with a name, ports and directories of its own.
//! Debian's wrapper would change to a user of its own: the script behind it is run.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::{
    network::Network,
    process::{Process, Signal},
    service::{finish, free_address},
    tools,
    wait::eventually,
};

/// Where Debian has the scripts.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// How long a server may take to start; it is an Erlang machine on a busy computer.
const START: Duration = Duration::from_secs(180);

/// Some servers that are one.
pub struct RabbitMq {
    nodes: Vec<Node>,
    home: TempDir,
    /// Of the daemon that tells them each other's ports, and outlives them.
    epmd: SocketAddr,
    /// Where each has a machine of its own.
    network: Option<Network>,
}

struct Node {
    name: String,
    client: SocketAddr,
    distribution: SocketAddr,
    process: Option<Process>,
}

impl RabbitMq {
    /// Starts these many, and waits until they serve. `None` where there is no RabbitMQ.
    pub async fn start(count: usize) -> Option<RabbitMq> {
        Self::start_with(count, "").await
    }

    /// Starts these many with this in their configuration.
    pub async fn start_with(count: usize, more: &str) -> Option<RabbitMq> {
        Self::start_in(None, count, more).await
    }

    /// Starts these many, each on a machine of its own, which can be cut off. `None` also where no
    /// network may be made.
    pub async fn start_apart(count: usize) -> Option<RabbitMq> {
        let network = Network::new(count)?;
        Self::start_in(Some(network), count, "").await
    }

    async fn start_in(network: Option<Network>, count: usize, more: &str) -> Option<RabbitMq> {
        tools::tool_at(Path::new(SCRIPTS).join("rabbitmq-server"))?;
        let home = TempDir::new().expect("a temporary directory");
        let epmd = free_address();
        let address = |number: usize, port: u16| match &network {
            Some(network) => network.at(number, port),
            None => free_address(),
        };
        let nodes: Vec<Node> = (0..count)
            .map(|number| {
                let host = match &network {
                    Some(network) => network.address(number).to_string(),
                    None => "localhost".into(),
                };
                Node {
                    name: format!("mercurio{number}-{}@{host}", epmd.port()),
                    client: address(number, 5672),
                    distribution: address(number, 25672),
                    process: None,
                }
            })
            .collect();
        let mut rabbit = RabbitMq {
            nodes,
            home,
            epmd,
            network,
        };
        rabbit.write_config(more);
        for node in 0..count {
            // One after the other: the first one makes the cluster that the others join.
            rabbit.start_node(node);
            rabbit.serves(node).await;
        }
        Some(rabbit)
    }

    fn write_config(&self, more: &str) {
        let mut text =
            "log.console = true\nlog.console.level = warning\nlog.file = false\n".to_owned();
        // One that was cut off must not go on by itself.
        text.push_str("cluster_partition_handling = pause_minority\n");
        // The user that there is from the beginning, also from other machines.
        text.push_str("loopback_users = none\n");
        text.push_str("cluster_formation.peer_discovery_backend = classic_config\n");
        for (place, node) in self.nodes.iter().enumerate() {
            text.push_str(&format!(
                "cluster_formation.classic_config.nodes.{} = {}\n",
                place + 1,
                node.name
            ));
        }
        text.push_str(more);
        let home = self.home.path();
        std::fs::write(home.join("rabbitmq.conf"), text).expect("write a configuration");
        std::fs::write(home.join("plugins"), "[].").expect("write a configuration");
    }

    fn command(&self, script: &str, node: usize) -> Command {
        let home = self.home.path();
        let of = &self.nodes[node];
        let own = |what: &str| -> PathBuf { home.join(format!("{what}{node}")) };
        let script = Path::new(SCRIPTS).join(script);
        let mut command = match &self.network {
            Some(network) => network.command(node, &script),
            None => Command::new(script),
        };
        command
            // Of hosts that are addresses.
            .env("RABBITMQ_USE_LONGNAME", self.network.is_some().to_string())
            .env("HOME", home)
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
            .env("RABBITMQ_NODENAME", &of.name)
            .env("RABBITMQ_NODE_IP_ADDRESS", of.client.ip().to_string())
            .env("RABBITMQ_NODE_PORT", of.client.port().to_string())
            .env("RABBITMQ_DIST_PORT", of.distribution.port().to_string())
            .env("RABBITMQ_MNESIA_BASE", own("data"))
            .env("RABBITMQ_LOG_BASE", own("log"))
            .env("RABBITMQ_PID_FILE", own("pid"))
            // A server that went silent is noticed after this many seconds; Erlang's default is 60.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel net_ticktime 6",
            )
            .env("ERL_EPMD_PORT", self.epmd.port().to_string());
        command
    }

    /// Starts one that is not running.
    pub fn start_node(&mut self, node: usize) {
        let mut command = self.command("rabbitmq-server", node);
        self.nodes[node].process = Some(Process::spawn("rabbitmq", &mut command));
    }

    /// Waits until it serves.
    pub async fn serves(&self, node: usize) {
        let client = self.nodes[node].client;
        eventually("RabbitMQ serves", START, async || {
            TcpStream::connect(client).ok()
        })
        .await;
        let mut command = self.command("rabbitmqctl", node);
        let (status, said, error) =
            finish("rabbitmqctl", command.arg("await_startup"), START).await;
        assert!(status.success(), "{said}{error}");
    }

    /// kill -9 of the machine, not of the script that started it.
    pub fn kill(&mut self, node: usize) {
        self.signal(node, Signal::KILL);
        self.nodes[node].process = None;
    }

    /// Sends a signal: SIGSTOP, SIGCONT.
    pub fn signal(&self, node: usize, signal: Signal) {
        let file = self.home.path().join(format!("pid{node}"));
        let id = std::fs::read_to_string(file).ok();
        let id = id.and_then(|id| Pid::from_raw(id.trim().parse().ok()?));
        if let (Some(id), Some(_)) = (id, &self.nodes[node].process) {
            // Fails where it has ended.
            let _ = kill_process(id, signal);
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
        let mut args = vec!["--log".to_owned(), "rabbitmq".into()];
        args.extend(["--log-replicas".into(), self.len().to_string()]);
        for node in &self.nodes {
            args.extend(["--log-url".into(), format!("amqp://{}", node.client)]);
        }
        args
    }

    /// Which one leads the stream `mercurio`.
    pub async fn leader(&self) -> usize {
        let running = self.nodes.iter().position(|node| node.process.is_some());
        let asked = running.expect("one runs");
        eventually("the stream has a leader", START, async || {
            let mut command = self.command("rabbitmqctl", asked);
            command.args(["-q", "list_queues", "name", "leader", "--no-table-headers"]);
            let (status, said, _) = finish("rabbitmqctl", &mut command, START).await;
            let leader = said
                .lines()
                .find_map(|line| line.strip_prefix("mercurio\t"));
            leader.filter(|_| status.success()).and_then(|leader| {
                self.nodes
                    .iter()
                    .position(|node| node.name == leader.trim())
            })
        })
        .await
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        if self.network.is_some() {
            // It ends with the machines.
            return;
        }
        // Found by the port that nobody else listens on.
        let mut epmd = Command::new("epmd");
        let _ = epmd
            .args(["-port", &self.epmd.port().to_string(), "-kill"])
            .output();
    }
}
