//! The parts of which names are made: plain ids, digests and UUIDs.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::{NameError, shorten};

const ID_LENGTH_MAX: usize = 63;
const ID_FORM: &str = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?";
const DIGEST_PREFIX: &str = "sha256:";
const DIGEST_HEX_LENGTH: usize = 64;

/// A lower-case id of 1 to 63 letters, digits and inner hyphens that begins with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = NameError;

    fn from_str(value: &str) -> Result<Self, NameError> {
        let bytes = value.as_bytes();
        let plain = bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        let valid = plain
            && bytes.len() <= ID_LENGTH_MAX
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last().is_some_and(|b| *b != b'-');
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            Err(NameError::new(
                ID_FORM,
                format!("the id {} is not of the form {ID_FORM}", shorten(value)),
            ))
        }
    }
}

/// A content digest: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest of content whose sha256 is `sum`.
    pub fn from_sha256(sum: &[u8; 32]) -> Self {
        Self(format!("{DIGEST_PREFIX}{}", hex::encode(sum)))
    }

    /// The whole digest, with its `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        &self.0[DIGEST_PREFIX.len()..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = NameError;

    fn from_str(value: &str) -> Result<Self, NameError> {
        let valid = value.strip_prefix(DIGEST_PREFIX).is_some_and(|hex| {
            hex.len() == DIGEST_HEX_LENGTH
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if valid {
            Ok(Self(value.to_owned()))
        } else {
            let why = format!(
                "{} is not sha256: and 64 lower-case hex digits",
                shorten(value)
            );
            Err(NameError::new("sha256:{64 hex digits}", why))
        }
    }
}

/// Something that stands last in a name.
pub(super) trait NameId: Sized {
    fn parse_id(text: &str) -> Result<Self, NameError>;
}

impl NameId for Id {
    fn parse_id(text: &str) -> Result<Self, NameError> {
        text.parse()
    }
}

impl NameId for Digest {
    fn parse_id(text: &str) -> Result<Self, NameError> {
        text.parse()
    }
}

impl NameId for Uuid {
    /// Only the lower-case form with hyphens, so that a UUID has one name.
    fn parse_id(text: &str) -> Result<Self, NameError> {
        match Uuid::try_parse(text) {
            Ok(id) if id.to_string() == text => Ok(id),
            _ => Err(NameError::new(
                "{uuid}",
                format!("{} is not a lower-case UUID", shorten(text)),
            )),
        }
    }
}

pub(super) fn parse_id<T: NameId>(text: &str) -> Result<T, NameError> {
    T::parse_id(text)
}
