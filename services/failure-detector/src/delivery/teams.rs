//! Microsoft Teams: the message that a Workflows webhook takes, with one Adaptive Card.

use serde_json::{Value, json};

use crate::domain::notification::{Kind, Notification};

/// The message. Version 1.4 is what every Teams client shows.
pub fn message(notification: &Notification) -> Value {
    let facts: Vec<Value> = notification
        .facts
        .iter()
        .map(|(name, value)| json!({ "title": name, "value": value }))
        .collect();
    let mut body = vec![json!({
        "type": "TextBlock",
        "text": notification.title,
        "size": "Large",
        "weight": "Bolder",
        "color": color(notification.kind),
        "wrap": true,
    })];
    if !notification.text.is_empty() {
        body.push(json!({ "type": "TextBlock", "text": notification.text, "wrap": true }));
    }
    if !facts.is_empty() {
        body.push(json!({ "type": "FactSet", "facts": facts }));
    }
    body.push(json!({
        "type": "TextBlock",
        "text": format!("{} · {}", notification.subject, notification.time),
        "size": "Small",
        "isSubtle": true,
        "wrap": true,
    }));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::AlertFired | Kind::NeedsAttention => "Attention",
        Kind::AlertResolved => "Good",
        Kind::RollbackCompleted => "Warning",
        Kind::Test => "Default",
    }
}

#[cfg(test)]
mod tests {
    use slipway_platform::clock::Timestamp;

    use super::*;

    #[test]
    fn a_message_is_one_adaptive_card() {
        let message = message(&Notification {
            kind: Kind::AlertFired,
            subject: "environments/prod/endpoints/m".into(),
            title: "m-00002 on prod/m: OVER_LIMIT".into(),
            text: "the candidate failed 20.0 % (20 of 100)".into(),
            facts: vec![("revision".into(), "m-00002".into())],
            time: Timestamp(0),
        });
        assert_eq!(message["type"], "message");
        let attachment = &message["attachments"][0];
        assert_eq!(
            attachment["contentType"],
            "application/vnd.microsoft.card.adaptive"
        );
        let card = &attachment["content"];
        assert_eq!(
            (&card["type"], &card["version"]),
            (&json!("AdaptiveCard"), &json!("1.4"))
        );
        assert_eq!(card["body"][0]["text"], "m-00002 on prod/m: OVER_LIMIT");
        assert_eq!(card["body"][0]["color"], "Attention");
        assert_eq!(
            card["body"][2]["facts"][0],
            json!({ "title": "revision", "value": "m-00002" })
        );
    }
}
