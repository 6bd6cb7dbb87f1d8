use tonic::Code;
use tonic_types::ErrorDetails;

use super::*;

#[test]
fn gateways_spread_over_the_cores_and_those_that_lose_one_over_the_others() {
    const GATEWAYS: usize = 3_000;
    let urls = ["a", "b", "c"].map(str::to_owned);
    let orders: Vec<_> = (0..GATEWAYS as u64)
        .map(|seed| in_order(&urls, &mut fastrand::Rng::with_seed(seed)))
        .collect();
    let few: std::collections::HashSet<_> = orders[..20].iter().map(|urls| &urls[0]).collect();
    assert_eq!(few.len(), 3, "20 gateways, and a core without one");
    for first in &urls {
        let here: Vec<_> = orders.iter().filter(|urls| urls[0] == *first).collect();
        assert!(here.len().abs_diff(GATEWAYS / 3) < 150, "{}", here.len());
        for second in urls.iter().filter(|url| *url != first) {
            let next = here.iter().filter(|urls| urls[1] == *second).count();
            assert!(next.abs_diff(GATEWAYS / 6) < 120, "{next}");
        }
    }
}

fn cores(urls: &[&str]) -> Cores {
    let settings = GatewaySettings {
        core_urls: urls.iter().map(|url| format!("http://{url}:1")).collect(),
        ..GatewaySettings::default()
    };
    let tokens = ServiceTokens::fixed("token".into());
    Cores::new(&settings, tokens, Arc::default()).unwrap()
}

#[tokio::test]
async fn a_call_is_made_again_where_that_can_help() {
    let (one, two) = (cores(&["a"]), cores(&["a", "b"]));
    let refused = |code, reason: &str, retry| {
        let mut details = ErrorDetails::with_error_info(reason, "mercurio", []);
        details.set_retry_info(retry);
        Status::with_error_details(code, "refused", details)
    };
    let soon = Some(Duration::from_millis(100));
    let patience = Some(FAILOVER_PATIENCE);
    for (status, of_one, of_two) in [
        // Connections that broke.
        (Status::unavailable("refused"), None, patience),
        (Status::unknown("reset"), None, patience),
        (refused(Code::Unavailable, "LAGGING", soon), soon, soon),
        (
            refused(Code::Unavailable, "SHUTTING_DOWN", soon),
            None,
            soon,
        ),
        (refused(Code::Unavailable, "STORE_BUSY", soon), None, None),
        (
            refused(Code::ResourceExhausted, "STORE_FULL", soon),
            None,
            None,
        ),
        (
            refused(Code::InvalidArgument, "INVALID_FIELD", None),
            None,
            None,
        ),
        (refused(Code::Internal, "INTERNAL", None), None, None),
        (refused(Code::NotFound, "NOT_FOUND", None), None, None),
    ] {
        assert_eq!(one.patience(&status), of_one, "{status:?}");
        assert_eq!(two.patience(&status), of_two, "{status:?}");
    }
    let long = refused(Code::Unavailable, "LAGGING", Some(Duration::from_secs(60)));
    assert_eq!(one.patience(&long), patience);
}
