use super::super::{BatchPlace, End};
use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp(millis * 1_000)
}

const VIEW: View = View {
    stale_after: Duration::from_secs(15),
    lease: Duration::from_secs(30),
    reported: None,
    watched_since: Timestamp(0),
    lost: 0,
    last_loss: None,
};

fn code(fleet: &Fleet, millis: i64) -> Option<Code> {
    let problem = fleet.problem(VIEW, |_| true, at(millis));
    problem.map(|problem| problem.code)
}

fn live(ids: &[&str]) -> Vec<(String, String)> {
    ids.iter()
        .map(|id| ((*id).to_owned(), format!("http://{id}")))
        .collect()
}

fn node(name: &str, streams: u32) -> NodeState {
    NodeState {
        name: name.into(),
        streams,
        end: None,
        numbering: None,
    }
}

fn numbered(name: &str, first: u64, next: u64, received: u64) -> NodeState {
    let numbering = Numbering {
        boot: "boot".into(),
        first,
        next,
        received,
    };
    NodeState {
        numbering: Some(numbering),
        ..node(name, 1)
    }
}

/// Two others, `a` with the proxy `p`.
fn fleet() -> Fleet {
    let mut fleet = Fleet::shared();
    fleet.set_live(&live(&["a", "b"]), at(0));
    for replica in ["a", "b"] {
        fleet.begin(replica);
        fleet.update(replica, vec![], None, at(1));
    }
    fleet.update("a", vec![node("p", 1)], Some(at(2)), at(2));
    fleet
}

#[test]
fn the_streams_of_another_replica_are_streams() {
    let fleet = fleet();
    assert_eq!((fleet.streams(), code(&fleet, 10)), (1, None));
    assert_eq!(code(&fleet, 16_000), Some(Code::Stale));
}

#[test]
fn a_live_replica_that_says_nothing_hides_everything() {
    let mut fleet = fleet();
    let unheard = |fleet: &Fleet| fleet.problem(VIEW, |id| id != "b", at(10));
    assert_eq!(unheard(&fleet).unwrap().code, Code::NoAccessLog);
    fleet.set_live(&live(&["a", "b", "c"]), at(10));
    let problem = fleet.problem(VIEW, |_| true, at(10)).unwrap();
    assert!(problem.text.contains("http://c"), "{}", problem.text);
    fleet.begin("c");
    assert_eq!(code(&fleet, 11), None);
}

#[test]
fn the_proxies_of_a_lost_replica_are_missed_until_they_are_back_anywhere() {
    let mut fleet = fleet();
    fleet.out_of_sight("a", at(100));
    assert_eq!(
        code(&fleet, 101),
        Some(Code::NoAccessLog),
        "live, not heard"
    );
    fleet.set_live(&live(&["b"]), at(200));
    let problem = fleet.problem(VIEW, |_| true, at(201)).unwrap();
    assert_eq!(problem.text, "the access log of proxy p broke off");
    fleet.update("b", vec![node("p", 1)], Some(at(300)), at(300));
    assert_eq!(code(&fleet, 301), None);
    // Gone again, for longer than it is waited for, while another proxy goes on.
    let end = Some(End {
        at: at(400),
        cleanly: false,
    });
    let gone = NodeState {
        end,
        ..node("p", 0)
    };
    fleet.update("b", vec![gone, node("q", 1)], Some(at(400)), at(400));
    assert_eq!(code(&fleet, 500), Some(Code::NoAccessLog));
    fleet.update("b", vec![], Some(at(31_000)), at(31_000));
    assert_eq!(code(&fleet, 31_000), None);
    fleet.forget(VIEW.lease, at(31_000));
    assert_eq!(fleet.replicas().count(), 1);
}

#[test]
fn what_came_to_another_replica_is_not_missing() {
    let mut fleet = fleet();
    let place = |sequence| BatchPlace {
        boot: "boot".into(),
        sequence,
    };
    fleet.own().opened("p", at(4_000));
    fleet.own().received("p", Some(&place(1)), 20, at(4_000));
    // The proxy went to a, and came back.
    fleet.own().received("p", Some(&place(41)), 10, at(5_000));
    fleet.look(at(5_000));
    assert_eq!(
        code(&fleet, 5_000),
        Some(Code::LogDrops),
        "not heard of yet"
    );
    fleet.update(
        "a",
        vec![numbered("p", 21, 41, 20)],
        Some(at(5_010)),
        at(5_010),
    );
    assert_eq!((fleet.lost(), code(&fleet, 5_010)), (0, None));
}

#[test]
fn what_came_nowhere_is_lost_after_a_while() {
    let mut fleet = fleet();
    fleet.update(
        "a",
        vec![numbered("p", 1, 21, 20)],
        Some(at(5_000)),
        at(5_000),
    );
    fleet.update(
        "b",
        vec![numbered("p", 26, 31, 5)],
        Some(at(6_000)),
        at(6_000),
    );
    assert_eq!(
        (fleet.lost(), code(&fleet, 6_001)),
        (5, Some(Code::LogDrops))
    );
    fleet.look(at(7_500));
    assert_eq!(
        (fleet.lost(), code(&fleet, 7_500)),
        (5, Some(Code::LogDrops))
    );
    fleet.update(
        "b",
        vec![numbered("p", 26, 36, 10)],
        Some(at(23_000)),
        at(23_000),
    );
    assert_eq!((fleet.lost(), code(&fleet, 23_000)), (5, None));
}

#[test]
fn what_was_lost_before_anybody_looked_is_no_news() {
    let mut fleet = Fleet::shared();
    fleet.set_live(&live(&["a"]), at(0));
    fleet.begin("a");
    fleet.update("a", vec![numbered("p", 1, 100, 50)], Some(at(10)), at(10));
    assert_eq!((fleet.lost(), code(&fleet, 3_000)), (0, None));
    // What was only late then must not hide what is lost later.
    fleet.update(
        "a",
        vec![numbered("p", 1, 110, 109)],
        Some(at(4_000)),
        at(4_000),
    );
    assert_eq!(code(&fleet, 4_000), None);
    fleet.update(
        "a",
        vec![numbered("p", 1, 120, 114)],
        Some(at(5_000)),
        at(5_000),
    );
    fleet.look(at(7_000));
    assert_eq!(fleet.lost(), 5);
}

#[test]
fn the_proxies_of_a_lost_judge_are_missed_too() {
    let mut fleet = fleet();
    fleet.expect(&["q".to_owned()], at(10));
    assert_eq!(code(&fleet, 11), Some(Code::NoAccessLog));
    fleet.update("b", vec![node("q", 1)], Some(at(20)), at(20));
    assert_eq!(code(&fleet, 21), None);
    let lossy = View {
        lost: 7,
        last_loss: Some(at(30)),
        ..VIEW
    };
    let problem = fleet.problem(lossy, |_| true, at(31)).unwrap();
    assert_eq!(problem.text, "7 access-log entries were lost");
}
