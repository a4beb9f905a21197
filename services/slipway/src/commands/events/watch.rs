//! `slipway events watch`: the events of all services, put together.

use std::collections::{HashMap, VecDeque};

use futures::{StreamExt, stream::select_all};
use slipway_platform::clock::Timestamp;
use slipway_proto::event::v1::{CloudEvent, WatchEventsRequest, watch_events_request::Start};

use super::follow::{News, news};
use super::{WatchArgs, full_type, show, topic};
use crate::client::Clients;
use crate::failure::{Exit, Failure};
use crate::output::Output;

pub(super) async fn run(
    clients: &Clients,
    output: Output,
    args: WatchArgs,
) -> Result<Exit, Failure> {
    let request = request(&args)?;
    let asked = |one: &crate::client::Events| {
        args.service.is_empty() || args.service.contains(&one.service)
    };
    let services: Vec<_> = clients.events.iter().filter(|one| asked(one)).collect();
    // Nobody waits for a past that was not asked for.
    let mut behind = if args.past == 0 { 0 } else { services.len() };
    let streams = services
        .into_iter()
        .map(|one| Box::pin(news(one.clone(), request.clone())));
    let mut all = select_all(streams);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut past = Past::new(args.past as usize);
    while left > 0
        && let Some(told) = all.next().await
    {
        match told? {
            News::Event(event) if behind > 0 => past.push(*event),
            News::Event(event) => {
                show::event(output, &event)?;
                left -= 1;
            }
            News::CaughtUp(_) if behind == 0 => {}
            News::CaughtUp(service) => {
                behind -= 1;
                past.caught_up(service.source());
                if behind > 0 {
                    continue;
                }
                for event in past.take() {
                    if left > 0 {
                        show::event(output, &event)?;
                        left -= 1;
                    }
                }
            }
        }
    }
    Ok(Exit::Ok)
}

fn request(args: &WatchArgs) -> Result<WatchEventsRequest, Failure> {
    let start = match args.past {
        0 => Start::Now,
        _ => Start::Oldest,
    };
    Ok(WatchEventsRequest {
        resume_token: String::new(),
        start: start.into(),
        topics: args.topic.iter().map(|text| topic(text)).collect(),
        types: args
            .types
            .iter()
            .map(|text| full_type(text))
            .collect::<Result<_, _>>()?,
        key: args.key.clone(),
        subject: args.subject.clone(),
    })
}

/// What happened before it was asked, until every service has told its part.
struct Past {
    limit: usize,
    /// By source, the newest `limit` of the past, oldest first.
    told: HashMap<String, VecDeque<CloudEvent>>,
    /// What happened meanwhile, of services that have told their past.
    news: Vec<CloudEvent>,
    /// The sources of those services.
    ready: Vec<String>,
}

impl Past {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            told: HashMap::new(),
            news: Vec::new(),
            ready: Vec::new(),
        }
    }

    fn push(&mut self, event: CloudEvent) {
        if self.ready.contains(&event.source) {
            return self.news.push(event);
        }
        let told = self.told.entry(event.source.clone()).or_default();
        told.push_back(event);
        if told.len() > self.limit {
            told.pop_front();
        }
    }

    fn caught_up(&mut self, source: String) {
        self.ready.push(source);
    }

    /// The newest of the past and then the news, each in the order of time.
    fn take(&mut self) -> Vec<CloudEvent> {
        let mut past: Vec<_> = self.told.drain().flat_map(|(_, told)| told).collect();
        past.sort_by_key(time);
        past.drain(..past.len().saturating_sub(self.limit));
        let mut news = std::mem::take(&mut self.news);
        news.sort_by_key(time);
        past.append(&mut news);
        past
    }
}

fn time(event: &CloudEvent) -> Timestamp {
    event
        .time
        .as_ref()
        .map(Timestamp::from_proto)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str, seconds: i64) -> CloudEvent {
        CloudEvent {
            source: source.to_owned(),
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_of_the_past_come_in_order_and_no_news_is_dropped() {
        let mut past = Past::new(3);
        for seconds in [1, 4, 7] {
            past.push(event("a", seconds));
        }
        past.caught_up("a".to_owned());
        for seconds in [2, 5, 6, 8] {
            past.push(event("b", seconds));
        }
        for seconds in [10, 11, 12, 13] {
            past.push(event("a", seconds));
        }
        let seconds: Vec<_> = past
            .take()
            .into_iter()
            .map(|event| event.time.unwrap().seconds)
            .collect();
        assert_eq!(seconds, [6, 7, 8, 10, 11, 12, 13]);
    }
}
