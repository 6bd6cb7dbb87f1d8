use pb::publish_request::Audience as In;

use super::*;

/// Fields and descriptions of what was refused.
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Vec<(String, String)> {
    match result {
        Err(Refusal::Invalid(violations)) => violations
            .fields()
            .into_iter()
            .map(|found| (found.field, found.description))
            .collect(),
        other => panic!("not refused as invalid: {other:?}"),
    }
}

fn only<T: std::fmt::Debug>(result: Result<T, Refusal>, field: &str, description: &str) {
    let refused = refused(result);
    assert_eq!(refused, [(field.to_owned(), description.to_owned())]);
}

fn named(ids: &[&str]) -> Option<In> {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    Some(In::Recipients(pb::Recipients { ids }))
}

fn request() -> pb::PublishRequest {
    pb::PublishRequest {
        event_id: "e".into(),
        source_id: "s".into(),
        audience: named(&["ada"]),
        topic: "invoice.paid".into(),
        data: "d".into(),
        ttl: None,
    }
}

fn check(request: pb::PublishRequest) -> Result<Draft, Refusal> {
    publish(request, &Limits::default())
}

#[test]
fn texts_are_bounded_by_bytes() {
    let long = |bytes: usize| "é".repeat(bytes / 2);
    check(pb::PublishRequest {
        source_id: long(128),
        ..request()
    })
    .unwrap();
    only(
        check(pb::PublishRequest {
            source_id: long(130),
            ..request()
        }),
        "source_id",
        "130 bytes; 1 to 128 are allowed",
    );
    only(
        check(pb::PublishRequest {
            source_id: String::new(),
            ..request()
        }),
        "source_id",
        "0 bytes; 1 to 128 are allowed",
    );
    check(pb::PublishRequest {
        event_id: long(128),
        ..request()
    })
    .unwrap();
    only(
        check(pb::PublishRequest {
            event_id: long(130),
            ..request()
        }),
        "event_id",
        "130 bytes; at most 128 are allowed",
    );
    check(pb::PublishRequest {
        data: long(65_536),
        ..request()
    })
    .unwrap();
    only(
        check(pb::PublishRequest {
            data: long(65_538),
            ..request()
        }),
        "data",
        "65538 bytes; at most 65536 are allowed",
    );
    check(pb::PublishRequest {
        topic: "t".repeat(256),
        ..request()
    })
    .unwrap();
    let shown = format!("{:?}… (257 bytes): at most 256 bytes", "t".repeat(40));
    only(
        check(pb::PublishRequest {
            topic: "t".repeat(257),
            ..request()
        }),
        "topic",
        &shown,
    );
}

#[test]
fn control_characters_stand_in_data_only() {
    only(
        check(pb::PublishRequest {
            source_id: "a\nb".into(),
            ..request()
        }),
        "source_id",
        "'\\n' at byte 1; no control characters are allowed",
    );
    only(
        check(pb::PublishRequest {
            event_id: "a\u{0}".into(),
            ..request()
        }),
        "event_id",
        "'\\0' at byte 1; no control characters are allowed",
    );
    only(
        check(pb::PublishRequest {
            topic: "a.*".into(),
            ..request()
        }),
        "topic",
        "\"a.*\": `*` and `>` belong to filters",
    );
    let data = "\u{0}\r\n🦀";
    let draft = check(pb::PublishRequest {
        data: data.into(),
        ..request()
    })
    .unwrap();
    assert_eq!(draft.data, data);
}

#[test]
fn an_empty_event_id_is_none() {
    let draft = check(pb::PublishRequest {
        event_id: String::new(),
        ..request()
    })
    .unwrap();
    assert_eq!(draft.event_id, None);
    assert_eq!(check(request()).unwrap().event_id.as_deref(), Some("e"));
}

#[test]
fn an_audience_is_needed_and_each_recipient_is_one() {
    only(
        check(pb::PublishRequest {
            audience: None,
            ..request()
        }),
        "audience",
        "unset; either recipients or everyone is needed",
    );
    only(
        check(pb::PublishRequest {
            audience: named(&[]),
            ..request()
        }),
        "recipients.ids",
        "0 of them; 1 to 10000 are allowed",
    );
    let draft = check(pb::PublishRequest {
        audience: named(&["bob", "ada", "bob"]),
        ..request()
    })
    .unwrap();
    let Audience::Recipients(recipients) = draft.audience else {
        panic!("recipients")
    };
    let recipients: Vec<_> = recipients.iter().map(RecipientId::as_str).collect();
    assert_eq!(recipients, ["bob", "ada"]);
    let everyone = Some(In::Everyone(pb::Everyone {}));
    let draft = check(pb::PublishRequest {
        audience: everyone,
        ..request()
    })
    .unwrap();
    assert_eq!(draft.audience, Audience::Everyone);
}

#[test]
fn recipients_are_bounded_in_number_and_bytes() {
    let many = |count| {
        let ids = (0..count).map(|n: usize| n.to_string()).collect();
        pb::PublishRequest {
            audience: Some(In::Recipients(pb::Recipients { ids })),
            ..request()
        }
    };
    check(many(10_000)).unwrap();
    only(
        check(many(10_001)),
        "recipients.ids",
        "10001 of them; 1 to 10000 are allowed",
    );
    let long = "x".repeat(129);
    check(pb::PublishRequest {
        audience: named(&[&long[1..]]),
        ..request()
    })
    .unwrap();
    let audience = named(&["ada", &long, "", "b\tb"]);
    let refused = refused(check(pb::PublishRequest {
        audience,
        ..request()
    }));
    assert_eq!(
        refused,
        [
            (
                "recipients.ids[1]".to_owned(),
                "129 bytes; 1 to 128 are allowed".to_owned()
            ),
            (
                "recipients.ids[2]".to_owned(),
                "0 bytes; 1 to 128 are allowed".to_owned()
            ),
            (
                "recipients.ids[3]".to_owned(),
                "'\\t' at byte 1; no control characters are allowed".to_owned()
            ),
        ]
    );
}

#[test]
fn a_ttl_is_more_than_nothing_and_at_most_a_century() {
    let with = |seconds, nanos| {
        let ttl = Some(prost_types::Duration { seconds, nanos });
        check(pb::PublishRequest { ttl, ..request() })
    };
    let century = 100 * 365 * 24 * 3600;
    assert_eq!(with(0, 1).unwrap().ttl, Some(Duration::from_nanos(1)));
    assert_eq!(
        with(century, 0).unwrap().ttl,
        Some(Duration::from_secs(3_153_600_000))
    );
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (0, -1),
        (1, -1),
        (century, 1),
        (i64::MAX, 0),
        (1, 1_000_000_000),
    ] {
        let allowed = "more than 0 and at most 3153600000 s are allowed";
        only(
            with(seconds, nanos),
            "ttl",
            &format!("{seconds} s and {nanos} ns; {allowed}"),
        );
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_but_not_without_end() {
    let all = refused(check(pb::PublishRequest {
        event_id: "\u{7f}".into(),
        source_id: String::new(),
        audience: None,
        topic: "a b".into(),
        data: "x".repeat(65_537),
        ttl: Some(prost_types::Duration::default()),
    }));
    let fields: Vec<_> = all.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        ["source_id", "event_id", "data", "topic", "ttl", "audience"]
    );

    let many = refused(check(pb::PublishRequest {
        audience: named(&[""; 10_000]),
        ..request()
    }));
    assert_eq!(many.len(), 17);
    assert_eq!(many[16].1, "and 9984 more violations");
}

#[test]
fn a_stream_is_checked() {
    let limits = Limits::default();
    let ask = |recipient_id: &str, topics: Vec<&str>| {
        let topics = topics.into_iter().map(str::to_owned).collect();
        let request = pb::SubscribeRequest {
            recipient_id: recipient_id.into(),
            topics,
            ..pb::SubscribeRequest::default()
        };
        subscribe(request, &limits)
    };
    assert!(
        ask("ada", vec!["invoice.*", ">"])
            .unwrap()
            .topics
            .matches("x")
    );
    let refused = refused(ask("", vec!["ok", "a..b"]));
    assert_eq!(refused[0].0, "recipient_id");
    assert_eq!(refused[1].0, "topics[1]");
    ask("ada", vec!["a"; 64]).unwrap();
    only(
        ask("ada", vec!["a"; 65]),
        "topics",
        "65 of them; at most 64 are allowed",
    );
}

#[test]
fn a_page_is_checked() {
    let limits = Limits::default();
    let ask = |page_size, page_token: &str, status| {
        let request = pb::ListHistoryRequest {
            recipient_id: "ada".into(),
            status,
            page_size,
            page_token: page_token.into(),
            topics: Vec::new(),
        };
        list_history(&request, &limits).map(|(_, query)| query)
    };
    assert_eq!(ask(0, "", 0).unwrap().limit, 50);
    assert_eq!(ask(1, "", 1).unwrap().limit, 1);
    assert_eq!(ask(500, "", 2).unwrap().limit, 500);
    let allowed = "1 to 500, or 0 for the default";
    only(ask(501, "", 0), "page_size", &format!("501; {allowed}"));
    only(ask(-1, "", 0), "page_size", &format!("-1; {allowed}"));
    only(ask(1, "", 3), "status", "3: not a ReadStatus (0 to 2)");
    let ada = RecipientId::new("ada").unwrap();
    assert_eq!(
        ask(1, &page_token::encode(&ada, 9), 0).unwrap().before,
        Some(9)
    );
    let of_bob = page_token::encode(&RecipientId::new("bob").unwrap(), 9);
    for token in ["garbage", &of_bob] {
        assert_eq!(refused(ask(1, token, 0))[0].0, "page_token");
    }
}

#[test]
fn a_mark_is_checked() {
    use pb::set_read_state_request::Target;
    let limits = Limits::default();
    let mark = |target| {
        let recipient_id = "ada".into();
        set_read_state(
            pb::SetReadStateRequest {
                recipient_id,
                target,
                read: true,
            },
            &limits,
        )
    };
    let ids = |ids| Some(Target::Ids(pb::Ids { ids }));
    assert_eq!(
        mark(ids(vec![3, 1, 3])).unwrap().1,
        ReadTarget::Ids(vec![1, 3])
    );
    mark(ids((1..=500).collect())).unwrap();
    only(
        mark(ids((0..501).collect())),
        "ids.ids",
        "501 of them; 1 to 500 are allowed",
    );
    only(
        mark(ids(vec![])),
        "ids.ids",
        "0 of them; 1 to 500 are allowed",
    );
    only(
        mark(Some(Target::UpTo(0))),
        "up_to",
        "0; a notification's id is 1 or more",
    );
    only(mark(None), "target", "unset; either ids or up_to is needed");
    assert_eq!(
        mark(Some(Target::UpTo(1 << 60))).unwrap().1,
        ReadTarget::UpTo(1 << 60)
    );
}

#[test]
fn a_join_is_checked() {
    let limits = Limits::default();
    let ids = |count| vec!["ada".to_owned(); count];
    assert_eq!(
        relay_ids("join", &ids(10_000), &limits).unwrap().len(),
        10_000
    );
    assert_eq!(relay_ids("join", &[], &limits).unwrap(), []);
    let allowed = "at most 10000 are allowed";
    only(
        relay_ids("join", &ids(10_001), &limits),
        "join.recipient_ids",
        &format!("10001 of them; {allowed}"),
    );
    let refused = refused(relay_ids("leave", &["a\n".to_owned()], &limits));
    assert_eq!(refused[0].0, "leave.recipient_ids[0]");
}
