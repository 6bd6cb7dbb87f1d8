//! `mercurio status` and `mercurio streams`, over the calls behind them.

use std::collections::BTreeSet;

use mercurio_proto::v1::{
    ListStreamsRequest, ListStreamsResponse, admin_service_client::AdminServiceClient,
};
use mercurio_tests::{
    grpc::channel,
    http::Open,
    prelude::*,
    process::Signal,
    service::{finish, mercurio},
};
use serde_json::{Value, json};
use tonic::Code;

const ADMIN: &str = "notifications:admin";

/// A command at this core, with its key: exit code, output, errors.
async fn at(core: &Service, args: &[&str]) -> (i32, String, String) {
    let mut command = mercurio();
    command
        .current_dir(core.setup.home())
        .env("MERCURIO_JWT_SECRET_FILE", core.secret().path())
        .env("MERCURIO_CORE_URL", format!("http://{}", core.grpc()))
        .args(args);
    let (status, out, err) = finish("mercurio", &mut command, SOON).await;
    (status.code().expect("ended by itself"), out, err)
}

/// The same, once each gateway has answered in its time, which is a second.
async fn with_all(core: &Service, args: &[&str]) -> (i32, String, String) {
    eventually("each gateway answers", SOON, async || {
        let said = at(core, args).await;
        (!said.2.contains("did not answer")).then_some(said)
    })
    .await
}

/// What it printed, one JSON a line.
async fn json_of(core: &Service, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = with_all(core, args).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = out.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

async fn status(core: &Service) -> Value {
    let mut all = json_of(core, &["status", "--json"]).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// A browser's stream, which has been opened.
async fn stream(gateway: &Service, token: &str) -> Stream {
    let request = Request::get("/api/clients/me/notifications/stream").bearer(token);
    let mut stream = Stream::open(gateway.http(), request).await;
    stream.expect("opened").await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_and_its_gateways_say_how_they_are() {
    let Apart { core, mut gateway } = Apart::start().await;
    let other = Setup::gateway(&core).start().await;
    let (alice, bob) = (core.secret().user("alice"), core.secret().user("bob"));
    let _streams = [
        stream(&gateway, &alice).await,
        stream(&gateway, &alice).await,
        stream(&gateway, &bob).await,
    ];
    let mut direct = core.api(&alice).subscribe(feed("alice", None)).await;
    direct.next().await;
    let id = core
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;

    let said = eventually("all is told", SOON, async || {
        let said = status(&core).await;
        let gateways = said["gateways"].as_array().unwrap();
        let heard = gateways
            .iter()
            .any(|gateway| gateway["report"]["cursor"] == id);
        let all = gateways.iter().all(|gateway| !gateway["report"].is_null());
        (gateways.len() == 2 && heard && all).then_some(said)
    })
    .await;
    assert_eq!(said["core"], format!("http://{}", core.grpc()));
    assert_eq!(
        (&said["role"], &said["ready"]),
        (&json!("core"), &json!(true))
    );
    assert_eq!(said["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(said["lastSequence"], id);
    assert_eq!(said["streams"], 1);
    let log = json!({
        "kind": "embedded", "connected": true, "haltedReason": null,
        "lastPosition": 0, "appliedPosition": 0, "lagMessages": 0,
    });
    assert_eq!(said["log"], log);
    for number in ["diskFreeBytes", "diskReserveBytes", "segments"] {
        assert!(said["store"][number].as_u64().unwrap() > 0, "{said}");
    }
    assert!(said["connections"].as_u64().unwrap() >= 3, "{said}");
    let of = |gateway: &Service| {
        let address = gateway.http().to_string();
        let gateways = said["gateways"].as_array().unwrap();
        let found = gateways
            .iter()
            .find(|g| g["report"]["httpAddress"] == address);
        found.expect("this gateway").clone()
    };
    let shown = of(&gateway);
    assert_eq!(
        (&shown["recipients"], &shown["entriesWaiting"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(
        (
            &shown["report"]["streams"],
            &shown["report"]["streamsBehind"]
        ),
        (&json!(3), &json!(0))
    );
    assert_eq!(shown["report"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        shown["remoteAddress"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    assert_eq!(of(&other)["report"]["streams"], 0);

    // The same to be read by people.
    let (code, out, err) = eventually("each gateway answers", SOON, async || {
        let said = at(&core, &["status"]).await;
        said.1.contains("  streams   3, ").then_some(said)
    })
    .await;
    assert_eq!((code, err.as_str()), (0, ""));
    let gateway_id = shown["report"]["gatewayID"].as_str().unwrap();
    for text in [
        &format!("core http://{}: ready", core.grpc()),
        &format!("  sequence  {id}\n"),
        "  log       its own\n",
        &format!(
            "gateway {gateway_id} at {}, connected from 127.0.0.1:",
            gateway.http()
        ),
        "  streams   3, 0 of them reading the store\n",
    ] {
        assert!(out.contains(text), "{text:?} in\n{out}");
    }

    // A gateway that hangs holds nobody up, and one that is gone is not there.
    gateway.process.signal(Signal::STOP);
    let silent = eventually("it alone is silent", SOON, async || {
        let said = status(&core).await;
        let mut gateways = said["gateways"].as_array().unwrap().clone();
        gateways.retain(|gateway| gateway["report"].is_null());
        (gateways.len() == 1).then(|| gateways.remove(0))
    })
    .await;
    assert_eq!(silent["recipients"], 2);
    let (code, out, err) = at(&core, &["streams", "--json"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("did not answer"), "{err}");
    assert_eq!(out.lines().count(), 1, "gRPC's own: {out}");
    gateway.process.signal(Signal::CONT);
    gateway.kill();
    eventually("one is left", SOON, async || {
        (status(&core).await["gateways"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_core_is_asked_and_what_can_not_be_is_said() {
    let serve = Setup::serve().start().await;
    let said = eventually("its gateway is there", SOON, async || {
        let said = status(&serve).await;
        (said["gateways"].as_array().unwrap().len() == 1).then_some(said)
    })
    .await;
    assert_eq!(said["role"], "serve");
    assert_eq!(said["gateways"][0]["remoteAddress"], Value::Null);

    let nobody = format!("http://{}", mercurio_tests::service::free_address());
    let there = format!("http://{}", serve.grpc());
    let both = ["--core-url", &nobody, "--core-url", &there, "--json"];
    for command in ["status", "streams"] {
        let (code, out, err) = at(&serve, &[&[command][..], &both].concat()).await;
        assert_eq!(code, 3, "{err}");
        assert!(
            err.contains(&format!("no core answers at {nobody}")),
            "{err}"
        );
        let asked = out.lines().filter(|line| line.contains(&there)).count();
        assert_eq!(asked, usize::from(command == "status"), "{out}");
    }
    // It takes the scope.
    for scope in ["", "notifications:any notifications:publish"] {
        let token = serve.secret().scoped("alice", scope);
        let mut command = mercurio();
        command
            .current_dir(serve.setup.home())
            .env("MERCURIO_TOKEN", token)
            .args(["streams", "--core-url", &there]);
        let (status, _, err) = finish("mercurio", &mut command, SOON).await;
        assert_eq!(status.code(), Some(4), "{err}");
        assert!(
            err.contains("SCOPE_MISSING") && err.contains(ADMIN),
            "{err}"
        );
    }
}

async fn page(
    core: &Service,
    request: ListStreamsRequest,
) -> Result<ListStreamsResponse, tonic::Status> {
    let mut client = AdminServiceClient::new(channel(core.grpc()));
    let mut request = tonic::Request::new(request);
    let token = core.secret().scoped("admin", ADMIN);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    within("a page", SOON, client.list_streams(request))
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_where() {
    let Apart { core, gateway } = Apart::start().await;
    let other = Setup::gateway(&core).start().await;
    let mut held = Vec::new();
    for n in 0..7 {
        let user = core.secret().user(&format!("user-{}", n % 4));
        held.push(stream(if n % 2 == 0 { &gateway } else { &other }, &user).await);
    }
    let service = core.service_api();
    let mut direct = Vec::new();
    for user in ["user-1", "user-9"] {
        let mut feed = service.subscribe(feed(user, None)).await;
        feed.next().await;
        direct.push(feed);
    }
    let id = service.publish(to_everyone("t", "x")).await.id;
    let all = eventually("all are live and have it", SOON, async || {
        let all = json_of(&core, &["streams", "--json"]).await;
        let is_there = |stream: &Value| stream["state"] == "live" && stream["cursor"] == id;
        (all.len() == 9 && all.iter().all(is_there)).then_some(all)
    })
    .await;
    let at = |gateway: Option<&Value>| -> Vec<&str> {
        let streams = all
            .iter()
            .filter(|stream| Some(&stream["gatewayID"]) == gateway);
        streams
            .map(|stream| stream["clientID"].as_str().unwrap())
            .collect()
    };
    assert_eq!(at(Some(&Value::Null)), ["user-1", "user-9"]);
    let gateways: BTreeSet<_> = all
        .iter()
        .filter_map(|stream| stream["gatewayID"].as_str())
        .collect();
    assert_eq!(gateways.len(), 2);
    let mut of_gateways: Vec<_> = gateways.iter().map(|id| at(Some(&json!(id)))).collect();
    of_gateways.sort();
    assert_eq!(
        of_gateways,
        [
            vec!["user-0", "user-0", "user-2", "user-2"],
            vec!["user-1", "user-1", "user-3"]
        ]
    );
    // Whose token it is: a service's, or their own.
    assert_eq!(all[0]["user"], "service");
    assert!(
        all[2..]
            .iter()
            .all(|stream| stream["user"] == stream["clientID"])
    );
    // The id is the one that the stream's head named.
    let named = held[0].open.header("mercurio-stream").unwrap();
    assert!(
        all.iter().any(|stream| stream["streamID"] == named),
        "{named} {all:?}"
    );

    // Of one user; and so many at most, which is said.
    let theirs = json_of(&core, &["streams", "--json", "--recipient", "user-1"]).await;
    assert_eq!(theirs.len(), 3, "{theirs:?}");
    assert!(theirs.iter().all(|stream| stream["clientID"] == "user-1"));
    let (code, out, err) = with_all(&core, &["streams", "--limit", "4"]).await;
    assert_eq!(
        (code, out.lines().count()),
        (0, 5),
        "a head and four: {out}"
    );
    assert!(
        out.starts_with("RECIPIENT ") && out.contains(" live "),
        "{out}"
    );
    assert!(err.contains("--limit is 4"), "{err}");

    // Pages of any size have each of them once.
    for size in [1, 2, 3, 5, 9, 1000] {
        let seen = eventually("each gateway answers for each page", SOON, async || {
            let mut seen = Vec::new();
            let mut request = ListStreamsRequest {
                page_size: size,
                ..Default::default()
            };
            loop {
                let found = page(&core, request.clone()).await.unwrap();
                assert!(found.streams.len() <= size as usize);
                let found_here = found.streams.into_iter();
                seen.extend(
                    found_here
                        .map(|stream| (stream.gateway_id, stream.recipient_id, stream.stream_id)),
                );
                request.page_token = found.next_page_token;
                if request.page_token.is_empty() {
                    return (seen.len() >= 9).then_some(seen);
                }
            }
        })
        .await;
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (9, 9), "{size}: {seen:?}");
    }
    // What is wrong is said.
    let wrong = ListStreamsRequest {
        recipient_id: "a\n".into(),
        page_size: -1,
        page_token: "zz".into(),
    };
    let refused = page(&core, wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for field in ["recipient_id", "page_size", "page_token"] {
        expect_field(&refused, field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_read_is_behind() {
    let Apart { core, gateway } = Apart::start().await;
    let token = core.secret().user("slow");
    let request = Request::get("/api/clients/me/notifications/stream").bearer(&token);
    let held: Open = request.open(gateway.http()).await.unwrap();
    let service = core.service_api();
    let body = "x".repeat(60_000);
    eventually("it stays behind", LATER, async || {
        for _ in 0..8 {
            service.publish(to(&["slow"], "t", &body)).await;
        }
        let all = json_of(&core, &["streams", "--json"]).await;
        assert_eq!(all.len(), 1);
        let is_behind = all[0]["state"] == "behind" && all[0]["cursor"].is_null();
        // In passing it may be so as well: until the connection takes no more.
        let said = status(&core).await;
        let is_told = said["gateways"][0]["report"]["streamsBehind"] == 1;
        (is_behind && is_told).then_some(())
    })
    .await;
    drop(held);
    eventually("it is gone", SOON, async || {
        json_of(&core, &["streams", "--json"])
            .await
            .is_empty()
            .then_some(())
    })
    .await;
}
