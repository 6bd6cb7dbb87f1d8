//! Files that are not as they were left: a torn last write, a flipped byte.
//!
//! Cut bytes of the end of the log may look exactly like a write that was under way when the
//! machine stopped, which nobody was told of. So after a cut the store has either refused with a
//! clear message, or holds a prefix of what was acknowledged, whole up to there. A byte flipped
//! in the middle is neither: there the answer is the whole truth or an error.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use mercurio_tests::{prelude::*, verify::verify};

/// A core with things in it, killed; its data directory and what was acknowledged.
async fn killed_store() -> (Service, Ledger) {
    let mut core = Setup::core().args(["--segment-rows", "300"]).start().await;
    let ledger = Ledger::default();
    let api = core.service_api();
    for n in 0..40 {
        let calls: Vec<_> = (0..20)
            .map(|m| {
                let (api, ledger) = (api.clone(), ledger.clone());
                let data = format!("{n}-{m}-{}", "d".repeat(200));
                let request = if m % 5 == 0 {
                    to_everyone("t", &data)
                } else {
                    to(&["alice"], "t", &data)
                };
                let request = with_id(&format!("{n}-{m}"), request);
                tokio::spawn(async move { publish_surely(&api, &ledger, request).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    }
    core.kill();
    (core, ledger)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            all.extend(files(&entry.path()));
        } else if meta.len() > 0 {
            all.push((entry.path(), meta.len(), meta.modified().unwrap()));
        }
    }
    all
}

/// What a start on damaged files came to.
#[derive(Debug)]
#[expect(dead_code, reason = "the details are for the failure's message")]
enum Verdict {
    /// It did not start, or a read was answered with an error; this was said.
    Refused(String),
    /// It serves everything that was acknowledged, everything in agreement.
    Whole,
    /// It serves so many of the acknowledged, the first ones, and says nothing of the rest.
    Prefix(usize),
    /// It serves something else.
    Wrong(String),
}

/// Starts a core on a copy of the data that `damage` was done to.
async fn judge(original: &Service, ledger: &Ledger, damage: impl FnOnce(&Path)) -> Verdict {
    let directory = tempfile::TempDir::new().unwrap();
    let data = directory.path().join("data");
    copy(&original.setup.data_dir(), &data);
    damage(&data);
    let setup = Setup::core()
        .secret_of(original)
        .data(&data)
        .args(["--segment-rows", "300"]);
    let mut core = setup.launch();
    let listening = core.process.stderr.find(|line| line.contains("listening"));
    if within("a start or a refusal", SOON, listening)
        .await
        .is_none()
    {
        let status = core.process.wait(SOON).await;
        assert_eq!(status.signal(), None, "{status}");
        return Verdict::Refused(core.process.stderr.text());
    }
    core.listening().await;
    let api = core.service_api();
    let mut history = Vec::new();
    for user in ["alice", "bob"] {
        match whole_history(&api, user).await {
            Err(refused) => return Verdict::Refused(refused.to_string()),
            Ok(found) => history.push(found),
        }
    }
    let (whole, found) = (ledger.of("alice"), &history[0]);
    if found.len() > whole.len() || found[..] != whole[..found.len()] {
        let missing: Vec<u64> = whole
            .iter()
            .filter(|seen| !found.contains(seen))
            .map(|seen| seen.id)
            .collect();
        let (first, last) = (missing.first(), missing.last());
        let (found, whole) = (found.len(), whole.len());
        return Verdict::Wrong(format!(
            "{found} of {whole}, {first:?} to {last:?} are missing"
        ));
    }
    let kept = ledger.up_to(found.last().map_or(0, |seen| seen.id));
    if history[1] != kept.of("bob") && history[1] != ledger.of("bob") {
        return Verdict::Wrong(format!("{} for bob", history[1].len()));
    }
    // Served in agreement, and it goes on from there.
    verify(&api, &kept, &["alice"]).await;
    let id = api.publish(to(&["alice"], "t", "goes on")).await.id;
    assert!(found.last().is_none_or(|last| last.id < id));
    if found.len() == whole.len() {
        Verdict::Whole
    } else {
        Verdict::Prefix(found.len())
    }
}

/// Oldest first; any page may hit the damage.
async fn whole_history(api: &Api, user: &str) -> Result<Vec<Seen>, tonic::Status> {
    let mut all = Vec::new();
    let mut request = page(user, 500);
    loop {
        let page = api.try_list(request.clone()).await?;
        all.extend(page.notifications.iter().map(Seen::from));
        if page.next_page_token.is_empty() {
            all.reverse();
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_write() {
    let (core, ledger) = killed_store().await;
    let newest = files(&core.setup.data_dir())
        .into_iter()
        .max_by_key(|file| file.2)
        .unwrap();
    let name = newest
        .0
        .strip_prefix(core.setup.data_dir())
        .unwrap()
        .to_owned();
    eprintln!("the newest file is {}, {} bytes", name.display(), newest.1);
    for cut in [1, 7, 100, 513, 4096, 20_000, newest.1 / 2, newest.1] {
        let verdict = judge(&core, &ledger, |data| {
            let file = fs::File::options()
                .write(true)
                .open(data.join(&name))
                .unwrap();
            file.set_len(newest.1.saturating_sub(cut)).unwrap();
        })
        .await;
        eprintln!("{cut} bytes cut of {}: {verdict:?}", newest.1);
        check_message(&verdict);
        assert!(
            !matches!(verdict, Verdict::Wrong(_)),
            "{cut} bytes cut: {verdict:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte() {
    let (core, ledger) = killed_store().await;
    let data = core.setup.data_dir();
    let all = files(&data);
    let mut random = fastrand::Rng::new();
    let mut lost = Vec::new();
    for round in 0..24 {
        let (path, length, _) = &all[random.usize(..all.len())];
        let name = path.strip_prefix(&data).unwrap().to_owned();
        let content = fs::read(path).unwrap();
        // Not in the zeros of space that is not used yet.
        let used = content.iter().rposition(|b| *b != 0).unwrap_or(0) + 1;
        let at = random.usize(..used);
        let bit = 1u8 << random.u8(..8);
        let verdict = judge(&core, &ledger, |data| {
            let mut content = content.clone();
            content[at] ^= bit;
            fs::write(data.join(&name), content).unwrap();
        })
        .await;
        let place = format!(
            "round {round}: {} at {at} of {used}/{length}, ^{bit}",
            name.display()
        );
        eprintln!("{place}: {verdict:?}");
        check_message(&verdict);
        if matches!(verdict, Verdict::Prefix(_) | Verdict::Wrong(_)) {
            lost.push(format!("{place}: {verdict:?}"));
        }
    }
    assert!(lost.is_empty(), "silently less:\n{}", lost.join("\n"));
}

/// A refusal says what to do, or at least what and where; never a bare code.
fn check_message(verdict: &Verdict) {
    if let Verdict::Refused(said) = verdict {
        assert!(!said.contains("panicked"), "{said}");
        assert!(said.len() > 20, "{said}");
    }
}
