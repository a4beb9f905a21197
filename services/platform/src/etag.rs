//! Etags: the generation of a resource's row as an opaque string, `g7`.
//!
//! A request that carries one is a compare-and-set; one without it saves over whatever is there.

use crate::{Error, Result, Violations};

/// The etag of a row with this generation.
pub fn of(generation: i64) -> String {
    format!("g{generation}")
}

/// The generation that a request's `etag` field names; empty means no check, and anything else that is
/// not an etag is a violation of `field`.
pub fn parse(field: &str, value: &str, violations: &mut Violations) -> Option<i64> {
    if value.is_empty() {
        return None;
    }
    let generation = value
        .strip_prefix('g')
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    if generation.is_none() {
        violations.push(
            field,
            "is not an etag; pass the one that the resource was read with",
        );
    }
    generation
}

/// Fails with `Conflict` when `expected` is given and is not the row's generation.
pub fn check(expected: Option<i64>, generation: i64, name: &str) -> Result<()> {
    match expected {
        Some(expected) if expected != generation => Err(Error::Conflict {
            name: name.to_owned(),
            current: of(generation),
            reason: format!("etag {} is not the current one", of(expected)),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_etag_checks_nothing_and_a_wrong_one_conflicts() {
        let mut violations = Violations::new();
        assert_eq!(parse("etag", "", &mut violations), None);
        assert_eq!(parse("etag", &of(7), &mut violations), Some(7));
        assert!(violations.is_empty());
        assert!(check(None, 3, "x").is_ok());
        assert!(check(Some(3), 3, "x").is_ok());
        assert!(
            matches!(check(Some(2), 3, "x"), Err(Error::Conflict { current, .. }) if current == "g3")
        );
    }

    #[test]
    fn what_is_not_an_etag_is_a_violation() {
        for wrong in ["7", "g", "g-1", "g+1", "gx", "g99999999999999999999"] {
            let mut violations = Violations::new();
            assert_eq!(parse("etag", wrong, &mut violations), None);
            assert!(!violations.is_empty(), "{wrong}");
        }
    }
}
