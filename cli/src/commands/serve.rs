//! `mercurio serve`, `core` and `gateway`.

use crate::{
    error::Failure,
    server::{self, configured::Configured},
    settings::{Command, Settings},
};

pub fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    server::log(settings);
    let configured = Configured::read(command, settings)?;
    server::run(command, settings, configured, |_| Ok(()))
}
