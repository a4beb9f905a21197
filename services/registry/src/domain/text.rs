//! Limits on free text.

use slipway_platform::Violations;

/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 4_096;
/// Longest reason, in characters.
pub const REASON_MAX: usize = 1_024;

/// Notes what is wrong with free text: too long, or with control characters other than line breaks and tabs.
pub fn check(field: &str, text: &str, characters_max: usize, violations: &mut Violations) {
    let length = text.chars().count();
    violations.require(
        length <= characters_max,
        field,
        format!("has {length} characters; at most {characters_max} are allowed"),
    );
    let control = text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    violations.require(!control, field, "contains control characters");
}

/// [`check`] for text that must not be empty.
pub fn check_required(field: &str, text: &str, characters_max: usize, violations: &mut Violations) {
    violations.require(!text.trim().is_empty(), field, "is required");
    check(field, text, characters_max, violations);
}
