//! What people are told.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::EnvironmentName;

use super::alert::Alert;
use super::words::rate;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An alert fires.
    AlertFired,
    /// An alert is over.
    AlertResolved,
    /// Traffic is back on an older revision.
    RollbackCompleted,
    /// Something in a rollout needs a person.
    NeedsAttention,
    /// Somebody tries the channel.
    Test,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [
        Kind::AlertFired,
        Kind::AlertResolved,
        Kind::RollbackCompleted,
        Kind::NeedsAttention,
        Kind::Test,
    ];

    /// The type that a webhook carries.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::AlertFired => "alert.fired",
            Kind::AlertResolved => "alert.resolved",
            Kind::RollbackCompleted => "rollback.completed",
            Kind::NeedsAttention => "rollout.needs_attention",
            Kind::Test => "channel.test",
        }
    }

    /// The kind of this type.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it is bad news.
    pub fn is_bad(self) -> bool {
        matches!(self, Kind::AlertFired | Kind::NeedsAttention)
    }
}

/// One message to people, before it takes a channel's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What has happened.
    pub kind: Kind,
    /// The resource that it is about.
    pub subject: String,
    /// One line.
    pub title: String,
    /// In words and numbers.
    pub text: String,
    /// Names and values, in the order to show them.
    pub facts: Vec<(String, String)>,
    /// When it happened.
    pub time: Timestamp,
}

fn fact(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

impl Notification {
    /// An alert fires or fires again.
    pub fn fired(alert: &Alert, now: Timestamp) -> Self {
        Self {
            kind: Kind::AlertFired,
            subject: alert.name.to_string(),
            title: format!(
                "{} on {}: {}",
                alert.revision.id(),
                place(alert),
                alert.code.as_str()
            ),
            text: alert.text.clone(),
            facts: facts(alert),
            time: now,
        }
    }

    /// An alert is over.
    pub fn resolved(alert: &Alert, now: Timestamp) -> Self {
        let mut facts = facts(alert);
        facts.push(fact(
            "lasted",
            format!("{} s", now.since(alert.start).as_secs()),
        ));
        facts.push(fact("by", &alert.actor.name));
        Self {
            kind: Kind::AlertResolved,
            subject: alert.name.to_string(),
            title: format!(
                "resolved: {} on {}: {}",
                alert.revision.id(),
                place(alert),
                alert.code.as_str()
            ),
            text: alert.comment.clone(),
            facts,
            time: now,
        }
    }

    /// Somebody tries the channel.
    pub fn test(channel: &str, now: Timestamp) -> Self {
        Self {
            kind: Kind::Test,
            subject: channel.to_owned(),
            title: "a test of this channel".to_owned(),
            text: "Nothing has happened. If you can read this, the channel works.".to_owned(),
            facts: Vec::new(),
            time: now,
        }
    }
}

fn place(alert: &Alert) -> String {
    let endpoint = alert.name.endpoint();
    format!("{}/{}", endpoint.environment().id(), endpoint.id())
}

fn facts(alert: &Alert) -> Vec<(String, String)> {
    let environment: &EnvironmentName = alert.name.environment();
    let mut facts = vec![
        fact("environment", environment.id()),
        fact("endpoint", alert.name.endpoint().id()),
        fact("revision", alert.revision.id()),
        fact("candidate failed", rate(alert.numbers.candidate)),
    ];
    if alert.alphas.comparison.is_some() {
        facts.push(fact("stable failed", rate(alert.numbers.stable)));
    }
    facts.push(fact("since", alert.start));
    facts.push(fact("seen", format!("{} times", alert.count)));
    facts
}
