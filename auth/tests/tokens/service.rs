//! The gateway's tokens for the core: kept, renewed in time, the same for all threads.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use mercurio_auth::{
    ClaimRules, Issuer, SERVICE_TTL, SERVICE_USER, ServiceTokens, SigningKey, TokenError,
};

use crate::support::{SECRET, now, pem, verifier};

const SECOND: Duration = Duration::from_secs(1);

fn tokens(rules: &ClaimRules) -> ServiceTokens {
    ServiceTokens::issued(Issuer::new(SigningKey::from_secret(SECRET).unwrap(), rules))
}

/// Tokens by a signature with chance in it: no two are the same, though claims and time are.
fn unlike_tokens() -> ServiceTokens {
    let key = SigningKey::from_pem(&pem("p256")).unwrap();
    ServiceTokens::issued(Issuer::new(key, &ClaimRules::default()))
}

#[test]
fn the_core_accepts_it_as_a_service() {
    let rules = ClaimRules {
        user_claim: "user_id".to_owned(),
        issuer: Some("house".to_owned()),
        audience: Some("mercurio".to_owned()),
        ..ClaimRules::default()
    };
    let token = tokens(&rules).token_at(now()).unwrap();
    let identity = verifier(rules).verify_at(&token, now()).unwrap();
    assert_eq!(identity.user, SERVICE_USER);
    assert!(identity.may_publish() && identity.may_act_for("ada"));
    assert_eq!(identity.expires_at, Some(now() + SERVICE_TTL));
}

#[test]
fn kept_for_half_its_life_then_renewed() {
    let tokens = unlike_tokens();
    let half = SERVICE_TTL / 2;
    let first = tokens.token_at(now()).unwrap();
    assert_eq!(tokens.token_at(now()).unwrap(), first);
    assert_eq!(tokens.token_at(now() + half - SECOND).unwrap(), first);
    let second = tokens.token_at(now() + half).unwrap();
    assert_ne!(second, first);
    assert_eq!(
        tokens.token_at(now() + SERVICE_TTL - SECOND).unwrap(),
        second
    );
    assert_ne!(tokens.token_at(now() + SERVICE_TTL).unwrap(), second);
}

#[test]
fn whenever_it_is_asked_for_half_its_life_is_left() {
    let tokens = tokens(&ClaimRules::default());
    let verifier = verifier(ClaimRules::default());
    for step in 0..1000 {
        let moment = now() + SECOND * 7 * step;
        let token = tokens.token_at(moment).unwrap();
        let left = verifier
            .verify_at(&token, moment)
            .unwrap()
            .remaining(moment);
        assert!(left.unwrap() > SERVICE_TTL / 2 - SECOND, "{left:?}");
    }
}

#[test]
fn a_clock_set_back_or_far_ahead_does_not_keep_a_token_too_long() {
    let tokens = tokens(&ClaimRules::default());
    let day = SECOND * 86_400;
    let first = tokens.token_at(now()).unwrap();
    let back = tokens.token_at(now() - day).unwrap();
    assert_ne!(back, first);
    let verifier = verifier(ClaimRules::default());
    assert_eq!(verifier.verify_at(&back, now()), Err(TokenError::Expired));
    let again = tokens.token_at(now()).unwrap();
    assert!(verifier.verify_at(&again, now()).is_ok());
}

#[test]
fn all_threads_and_clones_get_the_same_one() {
    let tokens = unlike_tokens();
    for round in 0..50 {
        // Each round is a moment when a new one is due, and eight ask for it at once.
        let moment = now() + SERVICE_TTL * round;
        let seen: HashSet<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| tokens.clone())
                .map(|tokens| scope.spawn(move || tokens.token_at(moment).unwrap()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(seen.len(), 1);
    }
}

#[test]
fn a_fixed_token_stays() {
    let tokens = ServiceTokens::fixed("given".to_owned());
    assert_eq!(tokens.token().unwrap(), "given");
    assert_eq!(tokens.token_at(now() + SERVICE_TTL * 9).unwrap(), "given");
}
