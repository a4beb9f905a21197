//! Where people are told.

use slipway_platform::clock::Timestamp;
use slipway_platform::config::Secret;
use slipway_platform::names::{ChannelName, EnvironmentName};

/// A notification channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// Whose news it gets; none: everybody's.
    pub environment: Option<EnvironmentName>,
    /// How people are told.
    pub target: Target,
    /// Whether it is switched off, and why.
    pub disabled: Option<String>,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Counts the changes.
    pub generation: i64,
}

/// How people are told. A value may be a reference, `env:NAME` or `file:PATH`, that is resolved at each delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A webhook by the Standard Webhooks specification.
    Webhook {
        /// Where. May hold credentials in its query, so it is kept from logs.
        url: Secret,
        /// `whsec_` and base64.
        signing: Secret,
    },
    /// A Microsoft Teams workflow.
    Teams {
        /// Where; whoever knows it may post.
        url: Secret,
    },
}

impl Channel {
    /// Whether it gets news of this environment.
    pub fn wants(&self, environment: Option<&EnvironmentName>) -> bool {
        self.disabled.is_none()
            && (self.environment.is_none() || self.environment.as_ref() == environment)
    }
}

impl Target {
    /// Fills in what a request leaves empty from what is stored, if both are of the same kind.
    pub fn or_stored(self, stored: Option<&Target>) -> Self {
        let or = |given: Secret, stored: &Secret| {
            if given.is_empty() {
                stored.clone()
            } else {
                given
            }
        };
        match (self, stored) {
            (
                Target::Webhook { url, signing },
                Some(Target::Webhook {
                    url: old_url,
                    signing: old,
                }),
            ) => Target::Webhook {
                url: or(url, old_url),
                signing: or(signing, old),
            },
            (Target::Teams { url }, Some(Target::Teams { url: old })) => {
                Target::Teams { url: or(url, old) }
            }
            (target, _) => target,
        }
    }
}

/// When the next attempt of a delivery is due after `attempts` failed ones; `None`: it is given up.
pub fn next_attempt(attempts: u32, waits_ms: &[u64], now: Timestamp) -> Option<Timestamp> {
    let wait = waits_ms.get(usize::try_from(attempts).ok()?)?;
    Some(now + std::time::Duration::from_millis(*wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_secret_keeps_the_stored_one_of_the_same_kind() {
        let stored = Target::Webhook {
            url: Secret::new("https://a"),
            signing: Secret::new("whsec_x"),
        };
        let changed = Target::Webhook {
            url: Secret::new("https://b"),
            signing: Secret::default(),
        };
        let expected = Target::Webhook {
            url: Secret::new("https://b"),
            signing: Secret::new("whsec_x"),
        };
        assert_eq!(changed.or_stored(Some(&stored)), expected);
        let other = Target::Teams {
            url: Secret::default(),
        };
        assert_eq!(other.clone().or_stored(Some(&stored)), other);
    }

    #[test]
    fn attempts_follow_the_schedule_to_its_end() {
        let waits = [0, 5_000, 300_000];
        let now = Timestamp(7);
        assert_eq!(next_attempt(0, &waits, now), Some(now));
        assert_eq!(next_attempt(2, &waits, now), Some(Timestamp(300_000_007)));
        assert_eq!(next_attempt(3, &waits, now), None);
    }
}
