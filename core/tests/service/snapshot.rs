//! Snapshots: who may take them, how many, and what is fetched with them.

use std::{fs, path::Path, time::Duration};

use mercurio_auth::{SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH, ServiceTokens};
use mercurio_core::{
    CoreSettings, Transport,
    bootstrap::{FetchError, Fetched, PeerError, Peers, fetch_snapshot},
    log::LogId,
    store::Import,
};
use mercurio_net::Dial;
use mercurio_proto::v1::{self as pb, snapshot_service_client::SnapshotServiceClient};
use tempfile::{TempDir, tempdir};
use tonic::{Code, Status, transport::Channel};

use super::harness::*;

fn administrator() -> String {
    token("backup", &[SCOPE_ADMIN])
}

fn tokens() -> ServiceTokens {
    ServiceTokens::for_peers(issuer())
}

fn url(core: &TestCore) -> String {
    format!("http://{}", core.address)
}

async fn begin(core: &TestCore, token: &str) -> Result<pb::SnapshotManifest, Status> {
    let request = with(token, pb::BeginSnapshotRequest {});
    let mut client = SnapshotServiceClient::new(core.channel());
    let mut answer = soon(client.begin_snapshot(request)).await?.into_inner();
    let manifest = soon(answer.message()).await?.unwrap().manifest.unwrap();
    assert_eq!(soon(answer.message()).await?, None);
    Ok(manifest)
}

async fn read(channel: Channel, id: &str, file: &str, offset: u64) -> Result<Vec<u8>, Status> {
    let request = pb::ReadSnapshotRequest {
        snapshot_id: id.into(),
        file: file.into(),
        offset,
    };
    let mut client = SnapshotServiceClient::new(channel);
    let request = with(&administrator(), request);
    let mut chunks = soon(client.read_snapshot(request)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(chunk) = soon(chunks.message()).await? {
        assert!(chunk.data.len() <= 256 << 10);
        all.extend(chunk.data);
    }
    Ok(all)
}

/// A core with something in it.
async fn filled() -> (TestCore, Vec<u64>, TempDir) {
    let dir = tempdir().unwrap();
    let core = TestCore::at(dir.path(), CoreSettings::default()).await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(
            core.publish(&["ada"], &format!("{n}{}", "x".repeat(20_000)))
                .await,
        );
    }
    core.mark("ada", &ids[..10], true).await;
    (core, ids, dir)
}

async fn check(dir: &Path, ids: &[u64]) {
    let copy = TestCore::at(dir, CoreSettings::default()).await;
    let mut feed = copy.subscribe("ada", Some(0)).await;
    assert_eq!(feed.opened().await.unread_count, ids.len() as u64 - 10);
    assert_eq!(feed.ids(ids.len()).await, ids);
    copy.stop().await;
}

fn to_copy_from(urls: &[String], tokens: ServiceTokens) -> Peers {
    Peers {
        urls: urls.to_vec(),
        dial: Dial::Tcp(None),
        tokens,
    }
}

async fn fetch(urls: &[String], dir: &Path) -> Result<Fetched, FetchError> {
    soon(fetch_snapshot(&to_copy_from(urls, tokens()), dir, None)).await
}

#[tokio::test]
async fn what_is_fetched_is_what_there_was_and_the_core_goes_on() {
    let (core, ids, _dir) = filled().await;
    let into = tempdir().unwrap();
    let fetched = fetch(&[url(&core)], into.path()).await.unwrap();
    assert_eq!(fetched.through, 31, "the marks too");
    assert!(fetched.bytes > 600_000, "{fetched:?}");
    assert_eq!(core.publish(&["ada"], "later").await, 32);
    check(into.path(), &ids).await;
    // It was given back: two more are allowed at once.
    for _ in 0..2 {
        begin(&core, &administrator()).await.unwrap();
    }
    core.stop().await;
}

#[tokio::test]
async fn only_who_has_the_scope_may_and_so_many_at_once() {
    let (core, _ids, _dir) = filled().await;
    for scopes in [&[][..], &[SCOPE_ANY, SCOPE_PUBLISH]] {
        let refused = begin(&core, &token("ada", scopes)).await;
        let expected = (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
        assert_eq!(refusal(refused), expected);
    }
    let first = begin(&core, &administrator()).await.unwrap();
    begin(&core, &administrator()).await.unwrap();
    let expected = (Code::ResourceExhausted, "TOO_MANY_STREAMS".to_owned());
    assert_eq!(refusal(begin(&core, &administrator()).await), expected);
    let end = pb::EndSnapshotRequest {
        snapshot_id: first.snapshot_id,
    };
    let mut client = SnapshotServiceClient::new(core.channel());
    client
        .end_snapshot(with(&administrator(), end))
        .await
        .unwrap();
    begin(&core, &administrator()).await.unwrap();
    core.stop().await;
}

#[tokio::test]
async fn a_file_is_read_from_anywhere_and_nothing_else_is() {
    let (core, _ids, _dir) = filled().await;
    let manifest = begin(&core, &administrator()).await.unwrap();
    let id = &manifest.snapshot_id;
    for file in &manifest.files {
        let whole = read(core.channel(), id, &file.name, 0).await.unwrap();
        assert_eq!(whole.len() as u64, file.length);
        assert_eq!(crc32fast::hash(&whole), file.crc32);
        for offset in [1, file.length / 2, file.length] {
            let rest = read(core.channel(), id, &file.name, offset).await.unwrap();
            assert_eq!(rest, whole[offset as usize..]);
        }
        let beyond = read(core.channel(), id, &file.name, file.length + 1).await;
        assert_eq!(refusal(beyond).1, "INVALID_FIELD");
    }
    for name in ["", "../FORMAT", "00000001.1/../../LOCK"] {
        let refused = refusal(read(core.channel(), id, name, 0).await);
        assert_eq!(refused.1, "INVALID_FIELD", "{name}");
    }
    let unknown = refusal(read(core.channel(), "x", "00000001.1/meta", 0).await);
    assert_eq!(unknown, (Code::NotFound, "SNAPSHOT_NOT_FOUND".to_owned()));
    core.stop().await;
}

#[tokio::test]
async fn one_that_nobody_reads_is_given_up() {
    let settings = CoreSettings {
        transport: Transport {
            snapshots: 1,
            snapshot_idle: Duration::from_millis(50),
            ..Transport::default()
        },
        ..CoreSettings::default()
    };
    let core = TestCore::with(settings).await;
    core.publish(&["ada"], "x").await;
    let first = begin(&core, &administrator()).await.unwrap();
    let again = async {
        while begin(&core, &administrator()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(again).await;
    let gone = read(core.channel(), &first.snapshot_id, &first.files[0].name, 0).await;
    assert_eq!(refusal(gone).1, "SNAPSHOT_NOT_FOUND");
    core.stop().await;
}

#[tokio::test]
async fn it_goes_on_with_another_run_of_the_core() {
    let (core, ids, dir) = filled().await;
    let into = tempdir().unwrap();
    let manifest = begin(&core, &administrator()).await.unwrap();
    let file = manifest.files[1].clone();
    let part = read(core.channel(), &manifest.snapshot_id, &file.name, 0)
        .await
        .unwrap();
    {
        let mut import = Import::open(into.path()).unwrap();
        import.adopt(manifest, None).unwrap();
        let mut incoming = import.file(&file)().unwrap();
        incoming.write(&part[..1000]).unwrap();
    }
    core.stop().await;
    let core = TestCore::at(dir.path(), CoreSettings::default()).await;
    fetch(&[url(&core)], into.path()).await.unwrap();
    check(into.path(), &ids).await;
    core.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_of_no_use_is_passed_over_and_each_reason_said() {
    let (core, ids, dir) = filled().await;
    let (other, _ids, _dir) = filled().await;
    begin(&other, &administrator()).await.unwrap();
    begin(&core, &administrator()).await.unwrap();
    // The disk of one of them is rotten.
    let data = dir.path().join("segments/00000001.1/data");
    let mut rotten = fs::read(&data).unwrap();
    rotten[1000] ^= 1;
    fs::write(&data, rotten).unwrap();
    let into = tempdir().unwrap();
    let peers = ["not a url".to_owned(), url(&core)];
    let failed = fetch(&peers, into.path()).await.unwrap_err();
    let FetchError::Peers(reasons) = &failed else {
        panic!("{failed}")
    };
    assert!(matches!(reasons[0].1, PeerError::Address(_)), "{failed}");
    assert!(matches!(reasons[1].1, PeerError::Damaged(_)), "{failed}");
    fetch(&[url(&core), url(&other)], into.path())
        .await
        .unwrap();
    check(into.path(), &ids).await;

    let log = LogId::new(0);
    let into = tempdir().unwrap();
    let urls = [url(&other)];
    let others = to_copy_from(&urls, tokens());
    let failed = soon(fetch_snapshot(&others, into.path(), Some(&log))).await;
    let failed = failed.unwrap_err();
    assert!(failed.to_string().contains("a log of its own"), "{failed}");
    let fixed = ServiceTokens::fixed(token("ada", &[]));
    let failed = soon(fetch_snapshot(
        &to_copy_from(&urls, fixed),
        into.path(),
        None,
    ))
    .await;
    let code = failed.unwrap_err().status().map(Status::code);
    assert_eq!(code, Some(Code::PermissionDenied));
    let failed = fetch(&[], into.path()).await.unwrap_err();
    assert!(matches!(failed, FetchError::NoPeer));
    core.stop().await;
    other.stop().await;
}
