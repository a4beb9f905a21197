//! Which users changed revision, and whether a change of traffic is the reason.

use std::time::Duration;

/// A user whose answer came from another revision than the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    pub user: u32,
    pub from: String,
    pub to: String,
    /// When the answer came, from the start of the load.
    pub at: Duration,
}

/// From this time on traffic moved towards a revision, and to no other.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficChange {
    pub at: Duration,
    pub towards: String,
}

/// The moves that no change of traffic explains. A move is explained while traffic moves towards where it
/// went: from that change until the next, `grace` longer on both sides, since requests are on their way while traffic shifts.
/// `changes` are in the order of time.
pub fn unexplained_moves<'a>(
    moves: &'a [Move],
    changes: &[TrafficChange],
    grace: Duration,
) -> Vec<&'a Move> {
    let explained = |one: &Move| {
        changes.iter().enumerate().any(|(index, change)| {
            let until = changes.get(index + 1).map(|next| next.at + grace);
            change.towards == one.to
                && change.at <= one.at + grace
                && until.is_none_or(|until| one.at <= until)
        })
    };
    moves.iter().filter(|one| !explained(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, from: &str, to: &str) -> Move {
        Move {
            user: 1,
            from: from.to_owned(),
            to: to.to_owned(),
            at: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_move_needs_traffic_that_moves_the_same_way() {
        let changes = [(10, "b"), (20, "b"), (30, "a")].map(|(seconds, towards)| TrafficChange {
            at: Duration::from_secs(seconds),
            towards: towards.to_owned(),
        });
        let moves = [
            at(5, "a", "b"),
            at(10, "a", "b"),
            at(15, "b", "a"),
            at(25, "a", "b"),
            at(31, "a", "b"),
            at(31, "b", "a"),
            at(35, "a", "b"),
        ];
        let unexplained: Vec<u64> = unexplained_moves(&moves, &changes, Duration::from_secs(1))
            .iter()
            .map(|one| one.at.as_secs())
            .collect();
        assert_eq!(unexplained, [5, 15, 35]);
    }
}
