//! The disk of one core fails. The others go on, it says that it is behind, and it has what they have when
//! it is well again. (Of a full one: `stuck`.)

use mercurio_tests::mount::Mount;

use super::*;

/// Messages that come to a core without its applying any, so that all its queues are full.
const MANY: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_holds_up_its_core_alone() {
    let Some(mount) = Mount::ext4(256) else {
        return;
    };
    let Some(engine) = nats(1) else { return };
    let mut cluster = Pair::start(&engine, &mount).await;
    // What the process makes of its dead disk is not what is asked here.
    cluster.cores[1].process.panics_fail = false;
    // From here on each write to it fails.
    mount.cut_power();
    cluster.goes_on_without_it().await;
    cluster.cores[1].kill();
    mount.remount();
    cluster.cores[1].restart().await;
    ready(&cluster.cores[1]).await;
    cluster.finish().await;
}

/// Two cores, the second one on a disk to be tried, with publishers at both and a reader.
struct Pair {
    cores: Vec<Service>,
    ledger: Ledger,
    publishers: Vec<Publisher>,
    follower: Subscriber,
}

impl Pair {
    async fn start(engine: &Engine, mount: &Mount) -> Pair {
        let well = engine.cores(1).await.remove(0);
        let setup = engine.setup().secret_of(&well);
        let tried =
            setup
                .data(mount.path().join("data"))
                .args(["--log-wait", "2s", "--log-lag", "6s"]);
        let mut tried = tried.launch();
        tried.listening_within(LATER).await;
        ready(&tried).await;
        let ledger = Ledger::default();
        // Most at the one that is well: the other is to be behind by more than its queues hold, soon.
        let at = [&tried, &well, &well, &well, &well];
        let publishers = at.into_iter().enumerate().map(|(p, core)| {
            Publisher::start(core.service_api(), ledger.clone(), move |n| request(p, n))
        });
        let pair = Pair {
            publishers: publishers.collect(),
            follower: Subscriber::grpc(tried.service_api(), "alice", Manner::from_start()),
            cores: vec![well, tried],
            ledger,
        };
        pair.more(50).await;
        pair
    }

    async fn more(&self, count: usize) {
        let goal = self.ledger.len() + count;
        eventually("publishing goes on", LATER, async || {
            (self.ledger.len() >= goal).then_some(())
        })
        .await;
    }

    async fn goes_on_without_it(&self) {
        self.more(MANY).await;
        // Gateways leave it.
        eventually("it says that it is behind", LATER, async || {
            let asked = Request::get("/readyz").try_send(self.cores[1].admin());
            (asked.await.ok()?.status == 503).then_some(())
        })
        .await;
        let well = Request::get("/readyz").send(self.cores[0].admin()).await;
        assert_eq!(well.status, 200, "{}", well.text());
    }

    /// Nothing is lost, nothing is there twice.
    async fn finish(self) {
        for publisher in self.publishers {
            assert!(publisher.stop().await > 0);
        }
        agree(&self.cores, &self.ledger).await;
        let expected = self.ledger.of("alice");
        let record = &self.follower.record;
        record.wait_for_count(expected.len(), LATER).await;
        record.check("the follower", &expected);
    }
}
