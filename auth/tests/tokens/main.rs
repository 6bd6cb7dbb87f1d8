//! The tests of the crate, by subject. `support` makes tokens that no honest issuer would: any
//! header, any claims, any signature. Time stands still at `support::now()`.

mod algorithms;
mod claims;
mod issuing;
mod keys;
mod known;
mod never_panics;
mod refusals;
mod revoking;
mod service;
mod support;
