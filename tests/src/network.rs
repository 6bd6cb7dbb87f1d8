//! Machines of their own for the servers of a log: network namespaces at a switch, on which each can
//! be cut off from everyone. It is the switch that lets nothing through then, in either direction: on
//! neither side a connection ends or an interface goes down.
//!
//! The switch has a namespace of its own too, where no firewall of the host's is in between. The test's
//! own processes stand beside it, as one more machine.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::tools::{self, run};

/// Some machines, and what joins them. What runs on them is killed, and all is removed, on `Drop`.
/// Declare it behind the processes that use it.
pub struct Network {
    /// The third byte of its addresses, and part of all names. Nobody else has it.
    number: u8,
    machines: usize,
    tools: Tools,
    _lock: File,
}

struct Tools {
    ip: PathBuf,
    bridge: PathBuf,
    nsenter: PathBuf,
}

impl Network {
    /// So many machines. `None`, with a notice, where it is not allowed; root is expected to be
    /// allowed where tools are required.
    pub fn new(machines: usize) -> Option<Network> {
        let tools = Tools {
            ip: tools::tool("ip")?,
            bridge: tools::tool("bridge")?,
            nsenter: tools::tool("nsenter")?,
        };
        let (number, lock) = free_number();
        let network = Network {
            number,
            machines,
            tools,
            _lock: lock,
        };
        // An earlier run may have been killed.
        network.remove();
        if let Err(error) = network.make() {
            let why = format!("no network of its own: {error}");
            assert!(!(tools::required() && getuid().is_root()), "{why}");
            tools::notice(&why);
            return None;
        }
        Some(network)
    }

    fn make(&self) -> Result<(), String> {
        let switch = self.name("switch");
        self.ip(&["netns", "add", &switch])?;
        let at_switch = |arguments: &[&str]| self.ip(&[&["-n", &switch], arguments].concat());
        at_switch(&["link", "add", "name", "switch", "type", "bridge"])?;
        at_switch(&["link", "set", "switch", "up"])?;
        for machine in 0..self.machines {
            let (name, port) = (self.machine(machine), port(machine));
            self.ip(&["netns", "add", &name])?;
            at_switch(&[
                "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            at_switch(&["link", "set", &port, "master", "switch", "up"])?;
            let here = |arguments: &[&str]| self.ip(&[&["-n", &name], arguments].concat());
            let address = format!("{}/24", self.address(machine));
            here(&["addr", "add", &address, "dev", "eth0"])?;
            here(&["link", "set", "eth0", "up"])?;
            here(&["link", "set", "lo", "up"])?;
        }
        let (own, this) = (self.name("host"), std::process::id().to_string());
        at_switch(&[
            "link", "add", "host", "type", "veth", "peer", "name", &own, "netns", &this,
        ])?;
        at_switch(&["link", "set", "host", "master", "switch", "up"])?;
        let address = format!("{}/24", self.host(1));
        self.ip(&["addr", "add", &address, "dev", &own])?;
        self.ip(&["link", "set", &own, "up"]).map(drop)
    }

    /// Of 198.18.0.0/15, which is set aside for tests of networks.
    fn host(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, host)
    }

    /// A machine's address.
    pub fn address(&self, machine: usize) -> IpAddr {
        let host = u8::try_from(machine + 10).expect("few machines");
        self.host(host).into()
    }

    /// A place on a machine.
    pub fn at(&self, machine: usize, port: u16) -> SocketAddr {
        (self.address(machine), port).into()
    }

    /// A command that runs on a machine. The process is that of the program itself. (`ip netns exec`
    /// would give it mounts of its own too, and hold on to those that other tests unmount.)
    pub fn command(&self, machine: usize, program: &Path) -> Command {
        let mut command = Command::new(&self.tools.nsenter);
        command.arg(format!("--net=/run/netns/{}", self.machine(machine)));
        command.arg(program);
        command
    }

    /// Lets nothing through to a machine or from it, and says nothing of it.
    pub fn cut(&self, machine: usize) {
        self.set_port(machine, "0");
    }

    /// Lets everything through again.
    pub fn mend(&self, machine: usize) {
        self.set_port(machine, "3");
    }

    /// The states of a bridge's port: 0 disabled, 3 forwarding.
    fn set_port(&self, machine: usize, state: &str) {
        let mut command = Command::new(&self.tools.bridge);
        command.args(["-n", &self.name("switch"), "link", "set"]);
        command.args(["dev", &port(machine), "state", state]);
        run(&mut command).expect("set the switch's port");
    }

    /// At most 15 bytes, as the name of an interface has to be.
    fn name(&self, what: &str) -> String {
        format!("mt{}-{what}", self.number)
    }

    fn machine(&self, machine: usize) -> String {
        self.name(&machine.to_string())
    }

    fn ip(&self, arguments: &[&str]) -> Result<Output, String> {
        run(Command::new(&self.tools.ip).args(arguments))
    }

    /// Kills what runs in the namespaces of this number, and removes them.
    fn remove(&self) {
        let Ok(listed) = self.ip(&["netns", "list"]) else {
            return;
        };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names = listed.lines().filter_map(|line| line.split(' ').next());
        for name in names.filter(|name| name.starts_with(&self.name(""))) {
            if let Ok(processes) = self.ip(&["netns", "pids", name]) {
                let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
                for id in processes.lines().filter_map(|id| id.trim().parse().ok()) {
                    // Fails where it has ended.
                    let _ = Pid::from_raw(id).map(|id| kill_process(id, Signal::KILL));
                }
            }
            // Fails where another has just removed it.
            let _ = self.ip(&["netns", "delete", name]);
        }
        // It goes with the switch, a moment later.
        let _ = self.ip(&["link", "delete", &self.name("host")]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

fn port(machine: usize) -> String {
    format!("m{machine}")
}

/// A number that no test on this host has now. It is given back when the process ends, however that
/// comes about.
fn free_number() -> (u8, File) {
    let directory = std::env::temp_dir();
    for number in 0..=u8::MAX {
        let path = directory.join(format!("mercurio-tests-network-{number}.lock"));
        let file = File::options().create(true).append(true).open(path);
        let file = file.expect("open a lock file");
        if file.try_lock().is_ok() {
            return (number, file);
        }
    }
    panic!("256 networks are in use");
}
