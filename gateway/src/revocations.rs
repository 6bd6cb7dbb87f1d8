//! Tokens that are revoked, as the relay tells of them. While no core can be reached, what is known
//! stays so; before any was, nobody is let in.

use std::{sync::Arc, time::Duration};

use mercurio_auth::{Revocation, RevocationSet, Revoked};
use mercurio_proto::v1::{RelayRevocation, relay_revocation::Tokens};
use tokio::{sync::watch, time::timeout};

use crate::clock;

pub(crate) struct Revocations {
    set: Arc<RevocationSet>,
    is_told: watch::Sender<bool>,
}

impl Revocations {
    pub fn new(set: Arc<RevocationSet>) -> Self {
        Self {
            set,
            is_told: watch::Sender::new(false),
        }
    }

    pub fn set(&self) -> &RevocationSet {
        &self.set
    }

    /// Whether all are known that were in force when a core was last reached.
    pub fn is_told(&self) -> bool {
        *self.is_told.borrow()
    }

    /// Waits until that is so. `false`: not within `patience`.
    pub async fn told(&self, patience: Duration) -> bool {
        let mut told = self.is_told.subscribe();
        let told = told.wait_for(|is_told| *is_told);
        matches!(timeout(patience, told).await, Ok(Ok(_)))
    }

    /// From now on all are known.
    pub fn complete(&self) {
        self.is_told.send_replace(true);
    }

    /// Takes in what the relay brought, and says what that is. From here on none of these tokens is
    /// let in; what they have opened is the registry's to end.
    pub fn take(&self, told: Vec<RelayRevocation>, now: u64) -> Vec<Revocation> {
        self.set.forget_past(now);
        let told: Vec<Revocation> = told.into_iter().filter_map(decoded).collect();
        told.iter().for_each(|revocation| self.set.add(revocation));
        told
    }
}

/// `None`: one of a later version.
fn decoded(told: RelayRevocation) -> Option<Revocation> {
    let tokens = match told.tokens? {
        Tokens::TokenId(id) => Revoked::Id(id.into()),
        Tokens::UserId(user) => Revoked::User {
            user: user.into(),
            issued_before: told.issued_before.as_ref().map_or(0, clock::millis),
        },
    };
    Some(Revocation {
        tokens,
        until: told.kept_until.as_ref().map(clock::millis),
    })
}
