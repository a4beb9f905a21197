//! Resume tokens: a number of publication, and whose it is.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

const FORM: u8 = 1;
const OWNER_LENGTH: usize = 8;

/// The token that goes on after number `after` of `source`.
pub(super) fn write(source: &str, after: i64) -> String {
    let mut bytes = vec![FORM];
    bytes.extend_from_slice(&owner(source));
    bytes.extend_from_slice(&after.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The number in a token of `source`.
pub(super) fn parse(source: &str, token: &str) -> Result<i64> {
    let wrong = |reason| Error::invalid("resume_token", reason);
    let unreadable = "is not a token that this service gave";
    let bytes = URL_SAFE_NO_PAD
        .decode(token)
        .map_err(|_| wrong(unreadable))?;
    let Some((&FORM, rest)) = bytes.split_first() else {
        return Err(wrong(unreadable));
    };
    let (whose, number) = rest
        .split_at_checked(OWNER_LENGTH)
        .ok_or_else(|| wrong(unreadable))?;
    if whose != owner(source) {
        return Err(wrong("is a token of another service"));
    }
    let number: [u8; 8] = number.try_into().map_err(|_| wrong(unreadable))?;
    match i64::from_be_bytes(number) {
        number if number >= 0 => Ok(number),
        _ => Err(wrong(unreadable)),
    }
}

fn owner(source: &str) -> [u8; OWNER_LENGTH] {
    let sum = Sha256::digest(source.as_bytes());
    let mut short = [0; OWNER_LENGTH];
    short.copy_from_slice(&sum[..OWNER_LENGTH]);
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_service_alone() {
        let token = write("//slipway/registry", 17);
        assert_eq!(parse("//slipway/registry", &token).unwrap(), 17);
        let other = parse("//slipway/deployer", &token).unwrap_err();
        assert!(other.to_string().contains("another service"), "{other}");
        assert!(parse("//slipway/registry", &write("//slipway/registry", -1)).is_err());
    }

    proptest! {
        #[test]
        fn no_token_panics(token in any::<String>()) {
            let _ = parse("//slipway/registry", &token);
        }
    }
}
