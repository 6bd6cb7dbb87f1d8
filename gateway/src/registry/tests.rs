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
