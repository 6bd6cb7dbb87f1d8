//! A log that cores share, whichever server has it, and cores on it.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    http::Request,
    nats::Nats,
    network::Network,
    process::Signal,
    rabbitmq::RabbitMq,
    service::{Service, Setup},
    wait::{LATER, eventually},
};

/// The servers of a shared log.
pub enum Engine {
    /// NATS JetStream.
    Nats(Nats),
    /// RabbitMQ.
    RabbitMq(RabbitMq),
}

impl Engine {
    /// The arguments for a core.
    pub fn args(&self) -> Vec<String> {
        match self {
            Engine::Nats(nats) => nats.args(),
            Engine::RabbitMq(rabbit) => rabbit.args(),
        }
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        match self {
            Engine::Nats(nats) => nats.len(),
            Engine::RabbitMq(rabbit) => rabbit.len(),
        }
    }

    /// There is one at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The server that leads the log.
    pub async fn leader(&self) -> usize {
        match self {
            Engine::Nats(nats) => nats.leader().await,
            Engine::RabbitMq(rabbit) => rabbit.leader().await,
        }
    }

    /// kill -9 of a server.
    pub fn kill(&mut self, node: usize) {
        match self {
            Engine::Nats(nats) => nats.kill(node),
            Engine::RabbitMq(rabbit) => rabbit.kill(node),
        }
    }

    /// Starts a server that was killed, and waits until it serves.
    pub async fn start_node(&mut self, node: usize) {
        match self {
            Engine::Nats(nats) => nats.start_node(node),
            Engine::RabbitMq(rabbit) => {
                rabbit.start_node(node);
                rabbit.serves(node).await;
            }
        }
    }

    /// Sends a signal to a server: SIGSTOP, SIGCONT.
    pub fn signal(&self, node: usize, signal: Signal) {
        match self {
            Engine::Nats(nats) => nats.signal(node, signal),
            Engine::RabbitMq(rabbit) => rabbit.signal(node, signal),
        }
    }

    /// Cuts a server off: it hears of nobody, nobody hears of it, and its connections stay open.
    /// Where it has no machine of its own it is stopped instead, which looks the same to others.
    pub async fn cut(&self, node: usize) {
        match self.network() {
            Some(network) => network.cut(node),
            None => self.signal(node, Signal::STOP),
        }
        if self.network().is_some() {
            let connecting = TcpStream::connect(self.client(node));
            let answered = timeout(Duration::from_millis(500), connecting).await;
            assert!(!matches!(answered, Ok(Ok(_))), "it is not cut off");
        }
    }

    /// Mends what was cut.
    pub fn mend(&self, node: usize) {
        match self.network() {
            Some(network) => network.mend(node),
            None => self.signal(node, Signal::CONT),
        }
    }

    fn network(&self) -> Option<&Network> {
        match self {
            Engine::Nats(nats) => nats.network(),
            Engine::RabbitMq(rabbit) => rabbit.network(),
        }
    }

    fn client(&self, node: usize) -> SocketAddr {
        match self {
            Engine::Nats(nats) => nats.addresses()[node],
            Engine::RabbitMq(rabbit) => rabbit.addresses()[node],
        }
    }

    /// Has NATS drop all but the last few messages of the log.
    pub async fn drop_all_but(&self, messages: i64) {
        let Engine::Nats(nats) = self else {
            panic!("RabbitMQ drops whole segments only")
        };
        let stream = nats.stream().await;
        let mut config = stream.cached_info().config.clone();
        let jetstream = nats.operator().await;
        for limit in [messages, -1] {
            config.max_messages = limit;
            jetstream.update_stream(&config).await.expect("change it");
        }
    }

    /// What a core on it is started with. It keeps all that a test may publish.
    pub fn setup(&self) -> Setup {
        Setup::core()
            .args(self.args())
            .args(["--max-per-recipient", "1000000"])
    }

    /// Starts these many cores with one secret, and waits until they are ready.
    pub async fn cores(&self, count: usize) -> Vec<Service> {
        let mut cores: Vec<Service> = Vec::new();
        for _ in 0..count {
            let mut setup = self.setup();
            if let Some(first) = cores.first() {
                setup = setup.secret_of(first);
            }
            cores.push(setup.launch());
        }
        for core in &mut cores {
            core.listening_within(LATER).await;
            ready(core).await;
        }
        cores
    }
}

/// Waits until a process says that it is ready.
pub async fn ready(service: &Service) {
    eventually("it is ready", LATER, async || {
        let asked = Request::get("/readyz").try_send(service.admin()).await;
        asked.ok().filter(|answer| answer.status == 200)
    })
    .await;
}
