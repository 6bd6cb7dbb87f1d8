//! `mercurio serve`, `core` and `gateway`.

use crate::{
    error::Failure,
    server::{self, keys},
    settings::{Command, Settings},
};

pub fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    server::log(settings);
    let keys = keys::Keys::configured(settings)?;
    server::run(command, settings, keys, |_| Ok(()))
}
