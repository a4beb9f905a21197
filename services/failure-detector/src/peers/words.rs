//! What replicas say to each other, as messages and back.
//!
//! Times travel as what has passed since, so that the replicas' clocks need not agree.

use std::time::Duration;

use slipway_platform::clock::{Timestamp, duration_from_proto, duration_to_proto};
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::{Error, Result};
use slipway_proto::detector::v1 as api;

use crate::domain::books::{Excerpt, Position, Run};
use crate::domain::logs::{End, NodeState, Numbering};
use crate::domain::outcome::Outcome;
use crate::service::BookNews;

/// A replica says something that makes no sense.
fn senseless(what: &str) -> Error {
    Error::invalid("message", format!("{what} makes no sense"))
}

fn ago(at: Timestamp, now: Timestamp) -> prost_types::Duration {
    duration_to_proto(now.since(at))
}

fn at(ago: Option<prost_types::Duration>, now: Timestamp) -> Option<Timestamp> {
    let ago = ago?;
    // An empty duration is no time at all.
    let ago = duration_from_proto(&ago).unwrap_or(Duration::ZERO);
    Some(now - ago)
}

/// A position to be asked for; none: what comes next.
pub fn position(endpoint: &EndpointName, position: Option<Position>) -> api::BookPosition {
    api::BookPosition {
        endpoint: endpoint.to_string(),
        book: position.map_or(0, |position| position.book),
        number: position.map_or(0, |position| position.number),
    }
}

/// A position that is asked for.
pub fn parse_position(message: &api::BookPosition) -> Result<(EndpointName, Option<Position>)> {
    let position = Position {
        book: message.book,
        number: message.number,
    };
    let known = (message.book > 0).then_some(position);
    Ok((message.endpoint.parse()?, known))
}

/// News as a message.
pub fn news(instance: &str, news: BookNews, now: Timestamp) -> api::WatchCountsResponse {
    let counts = news.counts.into_iter();
    api::WatchCountsResponse {
        instance: instance.to_owned(),
        nodes: news.nodes.into_iter().map(|one| node(one, now)).collect(),
        silence: news.last_entry.map(|at| ago(at, now)),
        counts: counts.map(|(name, excerpt)| book(&name, excerpt)).collect(),
    }
}

/// News from a message.
pub fn parse_news(message: api::WatchCountsResponse, now: Timestamp) -> Result<BookNews> {
    let counts: Result<Vec<_>> = message.counts.into_iter().map(parse_book).collect();
    let nodes = message.nodes.into_iter();
    Ok(BookNews {
        nodes: nodes.map(|one| parse_node(one, now)).collect(),
        last_entry: at(message.silence, now),
        counts: counts?,
        more: false,
    })
}

fn node(state: NodeState, now: Timestamp) -> api::NodeLog {
    let numbering = state.numbering.map(|numbering| api::Numbering {
        boot: numbering.boot,
        first: numbering.first,
        next: numbering.next,
        received: numbering.received,
    });
    api::NodeLog {
        node: state.name,
        streams: state.streams,
        ended: state.end.map(|end| ago(end.at, now)),
        cleanly: state.end.is_some_and(|end| end.cleanly),
        numbering,
    }
}

fn parse_node(message: api::NodeLog, now: Timestamp) -> NodeState {
    let numbering = message.numbering.map(|numbering| Numbering {
        boot: numbering.boot,
        first: numbering.first,
        next: numbering.next,
        received: numbering.received,
    });
    let cleanly = message.cleanly;
    NodeState {
        name: message.node,
        streams: message.streams,
        end: at(message.ended, now).map(|at| End { at, cleanly }),
        numbering,
    }
}

fn book(endpoint: &EndpointName, excerpt: Excerpt) -> api::EndpointCounts {
    use api::run::Outcome as Said;
    let run = |run: Run| api::Run {
        revision: run.revision.id(),
        generation: run.generation,
        count: run.count,
        outcome: Some(match run.outcome {
            Outcome::Success => Said::Failed(false),
            Outcome::Failure => Said::Failed(true),
            Outcome::Grpc(code) => Said::GrpcStatus(code),
        }),
    };
    api::EndpointCounts {
        endpoint: endpoint.to_string(),
        book: excerpt.book,
        first: excerpt.first,
        runs: excerpt.runs.into_iter().map(run).collect(),
    }
}

fn parse_book(message: api::EndpointCounts) -> Result<(EndpointName, Excerpt)> {
    use api::run::Outcome as Said;
    let endpoint: EndpointName = message.endpoint.parse()?;
    if message.book == 0 {
        return Err(senseless("book"));
    }
    let mut known: Option<(String, RevisionName)> = None;
    let mut runs = Vec::with_capacity(message.runs.len());
    for run in message.runs {
        // Runs mostly speak of one or two revisions, so their names are rarely parsed.
        let revision = match known.take().filter(|(id, _)| *id == run.revision) {
            Some((_, revision)) => revision,
            None => RevisionName::from_id(&endpoint, &run.revision)?,
        };
        let outcome = match run.outcome.ok_or_else(|| senseless("outcome"))? {
            Said::Failed(false) => Outcome::Success,
            Said::Failed(true) => Outcome::Failure,
            Said::GrpcStatus(code) => Outcome::Grpc(code),
        };
        known = Some((run.revision, revision.clone()));
        runs.push(Run {
            revision,
            generation: run.generation,
            outcome,
            count: run.count,
        });
    }
    let excerpt = Excerpt {
        book: message.book,
        first: message.first,
        runs,
    };
    Ok((endpoint, excerpt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let now = Timestamp(1_700_000_000_000_000);
        let endpoint: EndpointName = "environments/prod/endpoints/m".parse().unwrap();
        let run = |number: u32, outcome| Run {
            revision: RevisionName::new(&endpoint, number).unwrap(),
            generation: 4,
            outcome,
            count: 9,
        };
        let excerpt = Excerpt {
            book: 3,
            first: 17,
            runs: vec![
                run(1, Outcome::Success),
                run(2, Outcome::Failure),
                run(2, Outcome::Grpc(14)),
            ],
        };
        let node = NodeState {
            name: "p".into(),
            streams: 0,
            end: Some(End {
                at: now,
                cleanly: true,
            }),
            numbering: Some(Numbering {
                boot: "b".into(),
                first: 1,
                next: 9,
                received: 7,
            }),
        };
        let said = BookNews {
            nodes: vec![node.clone()],
            last_entry: Some(now - Duration::from_secs(2)),
            counts: vec![(endpoint.clone(), excerpt.clone())],
            more: false,
        };
        let heard = parse_news(news("i", said, now), now).unwrap();
        assert_eq!(heard.nodes, [node]);
        assert_eq!(heard.last_entry, Some(now - Duration::from_secs(2)));
        assert_eq!(heard.counts, [(endpoint.clone(), excerpt)]);
        let asked = Some(Position { book: 3, number: 0 });
        for asked in [asked, None] {
            let heard = parse_position(&position(&endpoint, asked)).unwrap();
            assert_eq!(heard, (endpoint.clone(), asked));
        }
    }
}
