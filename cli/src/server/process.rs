//! What Prometheus' own clients say of a process, under the names that are usual.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// Has the registry show this process, and which build it is.
pub fn register(registry: &mut Registry) {
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("mercurio_build", "Which build this is", build);
    registry.register_collector(Box::new(Process));
}

/// Read from /proc when it is asked for. What can't be read is left out.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut put = |name: &str, help: &str, unit: Option<&Unit>, metric: &dyn Show| {
            metric.show(name, help, unit, &mut encoder)
        };
        if let Some(stat) = Stat::read() {
            let seconds = Some(&Unit::Seconds);
            let cpu = ConstCounter::new(stat.cpu_seconds);
            put("process_cpu", "CPU time used", seconds, &cpu)?;
            let resident = ConstGauge::new(stat.resident_bytes);
            let bytes = Some(&Unit::Bytes);
            put("process_resident_memory", "Memory used", bytes, &resident)?;
            if let Some(start) = stat.start_seconds {
                let start = ConstGauge::new(start);
                let help = "When it started, since 1970";
                put("process_start_time", help, seconds, &start)?;
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            let open = ConstGauge::new(i64::try_from(open.count()).unwrap_or(i64::MAX));
            put("process_open_fds", "Open file descriptors", None, &open)?;
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = ConstGauge::new(i64::try_from(most).unwrap_or(i64::MAX));
        put(
            "process_max_fds",
            "File descriptors it may open",
            None,
            &most,
        )
    }
}

/// A metric that is made for one answer.
trait Show {
    fn show(
        &self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> fmt::Result;
}

impl<M: EncodeMetric> Show for M {
    fn show(
        &self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> fmt::Result {
        self.encode(encoder.encode_descriptor(name, help, unit, self.metric_type())?)
    }
}

struct Stat {
    cpu_seconds: f64,
    resident_bytes: i64,
    start_seconds: Option<f64>,
}

impl Stat {
    /// Of `/proc/self/stat`, whose second field is a name in brackets: see proc(5).
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The third field of the manual is the first here.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |number| Some(field(number)? as f64 / clock_ticks_per_second() as f64);
        let pages = field(24)?;
        let since_boot = ticks(22)?;
        Some(Self {
            cpu_seconds: ticks(14)? + ticks(15)?,
            resident_bytes: i64::try_from(pages.saturating_mul(page_size() as u64)).ok()?,
            start_seconds: boot_seconds().map(|boot| boot + since_boot),
        })
    }
}

/// When the machine was booted.
fn boot_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in\n{text}"))
                .trim()
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_max_fds ") > value("process_open_fds "));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.unwrap().as_secs_f64() - value("process_start_time_seconds ");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(text.contains("mercurio_build_info{version="), "{text}");
    }
}
