//! `slipway events dead-letters` and `slipway events replay`.

use serde_json::{Value, json};
use slipway_platform::json;
use slipway_proto::event::v1::{DeadLetter, ListDeadLettersRequest, ReplayDeadLetterRequest};

use super::show::short_type;
use crate::client::{Clients, ListArgs, Service};
use crate::failure::{Exit, Failure};
use crate::names;
use crate::output::{Output, last, time};

pub(super) async fn list(
    clients: &Clients,
    output: Output,
    service: Option<Service>,
    filter: &str,
    list: ListArgs,
) -> Result<Exit, Failure> {
    let mut found: Vec<(Service, DeadLetter)> = Vec::new();
    for events in &clients.events {
        if service.is_some_and(|wanted| wanted != events.service) {
            continue;
        }
        let mut client = events.client.clone();
        let (letters, _) = list
            .pages(async |page_size, page_token| {
                let request = ListDeadLettersRequest {
                    filter: filter.to_owned(),
                    page_size,
                    page_token,
                };
                let page = client.list_dead_letters(request).await?.into_inner();
                Ok((page.dead_letters, page.next_page_token))
            })
            .await?;
        found.extend(letters.into_iter().map(|letter| (events.service, letter)));
    }
    if output.is_json() {
        let letters: Vec<Value> = found.iter().map(as_json).collect::<Result<_, _>>()?;
        output.line(&json!({"deadLetters": letters}).to_string());
    } else if found.is_empty() {
        output.none();
    } else {
        let header = [
            "SERVICE", "ID", "GROUP", "STATE", "TYPE", "KEY", "ATTEMPTS", "SINCE", "REASON",
        ];
        let rows: Vec<_> = found.iter().map(row).collect();
        output.rows(&header, &rows);
    }
    Ok(Exit::Ok)
}

pub(super) async fn replay(
    clients: &Clients,
    output: Output,
    service: Service,
    id: &str,
) -> Result<Exit, Failure> {
    let mut client = clients.events_of(service).client.clone();
    let name = match id.starts_with("deadLetters/") {
        true => id.to_owned(),
        false => format!("deadLetters/{id}"),
    };
    let request = ReplayDeadLetterRequest { name };
    let letter = client.replay_dead_letter(request).await?.into_inner();
    output.one(&letter, details)?;
    Ok(Exit::Ok)
}

fn as_json((service, letter): &(Service, DeadLetter)) -> Result<Value, Failure> {
    let mut value = json::to_json(letter)?;
    value["service"] = json!(service.to_string());
    Ok(value)
}

/// Its type and its key.
fn what(letter: &DeadLetter) -> (String, String) {
    match (&letter.event, &letter.malformed) {
        (Some(event), _) => (
            short_type(&event.r#type).to_owned(),
            names::short(&event.key),
        ),
        (None, Some(message)) => ("(malformed)".to_owned(), message.key.clone()),
        (None, None) => Default::default(),
    }
}

fn row((service, letter): &(Service, DeadLetter)) -> Vec<String> {
    let (what, key) = what(letter);
    vec![
        service.to_string(),
        last(&letter.name).to_owned(),
        letter.group.clone(),
        letter.state().as_str_name().to_owned(),
        what,
        key,
        letter.attempts.to_string(),
        time(&letter.create_time),
        letter.reason.clone(),
    ]
}

fn details(letter: &DeadLetter) -> Vec<(&'static str, String)> {
    let (what, key) = what(letter);
    vec![
        ("name", letter.name.clone()),
        ("group", letter.group.clone()),
        ("state", letter.state().as_str_name().to_owned()),
        ("type", what),
        ("key", key),
        ("reason", letter.reason.clone()),
        ("attempts", letter.attempts.to_string()),
        ("since", time(&letter.create_time)),
        ("failed", time(&letter.fail_time)),
        ("replayed", time(&letter.replay_time)),
    ]
}
