//! What each kind of frame costs, and what earns it back.

use super::*;

/// Role, whether the cause is sent rather than received, the cause, how often, the effect, how often that is taken.
type Earned<'a> = (&'a str, Role, bool, &'a [u8], usize, Vec<u8>, usize);

#[test]
fn each_kind_has_its_budget() {
    use GuardError as E;
    let rows: &[(&str, Vec<u8>, usize, Option<E>)] = &[
        (
            "t1 RST_STREAM",
            raw(RESET, 0, 1, &[0, 0, 0, 8]),
            3,
            Some(E::ResetFlood),
        ),
        (
            "t5 SETTINGS",
            raw(SETTINGS, 0, 0, b""),
            3,
            Some(E::SettingsFlood),
        ),
        (
            "t5 answers to no SETTINGS",
            raw(SETTINGS, 1, 0, b""),
            3,
            Some(E::SettingsFlood),
        ),
        ("t5 PING", raw(PING, 0, 0, &[0; 8]), 3, Some(E::PingFlood)),
        (
            "t5 answers to no PING",
            raw(PING, 1, 0, &[0; 8]),
            3,
            Some(E::PingFlood),
        ),
        (
            "t5 PRIORITY",
            raw(PRIORITY, 0, 1, &[0; 5]),
            3,
            Some(E::PriorityFlood),
        ),
        (
            "t5 PRIORITY_UPDATE",
            raw(0x10, 0, 0, b"\0\0\0\x01u=1"),
            3,
            Some(E::PriorityFlood),
        ),
        (
            "t5 WINDOW_UPDATE",
            raw(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            3,
            Some(E::WindowUpdateFlood),
        ),
        (
            "t5 empty DATA",
            raw(DATA, 0, 1, b""),
            3,
            Some(E::EmptyDataFlood),
        ),
        (
            "t5 DATA of padding",
            raw(DATA, 8, 1, &[9; 10]),
            3,
            Some(E::EmptyDataFlood),
        ),
        (
            "t5 tiny DATA",
            raw(DATA, 0, 1, b"1234567"),
            3,
            Some(E::TinyDataFlood),
        ),
        (
            "t5 tiny DATA with padding",
            raw(DATA, 8, 1, &[9; 17]),
            3,
            Some(E::TinyDataFlood),
        ),
        ("DATA of some size", raw(DATA, 0, 1, b"12345678"), 100, None),
        ("the last DATA", raw(DATA, 1, 1, b""), 100, None),
        (
            "GOAWAY",
            raw(GOAWAY, 0, 0, &[0; 8]),
            3,
            Some(E::GoAwayFlood),
        ),
        ("unknown", raw(0xbe, 0, 1, b"?"), 3, Some(E::UnknownFlood)),
        ("whole heads", raw(HEADERS, 5, 1, b"\x82"), 100, None),
    ];
    let now = start();
    for (name, frame, taken, error) in rows {
        let mut guard = greeted(Role::Server, &small(), now);
        assert_eq!(
            until_refused(&mut guard, now, frame),
            (*taken, *error),
            "{name}"
        );
        assert_eq!(guard.failed(), *error, "{name}");
        // The first second pays for what was taken; then there is room for one each second.
        let mut guard = greeted(Role::Server, &small(), now);
        let later = (0..10).map(|second| now + Duration::from_secs(second));
        for moment in later {
            assert_eq!(
                guard.handle_received(moment, frame),
                Ok(()),
                "{name} at the rate"
            );
        }
    }
}

#[test]
fn a_refusal_is_final() {
    let now = start();
    let mut guard = greeted(Role::Server, &small(), now);
    let ping = raw(PING, 0, 0, &[0; 8]);
    assert_eq!(until_refused(&mut guard, now, &ping).0, 3);
    let later = now + Duration::from_hours(1);
    assert_eq!(
        guard.handle_received(later, b""),
        Err(GuardError::PingFlood)
    );
    // The farewell is still noted.
    let goaway = raw(GOAWAY, 0, 0, &[0; 8]);
    let refused = Err(GuardError::PingFlood);
    assert_eq!(guard.handle_sent(later, &goaway), refused);
    assert!(guard.has_sent_goaway());
}

#[test]
fn what_passes_earns_what_it_causes() {
    let opened = raw(HEADERS, 5, 1, b"\x82");
    let data = raw(DATA, 0, 1, b"12345678");
    let rows: &[Earned<'_>] = &[
        (
            "resets after nine streams",
            Role::Server,
            false,
            &opened,
            9,
            raw(RESET, 0, 1, &[0; 4]),
            3,
        ),
        (
            "resets after thirty streams",
            Role::Server,
            false,
            &opened,
            30,
            raw(RESET, 0, 1, &[0; 4]),
            6,
        ),
        (
            "resets of our streams",
            Role::Client,
            true,
            &opened,
            7,
            raw(RESET, 0, 1, &[0; 4]),
            10,
        ),
        (
            "resets after heads of a server",
            Role::Client,
            false,
            &opened,
            30,
            raw(RESET, 0, 1, &[0; 4]),
            3,
        ),
        (
            "windows for our DATA",
            Role::Server,
            true,
            &data,
            4,
            raw(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            11,
        ),
        (
            "pings for our DATA",
            Role::Server,
            true,
            &data,
            4,
            raw(PING, 0, 0, &[0; 8]),
            7,
        ),
        (
            "answers to our pings",
            Role::Server,
            true,
            &raw(PING, 0, 0, &[0; 8]),
            2,
            raw(PING, 1, 0, &[0; 8]),
            5,
        ),
        (
            "answers to our answers",
            Role::Server,
            true,
            &raw(PING, 1, 0, &[0; 8]),
            2,
            raw(PING, 1, 0, &[0; 8]),
            3,
        ),
        (
            "answers to our SETTINGS",
            Role::Client,
            true,
            &raw(SETTINGS, 0, 0, b""),
            1,
            raw(SETTINGS, 1, 0, b""),
            4,
        ),
        (
            "unknown frames with streams",
            Role::Server,
            false,
            &opened,
            5,
            raw(0xbe, 0, 1, b""),
            8,
        ),
        (
            "empty DATA with streams",
            Role::Server,
            false,
            &opened,
            5,
            raw(DATA, 0, 1, b""),
            8,
        ),
        (
            "empty DATA of a server",
            Role::Client,
            true,
            &opened,
            5,
            raw(DATA, 0, 1, b""),
            8,
        ),
        (
            "no windows for their DATA",
            Role::Server,
            false,
            &data,
            4,
            raw(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            3,
        ),
    ];
    let now = start();
    for (name, role, sent, cause, times, effect, taken) in rows {
        let mut guard = greeted(*role, &small(), now);
        for _ in 0..*times {
            let handled = if *sent {
                guard.handle_sent(now, cause)
            } else {
                guard.handle_received(now, cause)
            };
            assert_eq!(handled, Ok(()), "{name}");
        }
        assert_eq!(until_refused(&mut guard, now, effect).0, *taken, "{name}");
    }
}

#[test]
fn resets_of_ours_count_when_the_peer_is_to_blame() {
    let now = start();
    for (code, is_counted) in [
        (ErrorCode::NO_ERROR, false),
        (ErrorCode::CANCEL, false),
        (ErrorCode::INTERNAL_ERROR, false),
        (ErrorCode::PROTOCOL_ERROR, true),
        (ErrorCode::FLOW_CONTROL_ERROR, true),
        (ErrorCode::STREAM_CLOSED, true),
        (ErrorCode::FRAME_SIZE_ERROR, true),
        (ErrorCode::REFUSED_STREAM, true),
        (ErrorCode::ENHANCE_YOUR_CALM, true),
    ] {
        let mut guard = greeted(Role::Server, &small(), now);
        let reset = raw(RESET, 0, 1, &code.0.to_be_bytes());
        let results: Vec<_> = (0..4).map(|_| guard.handle_sent(now, &reset)).collect();
        let refused = Err(GuardError::ResetSentFlood);
        let expected = if is_counted { refused } else { Ok(()) };
        assert_eq!(
            results,
            [Ok(()), Ok(()), Ok(()), expected],
            "{}",
            code.label()
        );
        assert_eq!(guard.frames().resets_sent, 4, "{}", code.label());
        let together = greeted(Role::Server, &small(), now).handle_sent(now, &reset.repeat(4));
        assert_eq!(together, expected, "{} in one write", code.label());
    }
}

#[test]
fn tiny_data_that_was_not_counted_gives_nothing_back() {
    let now = start();
    let tiny = raw(DATA, 0, 1, b"1");
    let rows: &[(&str, Vec<u8>, usize, bool)] = &[
        ("the last piece", raw(DATA, 1, 3, b"1"), 1, true),
        ("the empty last piece", raw(DATA, 1, 3, b""), 0, true),
        ("an empty piece", raw(DATA, 0, 3, b""), 0, false),
    ];
    for (name, frame, length, last) in rows {
        let mut guard = greeted(Role::Server, &small(), now);
        for _ in 0..3 {
            guard.handle_received(now, &tiny).unwrap();
            guard.handle_received(now, frame).unwrap();
            guard.handle_consumed(*length, *last);
        }
        assert_eq!(
            guard.handle_received(now, &tiny),
            Err(GuardError::TinyDataFlood),
            "{name}"
        );
    }
}

#[test]
fn tiny_data_that_is_read_costs_nothing() {
    let now = start();
    let tiny = raw(DATA, 0, 1, b"1");
    let mut guard = greeted(Role::Server, &small(), now);
    for _ in 0..50 {
        guard.handle_received(now, &tiny).unwrap();
        guard.handle_consumed(1, false);
    }
    guard.handle_consumed(1, false);
    guard.handle_consumed(1, false);
    assert_eq!(
        until_refused(&mut guard, now, &tiny).0,
        3,
        "but no more than the burst waits"
    );
    let mut guard = greeted(Role::Server, &small(), now);
    guard.handle_received(now, &tiny).unwrap();
    guard.handle_consumed(8, false);
    assert_eq!(
        until_refused(&mut guard, now, &tiny).0,
        2,
        "larger pieces give nothing back"
    );
}
