//! The movements of an alias: compare-and-set, and a history in which time never runs backwards.

use slipway_platform::{Error, Result, clock::Timestamp, etag};

/// The alias that the registry itself moves to each new version.
pub const LATEST: &str = "latest";

/// Who moved an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `user`, `rule` or `service`.
    pub kind: String,
    /// Who.
    pub name: String,
}

impl Actor {
    /// The registry itself.
    pub fn registry() -> Self {
        Self {
            kind: "service".to_owned(),
            name: "registry".to_owned(),
        }
    }

    /// Whoever calls on loopback, where nobody is authenticated.
    pub fn local_admin() -> Self {
        Self {
            kind: "user".to_owned(),
            name: "local-admin".to_owned(),
        }
    }
}

/// Where an alias points since its newest movement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// How often it was moved, removals included.
    pub generation: i64,
    /// The version's number; `None` when the alias was removed.
    pub number: Option<i64>,
    /// When it was moved.
    pub moved_at: Timestamp,
    /// Who moved it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

/// What a caller believes that an alias is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its generation.
    pub generation: Option<i64>,
    /// Its version's number; `Some(None)` means that it does not exist.
    pub number: Option<Option<i64>>,
}

/// What to write, and why.
#[derive(Debug, Clone)]
pub struct Move {
    /// Where it is to point; `None` removes it.
    pub to: Option<i64>,
    /// Who asks.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

/// The alias `name` after a move; `None` when it points there already. `current` is `None` for an alias
/// that never existed. Fails with `Conflict` when it is not as `expected`.
pub fn apply(
    name: &str,
    current: Option<&Alias>,
    expected: &Expected,
    wanted: Move,
    now: Timestamp,
) -> Result<Option<Alias>> {
    let number = current.and_then(|alias| alias.number);
    let generation = current.map_or(0, |alias| alias.generation);
    if let Some(expected) = expected.number
        && expected != number
    {
        return Err(conflict(name, generation, number));
    }
    if let Some(expected) = expected.generation
        && (expected != generation || number.is_none())
    {
        return Err(conflict(name, generation, number));
    }
    if number == wanted.to {
        return Ok(None);
    }
    Ok(Some(Alias {
        generation: generation + 1,
        number: wanted.to,
        moved_at: current.map_or(now, |alias| alias.moved_at.max(now)),
        actor: wanted.actor,
        reason: wanted.reason,
    }))
}

fn conflict(name: &str, generation: i64, number: Option<i64>) -> Error {
    let (current, reason) = match number {
        Some(number) => (
            etag::of(generation),
            format!("it points at version {number} now"),
        ),
        None => (String::new(), "it does not exist now".to_owned()),
    };
    Error::Conflict {
        name: name.to_owned(),
        current,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(generation: i64, number: Option<i64>) -> Alias {
        Alias {
            generation,
            number,
            moved_at: Timestamp(100),
            actor: Actor::registry(),
            reason: String::new(),
        }
    }

    fn to(number: Option<i64>) -> Move {
        Move {
            to: number,
            actor: Actor::local_admin(),
            reason: "because".to_owned(),
        }
    }

    #[test]
    fn compare_and_set() {
        let expect = |generation, number| Expected { generation, number };
        let present = alias(3, Some(7));
        let removed = alias(4, None);
        // (present, expected, moves?)
        let table = [
            (None, expect(None, None), true),
            (None, expect(None, Some(None)), true),
            (None, expect(None, Some(Some(1))), false),
            (None, expect(Some(0), None), false),
            (Some(&present), expect(None, None), true),
            (Some(&present), expect(Some(3), Some(Some(7))), true),
            (Some(&present), expect(Some(2), None), false),
            (Some(&present), expect(None, Some(Some(6))), false),
            (Some(&present), expect(None, Some(None)), false),
            (Some(&removed), expect(None, Some(None)), true),
            (Some(&removed), expect(Some(4), None), false),
        ];
        for (current, expected, moves) in table {
            let result = apply("a", current, &expected, to(Some(9)), Timestamp(200));
            match result {
                Ok(moved) => assert!(
                    moves && moved.unwrap().number == Some(9),
                    "{current:?} {expected:?}"
                ),
                Err(error) => assert!(!moves && matches!(error, Error::Conflict { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn pointing_where_it_points_is_no_movement() {
        let same = apply(
            "a",
            Some(&alias(3, Some(7))),
            &Expected::default(),
            to(Some(7)),
            Timestamp(200),
        );
        assert_eq!(same.unwrap(), None);
        let gone = apply(
            "a",
            Some(&alias(3, None)),
            &Expected::default(),
            to(None),
            Timestamp(200),
        );
        assert_eq!(gone.unwrap(), None);
    }

    #[test]
    fn generations_go_on_after_a_removal_and_time_never_runs_backwards() {
        let next = apply(
            "a",
            Some(&alias(3, None)),
            &Expected::default(),
            to(Some(1)),
            Timestamp(50),
        );
        let next = next.unwrap().unwrap();
        assert_eq!((next.generation, next.moved_at), (4, Timestamp(100)));
    }
}
