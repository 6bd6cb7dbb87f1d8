use super::*;

fn registry() -> Arc<Registry> {
    let limits = Limits {
        streams: 3,
        streams_per_user: 2,
        mailbox: 4,
    };
    Arc::new(Registry::new(limits, Arc::default()))
}

fn open(registry: &Arc<Registry>, user: &str) -> Result<Open, ApiError> {
    registry.open(user, Lease::endless(user))
}

#[tokio::test]
async fn who_leaves_and_comes_back_is_joined_anew() {
    let registry = registry();
    registry.connected(1);
    let first = open(&registry, "a").unwrap();
    let users = registry.interest(1, 10).await.join;
    assert_eq!(users, ["a".into()]);
    drop(first);
    let second = open(&registry, "a").unwrap();
    // The answer to the first join comes late.
    registry.joined(1, 5, &users);
    assert_eq!(second.resume(), None);
    assert_eq!(registry.interest(2, 10).await.join, users);
    registry.joined(2, 5, &users);
    assert!(second.resume().is_some());
    registry.disconnected();
    assert_eq!(second.resume(), None);
}

#[tokio::test]
async fn who_resumes_is_told_what_the_relay_has_been_heard_of() {
    let registry = registry();
    registry.connected(1);
    let stream = open(&registry, "a").unwrap();
    let users = registry.interest(1, 10).await.join;
    registry.joined(1, 5, &users);
    let heard = |cursor| Some(Heard { core: 1, cursor });
    assert_eq!(stream.resume(), heard(5));
    registry.reset(9);
    assert_eq!(stream.resume(), heard(9));
    registry.reset(8);
    assert_eq!(stream.resume(), heard(9));
    // Another core's relay, which may be behind: its own word counts.
    registry.disconnected();
    registry.connected(0);
    assert_eq!(registry.interest(2, 10).await.join, users);
    registry.joined(2, 7, &users);
    let heard = Some(Heard { core: 0, cursor: 7 });
    assert_eq!(stream.resume(), heard);
}

#[test]
fn limits_hold_and_leaving_makes_room() {
    let registry = registry();
    let a = [open(&registry, "a").unwrap(), open(&registry, "a").unwrap()];
    assert_eq!(
        open(&registry, "a").err().unwrap().code(),
        "too-many-streams"
    );
    let b = open(&registry, "b").unwrap();
    assert_eq!(
        open(&registry, "c").err().unwrap().code(),
        "too-many-streams"
    );
    drop(a);
    drop(b);
    assert!(registry.inner.lock().users.is_empty());
    assert_eq!(registry.take_interest(1, 10), Interest::default());
}

#[test]
fn while_there_is_no_relay_nothing_piles_up_for_one() {
    let registry = registry();
    drop(open(&registry, "a").unwrap());
    assert!(registry.inner.lock().changed.is_empty());
    registry.connected(0);
    drop(open(&registry, "a").unwrap());
    let interest = registry.take_interest(1, 10);
    assert_eq!((interest.join.len(), interest.leave.len()), (0, 1));
}

#[test]
fn pages_list_each_stream_once_in_order() {
    let limits = Limits {
        streams: 500,
        streams_per_user: 500,
        mailbox: 4,
    };
    let registry = Arc::new(Registry::new(limits, Arc::default()));
    let mut rng = fastrand::Rng::with_seed(6);
    let name = |rng: &mut fastrand::Rng| format!("user-{}", rng.u32(..40));
    let open: Vec<_> = (0..200)
        .map(|_| open(&registry, &name(&mut rng)).unwrap())
        .collect();
    let mut all: Vec<_> = open
        .iter()
        .map(|open| (open.user().to_owned(), open.mailbox.lease.id()))
        .collect();
    all.sort();
    for limit in [1, 2, 7, 199, 200, 1000] {
        let mut seen: Vec<(String, u64)> = Vec::new();
        loop {
            let after = seen.last().cloned().unwrap_or_default();
            let (page, more) = registry.list(None, (&after.0, after.1), limit);
            assert!(page.len() <= limit && (!more || page.len() == limit));
            seen.extend(
                page.into_iter()
                    .map(|found| (found.recipient_id, found.stream_id)),
            );
            if !more {
                break;
            }
        }
        assert_eq!(seen, all, "{limit}");
    }
    let of = &all[17].0;
    let (theirs, more) = registry.list(Some(of), ("", 0), 1000);
    let wanted = all.iter().filter(|(name, _)| name == of).count();
    assert_eq!((theirs.len(), more), (wanted, false));
    assert!(
        theirs
            .iter()
            .all(|found| found.behind && found.cursor.is_none())
    );
    assert_eq!(registry.count(), (200, 200, 0));
    assert!(registry.list(Some("nobody"), ("", 0), 9).0.is_empty());
}
