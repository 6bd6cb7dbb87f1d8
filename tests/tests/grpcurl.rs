//! grpcurl itself, as a person would use it: it knows nothing but the address.

use std::process::Command;

use mercurio_tests::{grpc::channel, prelude::*, process::Process, service::finish, tools::tool};
use serde_json::Value;

/// Runs grpcurl; gives whether it succeeded, its output and its errors.
async fn grpcurl(service: &Service, token: &str, args: &[&str]) -> Option<(bool, String, String)> {
    let (status, out, err) = finish("grpcurl", &mut command(service, token, args)?, SOON).await;
    Some((status.success(), out, err))
}

/// `args` without the address: it stands behind the flags, before what does not begin with `-`.
fn command(service: &Service, token: &str, args: &[&str]) -> Option<Command> {
    let mut command = Command::new(tool("grpcurl")?);
    command.arg("-plaintext");
    if !token.is_empty() {
        command.args(["-H", &format!("authorization: Bearer {token}")]);
    }
    let (flags, rest) = match args {
        [flag @ "-d", value, rest @ ..] => (vec![*flag, *value], rest),
        rest => (vec![], rest),
    };
    command
        .args(flags)
        .arg(service.grpc().to_string())
        .args(rest);
    Some(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn list_and_describe() {
    let service = Setup::core().start().await;
    let Some((ok, out, err)) = grpcurl(&service, "", &["list"]).await else {
        return;
    };
    assert!(ok, "{err}");
    for name in [
        "grpc.health.v1.Health",
        // This grpcurl asks for v1alpha; v1 has a test of its own.
        "grpc.reflection.v1alpha.ServerReflection",
        "mercurio.v1.NotificationService",
        "mercurio.v1.RelayService",
        "mercurio.v1.SnapshotService",
        "mercurio.v1.AdminService",
    ] {
        assert!(
            out.lines().any(|line| line == name),
            "{name} is not listed: {out}"
        );
    }
    let args = ["describe", "mercurio.v1.NotificationService"];
    let (ok, out, err) = grpcurl(&service, "", &args).await.unwrap();
    assert!(ok && out.contains("rpc Publish"), "{out}{err}");
    let args = ["describe", "mercurio.v1.PublishRequest"];
    let (ok, out, err) = grpcurl(&service, "", &args).await.unwrap();
    assert!(
        ok && out.contains("google.protobuf.Duration ttl"),
        "{out}{err}"
    );
    let args = ["grpc.health.v1.Health/Check"];
    let (ok, out, err) = grpcurl(&service, "", &args).await.unwrap();
    assert!(ok && out.contains("SERVING"), "{out}{err}");
    let args = [
        "-d",
        r#"{"service":"mercurio.v1.NotificationService"}"#,
        "grpc.health.v1.Health/Check",
    ];
    let (ok, out, err) = grpcurl(&service, "", &args).await.unwrap();
    assert!(ok && out.contains("SERVING"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_subscribe_and_read() {
    let service = Setup::serve().start().await;
    let token = service.secret().service();
    let subscribe = [
        "-d",
        r#"{"recipient_id":"alice","after":0}"#,
        "mercurio.v1.NotificationService/Subscribe",
    ];
    let Some(mut subscribe) = command(&service, &token, &subscribe) else {
        return;
    };
    let reader = Process::spawn("grpcurl subscribe", &mut subscribe);
    reader.stdout.wait_for("\"opened\"", SOON).await;

    let publish = [
        "-d",
        r#"{"event_id":"e1","source_id":"shop","recipients":{"ids":["alice","bob"]},"topic":"order.paid","data":"Zażółć 🦀","ttl":"60s"}"#,
        "mercurio.v1.NotificationService/Publish",
    ];
    let (ok, out, err) = grpcurl(&service, &token, &publish).await.unwrap();
    assert!(ok, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["eventId"], "e1");
    let id = answer["id"].as_str().expect("an id").to_owned();
    reader.stdout.wait_for("Zażółć 🦀", SOON).await;

    let (ok, out, _) = grpcurl(&service, &token, &publish).await.unwrap();
    let again: Value = serde_json::from_str(&out).unwrap();
    assert!(
        ok && again["duplicate"] == true && again["id"] == id.as_str(),
        "{out}"
    );

    let list = [
        "-d",
        r#"{"recipient_id":"bob"}"#,
        "mercurio.v1.NotificationService/ListHistory",
    ];
    let (ok, out, err) = grpcurl(&service, &token, &list).await.unwrap();
    assert!(ok && out.contains("order.paid"), "{out}{err}");
    let mark = format!(r#"{{"recipient_id":"alice","ids":{{"ids":[{id}]}},"read":true}}"#);
    let mark = ["-d", &mark, "mercurio.v1.NotificationService/SetReadState"];
    let (ok, out, err) = grpcurl(&service, &token, &mark).await.unwrap();
    assert!(ok && out.contains("\"changed\": \"1\""), "{out}{err}");
    reader.stdout.wait_for("\"readState\"", SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_their_details() {
    let service = Setup::core().start().await;
    let publish = "mercurio.v1.NotificationService/Publish";
    let good = r#"{"source_id":"s","everyone":{},"data":"x"}"#;
    let Some((ok, out, err)) = grpcurl(&service, "", &["-d", good, publish]).await else {
        return;
    };
    assert!(
        !ok && err.contains("Unauthenticated") && err.contains("TOKEN_MISSING"),
        "{out}{err}"
    );
    let user = service.secret().user("alice");
    let (ok, _, err) = grpcurl(&service, &user, &["-d", good, publish])
        .await
        .unwrap();
    assert!(
        !ok && err.contains("PermissionDenied") && err.contains("SCOPE_MISSING"),
        "{err}"
    );
    let token = service.secret().service();
    let (ok, _, err) = grpcurl(&service, &token, &["-d", "{}", publish])
        .await
        .unwrap();
    assert!(!ok && err.contains("InvalidArgument"), "{err}");
    for part in [
        "google.rpc.BadRequest",
        "source_id",
        "audience",
        "INVALID_FIELD",
    ] {
        assert!(err.contains(part), "{part} is not said: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_v1_for_newer_ones() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let service = Setup::core().start().await;
    let mut client = ServerReflectionClient::new(channel(service.grpc()));
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = client.server_reflection_info(tokio_stream::once(ask)).await;
    let answer = answers
        .expect("reflection")
        .into_inner()
        .message()
        .await
        .expect("an answer");
    match answer.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            let names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
            assert!(
                names.iter().any(|n| n == "mercurio.v1.NotificationService"),
                "{names:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}
