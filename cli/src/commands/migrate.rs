//! `mercurio migrate`: a data directory becomes the beginning of a shared log.

use mercurio_core::{LogKind, migrate};

use crate::{error::Failure, server::parts, settings::Settings};

pub fn run(settings: &Settings) -> Result<(), Failure> {
    let core = parts::core(settings);
    if core.log.kind == LogKind::Embedded {
        return Err(Failure::Usage(
            "--log nats or --log rabbitmq is needed: which log it is to be".into(),
        ));
    }
    if !core.data_dir.join("segments").exists() {
        return Err(Failure::Usage(format!(
            "--data-dir {}: there is no data in it",
            core.data_dir.display()
        )));
    }
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::other)?;
    let log = runtime.block_on(migrate(core)).map_err(Failure::other)?;
    println!("{{\"log\":\"{}\",\"storedBefore\":{}}}", log.id, log.base);
    Ok(())
}
