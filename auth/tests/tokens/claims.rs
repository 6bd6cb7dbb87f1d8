//! Claims of genuine tokens, by the rules.

use std::time::Duration;

use mercurio_auth::{ClaimProblem, ClaimRules, Identity, SCOPE_ANY, SCOPE_PUBLISH, TokenError};
use serde_json::{Value, json};

use crate::support::{NOW, at, good, good_but, hs256, now, refused, verifier};

fn verify(claims: &Value, rules: ClaimRules) -> Result<Identity, TokenError> {
    verifier(rules).verify_at(&hs256(claims), now())
}

fn by_default(claims: &Value) -> Result<Identity, TokenError> {
    verify(claims, ClaimRules::default())
}

#[test]
fn good_claims() {
    let identity = by_default(&good()).unwrap();
    assert_eq!(identity.user, "ada");
    assert_eq!(identity.expires_at, Some(at(NOW + 60)));
    assert_eq!(identity.remaining(now()), Some(Duration::from_secs(60)));
    assert_eq!(identity.remaining(at(NOW + 99)), Some(Duration::ZERO));
    assert!(!identity.may_publish());
    assert!(identity.may_act_for("ada"));
    assert!(!identity.may_act_for("grace"));
}

#[test]
fn expired_from_the_very_moment() {
    let verifier = verifier(ClaimRules::default());
    let token = hs256(&good());
    let end = at(NOW + 60);
    let just_before = end - Duration::from_nanos(1);
    assert!(verifier.verify_at(&token, just_before).is_ok());
    assert_eq!(verifier.verify_at(&token, end), Err(TokenError::Expired));
    assert_eq!(TokenError::Expired.code(), "TOKEN_EXPIRED");
}

#[test]
fn not_yet_valid_until_the_very_moment() {
    let verifier = verifier(ClaimRules::default());
    let token = hs256(&good_but("nbf", json!(NOW + 10)));
    let begin = at(NOW + 10);
    let just_before = begin - Duration::from_nanos(1);
    let early = verifier.verify_at(&token, just_before);
    assert_eq!(early, Err(TokenError::NotYetValid));
    assert!(verifier.verify_at(&token, begin).is_ok());
}

#[test]
fn leeway_widens_both_ends() {
    let rules = ClaimRules {
        leeway: Duration::from_secs(5),
        ..ClaimRules::default()
    };
    let verifier = verifier(rules);
    let token = hs256(&json!({"sub": "ada", "nbf": NOW, "exp": NOW + 10}));
    let verdict = |seconds| verifier.verify_at(&token, at(seconds));
    assert_eq!(verdict(NOW - 6), Err(TokenError::NotYetValid));
    // What is accepted ends when it would be refused: a stream is not opened to end at once.
    let identity = verdict(NOW - 5).unwrap();
    assert_eq!(identity.expires_at, Some(at(NOW + 15)));
    assert!(verdict(NOW + 14).is_ok());
    assert_eq!(verdict(NOW + 15), Err(TokenError::Expired));
}

#[test]
fn any_leeway_is_bearable() {
    // Too much for the type, and just beyond the last moment there is.
    for (exp, leeway) in [
        (1, Duration::MAX),
        (253_402_300_799_u64, Duration::from_secs(5)),
    ] {
        let rules = ClaimRules {
            leeway,
            ..ClaimRules::default()
        };
        let claims = json!({"sub": "ada", "nbf": NOW + 4, "exp": exp});
        let end = verify(&claims, rules).unwrap().expires_at;
        assert_eq!(end, Some(at(253_402_300_799)));
    }
}

#[test]
fn exp_is_required_unless_the_rules_say_otherwise() {
    let claims = json!({"sub": "ada"});
    let missing = Err(refused("exp", ClaimProblem::Missing));
    assert_eq!(by_default(&claims), missing);

    let lenient = ClaimRules {
        allow_missing_exp: true,
        ..ClaimRules::default()
    };
    let identity = verify(&claims, lenient.clone()).unwrap();
    assert_eq!(identity.expires_at, None);
    assert_eq!(identity.remaining(now()), None);
    // Where it is present it counts all the same.
    let claims = good_but("exp", json!(NOW - 1));
    assert_eq!(verify(&claims, lenient.clone()), Err(TokenError::Expired));
    let claims = good_but("exp", Value::Null);
    assert_eq!(
        verify(&claims, lenient),
        Err(refused("exp", ClaimProblem::NotADate))
    );
}

#[test]
fn dates_of_every_kind() {
    use ClaimProblem::{NotADate, OutOfRange};
    let out_of_range = |claim| Err(refused(claim, OutOfRange));
    let no_date = |claim| Err(refused(claim, NotADate));
    for claim in ["exp", "nbf"] {
        let verdict = |value| by_default(&good_but(claim, value)).map(|i| i.expires_at);
        for far in [
            json!(253_402_300_800_u64),
            json!(NOW * 1000),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e17),
            json!(1.8e19),
            json!(f64::MAX),
        ] {
            assert_eq!(verdict(far.clone()), out_of_range(claim), "{claim} {far}");
        }
        for odd in [
            json!("1900000000"),
            json!("NaN"),
            json!(""),
            json!(true),
            json!([NOW]),
            json!({"s": NOW}),
            Value::Null,
        ] {
            assert_eq!(verdict(odd.clone()), no_date(claim), "{claim} {odd}");
        }
    }
    for past in [
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(-0.0),
        json!(-1.5),
        json!(f64::MIN),
        json!(f64::MIN_POSITIVE),
    ] {
        let verdict = by_default(&good_but("exp", past.clone()));
        assert_eq!(verdict, Err(TokenError::Expired), "{past}");
        assert!(by_default(&good_but("nbf", past.clone())).is_ok(), "{past}");
    }
    // The last moment there is, and one between seconds.
    let last = by_default(&good_but("exp", json!(253_402_300_799_u64))).unwrap();
    assert_eq!(last.expires_at, Some(at(253_402_300_799)));
    let half = by_default(&good_but("exp", json!(NOW as f64 + 0.5))).unwrap();
    assert_eq!(half.expires_at, Some(now() + Duration::from_millis(500)));
}

#[test]
fn the_issuer_where_configured() {
    let rules = || ClaimRules {
        issuer: Some("house".to_owned()),
        ..ClaimRules::default()
    };
    assert!(verify(&good_but("iss", json!("house")), rules()).is_ok());
    for wrong in [
        json!("other"),
        json!(""),
        json!(["house"]),
        json!(1),
        Value::Null,
    ] {
        let verdict = verify(&good_but("iss", wrong.clone()), rules());
        assert_eq!(verdict, Err(TokenError::Issuer), "{wrong}");
    }
    assert_eq!(verify(&good(), rules()), Err(TokenError::Issuer));
    assert!(by_default(&good_but("iss", json!("whoever"))).is_ok());
}

#[test]
fn the_audience_where_configured() {
    let rules = || ClaimRules {
        audience: Some("mercurio".to_owned()),
        ..ClaimRules::default()
    };
    for right in [
        json!("mercurio"),
        json!(["shop", "mercurio"]),
        json!([1, "mercurio"]),
    ] {
        assert!(verify(&good_but("aud", right), rules()).is_ok());
    }
    for wrong in [
        json!("shop"),
        json!(["shop"]),
        json!([]),
        json!(1),
        Value::Null,
    ] {
        let verdict = verify(&good_but("aud", wrong.clone()), rules());
        assert_eq!(verdict, Err(TokenError::Audience), "{wrong}");
    }
    assert_eq!(verify(&good(), rules()), Err(TokenError::Audience));
    for any in [json!("shop"), json!(["shop"]), json!(7)] {
        assert!(by_default(&good_but("aud", any)).is_ok());
    }
}

#[test]
fn users_of_every_kind() {
    let verdict = |user| by_default(&good_but("sub", user)).map(|identity| identity.user);
    let longest = "é".repeat(64);
    for (value, user) in [
        (json!("a"), "a"),
        (json!(longest), longest.as_str()),
        (json!("Ada Lovelace / 👩"), "Ada Lovelace / 👩"),
        (json!("666"), "666"),
        (json!(666), "666"),
        (json!(0), "0"),
        (json!(-7), "-7"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(i64::MIN), "-9223372036854775808"),
    ] {
        assert_eq!(verdict(value).unwrap(), user);
    }

    use ClaimProblem::*;
    for (value, problem) in [
        (Value::Null, Missing),
        (json!(""), Empty),
        (json!("x".repeat(129)), TooLong),
        (json!("é".repeat(65)), TooLong),
        (json!("a\nb"), ControlCharacter),
        (json!("\0"), ControlCharacter),
        (json!("a\u{85}"), ControlCharacter),
        (json!(6.5), NotAUser),
        (json!(666.0), NotAUser),
        (json!(1e300), NotAUser),
        (json!(true), NotAUser),
        (json!(["ada"]), NotAUser),
        (json!({"id": "ada"}), NotAUser),
    ] {
        assert_eq!(verdict(value), Err(refused("sub", problem)));
    }
    let nobody = by_default(&json!({"exp": NOW + 1}));
    assert_eq!(nobody, Err(refused("sub", Missing)));
}

#[test]
fn the_user_in_another_claim() {
    let rules = || ClaimRules {
        user_claim: "user_id".to_owned(),
        ..ClaimRules::default()
    };
    let identity = verify(&good_but("user_id", json!(42)), rules()).unwrap();
    assert_eq!(identity.user, "42");
    assert!(!identity.may_act_for("ada"), "`sub` means nothing here");
    assert_eq!(
        verify(&good(), rules()),
        Err(refused("user_id", ClaimProblem::Missing))
    );
}

#[test]
fn scopes() {
    let may = |scope: Value| {
        let identity = by_default(&good_but("scope", scope)).unwrap();
        (identity.may_publish(), identity.may_act_for("grace"))
    };
    assert_eq!(may(Value::Null), (false, false));
    assert_eq!(may(json!("")), (false, false));
    assert_eq!(may(json!("openid email")), (false, false));
    assert_eq!(may(json!(SCOPE_PUBLISH)), (true, false));
    assert_eq!(may(json!(SCOPE_ANY)), (false, true));
    assert_eq!(may(json!(" openid  notifications:publish ")), (true, false));
    assert_eq!(may(json!([SCOPE_ANY, SCOPE_PUBLISH])), (true, true));
    assert_eq!(may(json!([])), (false, false));
    // Whole words, to the letter.
    for near in [
        "notifications:publisher",
        "xnotifications:publish",
        "NOTIFICATIONS:PUBLISH",
        "notifications:publish,notifications:any",
        "notifications:*",
    ] {
        assert_eq!(may(json!(near)), (false, false), "{near}");
    }
    for odd in [json!(1), json!({"a": 1}), json!([SCOPE_ANY, 1])] {
        let verdict = by_default(&good_but("scope", odd));
        assert_eq!(verdict, Err(refused("scope", ClaimProblem::NotAScope)));
    }
}

#[test]
fn publishers_need_no_scope() {
    let rules = || ClaimRules {
        publishers: vec!["666".to_owned()],
        ..ClaimRules::default()
    };
    let publisher = verify(&good_but("sub", json!(666)), rules()).unwrap();
    assert!(publisher.may_publish());
    assert!(!publisher.may_act_for("ada"));
    assert!(!verify(&good(), rules()).unwrap().may_publish());
}

#[test]
fn the_prototypes_setup() {
    let rules = ClaimRules {
        user_claim: "user_id".to_owned(),
        allow_missing_exp: true,
        publishers: vec!["666".to_owned()],
        ..ClaimRules::default()
    };
    for user in [json!(666), json!("666")] {
        let identity = verify(&json!({"user_id": user}), rules.clone()).unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.may_publish()),
            ("666", true)
        );
        assert_eq!(identity.expires_at, None);
    }
}

#[test]
fn all_problems_of_the_rules_at_once() {
    assert!(ClaimRules::default().problems().is_empty());
    let rules = ClaimRules {
        user_claim: "exp".to_owned(),
        issuer: Some(String::new()),
        audience: Some(String::new()),
        publishers: vec!["fine".to_owned(), String::new()],
        ..ClaimRules::default()
    };
    let problems: Vec<String> = rules.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "the claim `exp` can't name the user: it has another meaning",
            "the issuer is empty",
            "the audience is empty",
            "the publisher \"\" is empty",
        ]
    );
}
