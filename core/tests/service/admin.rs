use std::time::{Duration, SystemTime};

use mercurio_auth::{ClaimRules, SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH};
use mercurio_core::{CoreSettings, Limits};
use mercurio_proto::v1::{
    self as pb, admin_service_client::AdminServiceClient, relay_revocation,
    revoke_tokens_request::Tokens,
};
use tonic::{Code, Status};

use crate::harness::*;

/// Long before now: a token says in whole seconds when it was issued.
const BEFORE: Duration = Duration::from_secs(60);

fn old_token(user: &str, scopes: &[&str]) -> String {
    let then = SystemTime::now() - BEFORE;
    let issued = issuer().issue_at(user, scopes, BEFORE * 60, then);
    issued.unwrap()
}

fn of(user: &str) -> pb::RevokeTokensRequest {
    pb::RevokeTokensRequest {
        tokens: Some(Tokens::UserId(user.into())),
        ..pb::RevokeTokensRequest::default()
    }
}

async fn revoke(
    core: &TestCore,
    request: pb::RevokeTokensRequest,
) -> Result<pb::RevokeTokensResponse, Status> {
    let mut client = AdminServiceClient::new(core.channel());
    let admin = token("operator", &[SCOPE_ADMIN]);
    let answer = soon(client.revoke_tokens(with(&admin, request))).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn what_a_revoked_token_opened_ends_and_no_other() {
    let core = TestCore::start().await;
    let (ada, bob) = (old_token("ada", &[]), old_token("bob", &[]));
    let subscribe = async |token: &str, user| {
        let request = with(token, subscription(user, None));
        soon(core.client().subscribe(request))
            .await
            .map(tonic::Response::into_inner)
    };
    let mut adas = subscribe(&ada, "ada").await.unwrap();
    let mut bobs = subscribe(&bob, "bob").await.unwrap();
    for stream in [&mut adas, &mut bobs] {
        soon(stream.message()).await.unwrap().expect("opened");
    }
    let mut relay = core
        .relay_as(&old_token("gateway", &[SCOPE_ANY]))
        .await
        .unwrap();
    assert_eq!(relay.revoked, []);

    let revoked = revoke(&core, of("ada")).await.unwrap();
    assert!(!revoked.already_revoked && revoked.kept_until.is_some());
    let ended = refusal(soon(adas.message()).await);
    assert_eq!(ended, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    let later = refusal(subscribe(&ada, "ada").await);
    assert_eq!(later, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    let told = relay.revocations().await;
    let user = relay_revocation::Tokens::UserId("ada".into());
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].tokens, Some(user));
    assert_eq!(told[0].kept_until, revoked.kept_until);
    // Told to who comes later, too.
    assert_eq!(core.relay().await.revoked, told);
    // Bob's goes on, and so does all that is published.
    let id = core.publish(&["bob"], "his").await;
    assert_eq!(soon(bobs.message()).await.unwrap().unwrap().cursor, id);
    assert_eq!(id, revoked.cursor + 1);
    // The relay was let in by a token, too.
    revoke(&core, of("gateway")).await.unwrap();
    let ended = loop {
        // It may still be told of what ends it.
        match soon(relay.messages.message()).await {
            Ok(told) => drop(told.expect("no end without a reason")),
            ended => break refusal(ended),
        }
    };
    assert_eq!(ended, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    core.stop().await;
}

#[tokio::test]
async fn again_changes_nothing_and_a_restart_neither() {
    let dir = tempfile::tempdir().unwrap();
    let core = TestCore::at(dir.path(), CoreSettings::default()).await;
    let at = SystemTime::now() - BEFORE / 2;
    let request = pb::RevokeTokensRequest {
        issued_before: Some(at.into()),
        expires_at: Some((SystemTime::now() + BEFORE * 60).into()),
        ..of("ada")
    };
    let first = revoke(&core, request.clone()).await.unwrap();
    let again = revoke(&core, request.clone()).await.unwrap();
    assert!(again.already_revoked);
    assert_eq!(
        (again.cursor, again.kept_until),
        (first.cursor, first.kept_until)
    );
    let sooner = pb::RevokeTokensRequest {
        expires_at: Some((SystemTime::now() + BEFORE).into()),
        ..request.clone()
    };
    let sooner = revoke(&core, sooner).await.unwrap();
    assert_eq!(
        sooner.kept_until, first.kept_until,
        "it is not kept shorter"
    );
    core.stop().await;
    let core = TestCore::at(dir.path(), CoreSettings::default()).await;
    assert!(revoke(&core, request).await.unwrap().already_revoked);
    let list = async |token: &str| {
        let request = pb::ListHistoryRequest {
            recipient_id: "ada".into(),
            ..pb::ListHistoryRequest::default()
        };
        soon(core.client().list_history(with(token, request))).await
    };
    let refused = refusal(list(&old_token("ada", &[])).await);
    assert_eq!(refused, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    list(&token("ada", &[]))
        .await
        .expect("one that was issued since");
    core.stop().await;
}

#[tokio::test]
async fn who_may_and_for_how_long() {
    let limits = Limits {
        revocation_age: Duration::from_secs(7200),
        ..Limits::default()
    };
    let core = TestCore::with(CoreSettings {
        limits,
        ..CoreSettings::default()
    })
    .await;
    let mut client = AdminServiceClient::new(core.channel());
    let any = token("service", &[SCOPE_ANY, SCOPE_PUBLISH]);
    let refused = refusal(soon(client.revoke_tokens(with(&any, of("ada")))).await);
    assert_eq!(refused, (Code::PermissionDenied, "SCOPE_MISSING".into()));
    let nobody = refusal(soon(client.revoke_tokens(of("ada"))).await);
    assert_eq!(nobody, (Code::Unauthenticated, "TOKEN_MISSING".into()));
    let wrong = refusal(revoke(&core, pb::RevokeTokensRequest::default()).await);
    assert_eq!(wrong, (Code::InvalidArgument, "INVALID_FIELD".into()));
    // As long as the setting says; or as the tokens live, and an hour for clocks that differ.
    let left = |answer: pb::RevokeTokensResponse| {
        let until = SystemTime::try_from(answer.kept_until.unwrap()).unwrap();
        until.duration_since(SystemTime::now()).unwrap().as_secs()
    };
    let by_setting = left(revoke(&core, of("ada")).await.unwrap());
    assert!((7100..=7200).contains(&by_setting), "{by_setting}");
    let ends = SystemTime::now() + Duration::from_secs(1000);
    let request = pb::RevokeTokensRequest {
        tokens: Some(Tokens::TokenId("seven".into())),
        expires_at: Some(ends.into()),
        ..pb::RevokeTokensRequest::default()
    };
    let by_tokens = left(revoke(&core, request).await.unwrap());
    assert!((4500..=4601).contains(&by_tokens), "{by_tokens}");
    core.stop().await;
}

#[tokio::test]
async fn tokens_without_an_end_are_remembered_for_ever() {
    let rules = ClaimRules {
        allow_missing_exp: true,
        ..ClaimRules::default()
    };
    let core = TestCore::by_rules(rules).await;
    let kept = revoke(&core, of("ada")).await.unwrap();
    assert_eq!(kept.kept_until, None);
    core.stop().await;
}

#[tokio::test]
async fn what_many_have_is_deleted_a_part_of_them_at_a_time() {
    let core = TestCore::start().await;
    let ids: Vec<_> = (0..250).map(|id| format!("user-{id}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let id = core.publish(&ids, "for many").await;
    let mut last = core.subscribe("user-249", None).await;
    assert_eq!(last.opened().await.unread_count, 1);
    let mut admin = AdminServiceClient::new(core.channel());
    let operator = token("operator", &[SCOPE_ADMIN]);
    let request = pb::DeleteNotificationsRequest {
        target: Some(pb::delete_notifications_request::Target::Id(id)),
    };
    let answer = soon(admin.delete_notifications(with(&operator, request))).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!((answer.deleted, answer.cursor), (250, id + 3));
    for user in ["user-0", "user-99", "user-100", "user-249"] {
        let mut stream = core.subscribe(user, Some(0)).await;
        assert_eq!(stream.opened().await.unread_count, 0, "{user}");
    }
    core.stop().await;
}
