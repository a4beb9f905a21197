//! Channels, and what is sent to them.

use prost::Message;
use slipway_platform::clock::Timestamp;
use slipway_platform::config::Secret;

use super::{Document, named, text};
use crate::domain::channel::{Channel, Target};
use crate::domain::notification::{Kind, Notification};
use crate::store::Corrupt;

#[derive(Clone, PartialEq, Message)]
pub struct ChannelMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    environment: String,
    /// `webhook` or `teams`.
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(string, tag = "4")]
    url: String,
    #[prost(string, tag = "5")]
    signing: String,
    #[prost(string, optional, tag = "6")]
    disabled: Option<String>,
    #[prost(int64, tag = "7")]
    updated: i64,
    #[prost(int64, tag = "8")]
    generation: i64,
}

impl Document for Channel {
    type Message = ChannelMessage;

    fn to_message(&self) -> ChannelMessage {
        let (kind, url, signing) = match &self.target {
            Target::Webhook { url, signing } => ("webhook", url.expose(), signing.expose()),
            Target::Teams { url } => ("teams", url.expose(), ""),
        };
        ChannelMessage {
            name: self.name.to_string(),
            environment: text(&self.environment),
            kind: kind.to_owned(),
            url: url.to_owned(),
            signing: signing.to_owned(),
            disabled: self.disabled.clone(),
            updated: self.updated.0,
            generation: self.generation,
        }
    }

    fn from_message(message: ChannelMessage) -> Result<Self, Corrupt> {
        let url = Secret::new(message.url);
        let target = match message.kind.as_str() {
            "webhook" => Target::Webhook {
                url,
                signing: Secret::new(message.signing),
            },
            "teams" => Target::Teams { url },
            other => return Err(Corrupt::new(format!("unknown kind of channel {other}"))),
        };
        Ok(Self {
            name: message.name.parse()?,
            environment: named(&message.environment)?,
            target,
            disabled: message.disabled,
            updated: Timestamp(message.updated),
            generation: message.generation,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct FactMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct NotificationMessage {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(string, tag = "3")]
    title: String,
    #[prost(string, tag = "4")]
    text: String,
    #[prost(message, repeated, tag = "5")]
    facts: Vec<FactMessage>,
    #[prost(int64, tag = "6")]
    time: i64,
}

impl Document for Notification {
    type Message = NotificationMessage;

    fn to_message(&self) -> NotificationMessage {
        let fact = |(name, value): &(String, String)| FactMessage {
            name: name.clone(),
            value: value.clone(),
        };
        NotificationMessage {
            kind: self.kind.as_str().to_owned(),
            subject: self.subject.clone(),
            title: self.title.clone(),
            text: self.text.clone(),
            facts: self.facts.iter().map(fact).collect(),
            time: self.time.0,
        }
    }

    fn from_message(message: NotificationMessage) -> Result<Self, Corrupt> {
        let kind = Kind::parse(&message.kind)
            .ok_or_else(|| Corrupt::new(format!("unknown notification {}", message.kind)))?;
        Ok(Self {
            kind,
            subject: message.subject,
            title: message.title,
            text: message.text,
            facts: message
                .facts
                .into_iter()
                .map(|fact| (fact.name, fact.value))
                .collect(),
            time: Timestamp(message.time),
        })
    }
}
