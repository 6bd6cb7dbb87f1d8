//! Fills a store, with retention running, and measures what issue-sized stores cost: memory, disk,
//! start, and a page of 50.
//!
//!     cargo run --release -p mercurio-core --example fill -- DIR [NOTIFICATIONS] [USERS] [MAX_PER_USER]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use mercurio_core::{
    clock,
    entry::{Audience, Entry, Published, RecipientId},
    store::{Batch, HistoryQuery, Retention, StatusFilter, Store, StoreSettings},
    topic::TopicFilters,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory"));
    let mut number = |or: u64| {
        arguments
            .next()
            .map_or(or, |text| text.parse().expect("a number"))
    };
    let (notifications, users, max_per_recipient) =
        (number(5_000_000), number(100_000), number(10_000));
    let retention = Retention {
        max_per_recipient,
        ..Retention::default()
    };
    fill(&dir, retention, notifications, users);
    measure(&dir, retention, notifications, users);
}

fn fill(dir: &std::path::Path, retention: Retention, notifications: u64, users: u64) {
    let store = Store::open(dir, StoreSettings::default(), retention).expect("open");
    let sweeper = {
        let store = store.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            while stopped
                .recv_timeout(Duration::from_millis(200))
                .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                while store.pack_one(clock::now()).expect("pack")
                    || store.repack_one(clock::now()).expect("repack")
                {}
            }
            while store.pack_one(clock::now()).expect("pack")
                || store.repack_one(clock::now()).expect("repack")
            {}
        });
        move || {
            drop(stop);
            thread.join().expect("sweeper");
        }
    };
    let started = Instant::now();
    let mut seed = 1_u64;
    let mut peak = 0;
    let first = store.last_sequence();
    for batch_number in 0..notifications.saturating_sub(first) / 256 {
        let mut batch = Batch::new(&store);
        for _ in 0..256 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let user = (seed >> 33) % users;
            let published = Published {
                at: clock::now(),
                source_id: "fill".into(),
                event_id: format!("{seed:016x}"),
                topic: "invoice.paid".into(),
                data: "d".repeat(240),
                expires_at: None,
            };
            let to = RecipientId::new(&format!("user-{user}")).expect("valid");
            let audience = Audience::Recipients(Arc::new([to]));
            let entry = Entry::Published(audience, Arc::new(published));
            batch.apply(batch.next_sequence(), entry).expect("apply");
        }
        batch.commit().expect("commit");
        store.roll_if_full().expect("roll");
        if batch_number % 400 == 0 {
            peak = peak.max(resident());
        }
    }
    let filled = store.last_sequence() - first;
    println!(
        "filled {filled} in {:.0?}, {:.0}/s",
        started.elapsed(),
        filled as f64 / started.elapsed().as_secs_f64()
    );
    sweeper();
    peak = peak.max(resident());
    println!(
        "resident: peak {peak} MiB, now {} MiB; {} segments, {} MiB",
        resident(),
        store.segments(),
        store.size() >> 20
    );
}

fn measure(dir: &std::path::Path, retention: Retention, notifications: u64, users: u64) {
    let started = Instant::now();
    let store = Store::open(dir, StoreSettings::default(), retention).expect("open");
    println!(
        "opened in {:.2?}; resident {} MiB",
        started.elapsed(),
        resident()
    );
    let query = HistoryQuery {
        status: StatusFilter::All,
        topics: TopicFilters::default(),
        before: None,
        limit: 50,
    };
    let unread = HistoryQuery {
        status: StatusFilter::Unread,
        ..query.clone()
    };
    for (name, query) in [("first", &query), ("again", &query), ("unread", &unread)] {
        let mut seed = 7_u64;
        let mut took: Vec<Duration> = (0..4000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let user =
                    RecipientId::new(&format!("user-{}", (seed >> 33) % users)).expect("valid");
                let started = Instant::now();
                let page = store.history(&user, query, clock::now()).expect("history");
                assert!(notifications < 20 * users || page.unread_count > 0);
                started.elapsed()
            })
            .collect();
        took.sort();
        println!(
            "page of 50, {name}: median {:.0?}, p99 {:.0?}; resident {} MiB",
            took[2000],
            took[3960],
            resident()
        );
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .unwrap_or(0)
        / 256
}
