use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn view() -> View {
    let seconds = Duration::from_secs;
    View {
        stale_after: seconds(15),
        lease: seconds(30),
        reported: None,
        watched_since: at(0),
        lost: 0,
        last_loss: None,
    }
}

fn code(logs: &Fleet, view: View, seconds: i64) -> Option<Code> {
    logs.problem(view, |_| true, at(seconds))
        .map(|problem| problem.code)
}

fn place(boot: &str, sequence: u64) -> BatchPlace {
    BatchPlace {
        boot: boot.into(),
        sequence,
    }
}

#[test]
fn no_stream_is_a_problem_unless_observations_are_reported() {
    let logs = Fleet::alone();
    assert_eq!(code(&logs, view(), 1), Some(Code::NoAccessLog));
    let reported = View {
        reported: Some(at(20)),
        ..view()
    };
    assert_eq!(code(&logs, reported, 25), None);
    assert_eq!(code(&logs, reported, 40), Some(Code::NoAccessLog));
}

#[test]
fn a_broken_stream_counts_until_it_is_back_or_its_lease_is_over() {
    let mut logs = Fleet::alone();
    logs.own().opened("p1", at(0));
    logs.own().opened("p2", at(0));
    logs.own().closed("p1", false, at(1));
    assert_eq!(code(&logs, view(), 2), Some(Code::NoAccessLog));
    logs.own().opened("p1", at(3));
    assert_eq!(code(&logs, view(), 3), None);
    logs.own().closed("p1", false, at(4));
    logs.own().received("p2", None, 1, at(40));
    assert_eq!(
        code(&logs, view(), 40),
        None,
        "the lease is over and p2 goes on"
    );
    logs.own().closed("p2", true, at(41));
    assert_eq!(code(&logs, view(), 41), Some(Code::NoAccessLog));
}

#[test]
fn silence_of_the_whole_log_is_stale() {
    let mut logs = Fleet::alone();
    logs.own().opened("p", at(0));
    logs.own().received("p", None, 3, at(5));
    assert_eq!(code(&logs, view(), 20), None);
    assert_eq!(code(&logs, view(), 21), Some(Code::Stale));
}

#[test]
fn senseless_numbers_are_losses_and_no_panic() {
    let mut logs = Fleet::alone();
    logs.own().opened("p", at(0));
    for boot in ["a", "b"] {
        logs.own().received("p", Some(&place(boot, 0)), 1, at(1));
        logs.own()
            .received("p", Some(&place(boot, u64::MAX)), 1, at(2));
    }
    assert_eq!(logs.lost(), u64::MAX);
    assert_eq!(code(&logs, view(), 2), Some(Code::LogDrops));
}

#[test]
fn gaps_in_the_numbering_are_losses_for_a_while() {
    let mut logs = Fleet::alone();
    logs.own().opened("p", at(0));
    logs.own().received("p", Some(&place("a", 101)), 10, at(1));
    logs.own().received("p", Some(&place("a", 111)), 10, at(2));
    assert_eq!((logs.lost(), code(&logs, view(), 2)), (0, None));
    logs.own().received("p", Some(&place("a", 126)), 5, at(3));
    assert_eq!(
        (logs.lost(), code(&logs, view(), 3)),
        (5, Some(Code::LogDrops))
    );
    logs.own().received("p", Some(&place("a", 131)), 5, at(17));
    assert_eq!((logs.lost(), code(&logs, view(), 19)), (5, None));
    logs.own().received("p", Some(&place("b", 1)), 5, at(19));
    assert_eq!(logs.lost(), 5, "a new run of the proxy counts afresh");
}
