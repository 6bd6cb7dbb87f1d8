//! `mercurio serve`, `core` and `gateway`.

use crate::{
    error::Failure,
    server::{self, keys::Keys, tls::Doors},
    settings::{Command, Settings},
};

pub fn run(command: Command, settings: &Settings) -> Result<(), Failure> {
    server::log(settings);
    let (keys, doors) = match (Keys::configured(settings), Doors::configured(settings)) {
        (Ok(keys), Ok(doors)) => (keys, doors),
        // All that is wrong, at once.
        (Err(keys), Err(doors)) => return Err(Failure::Usage(format!("{keys}\n{doors}"))),
        (Err(failure), _) | (_, Err(failure)) => return Err(failure),
    };
    server::run(command, settings, keys, doors, |_| Ok(()))
}
