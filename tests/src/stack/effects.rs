//! Nothing lost, and nothing done twice: what is stored, what was published, and what it led to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_proto::deployer::v1::{
    AuditRecord, ListAuditRecordsRequest, ListTrafficHistoryRequest, Rollout, Traffic,
};
use slipway_proto::registry::v1::{AliasMovement, ListAliasHistoryRequest};
use sqlx::AssertSqlSafe;

use super::kafka::{EVENT_TOPICS, Message};
use super::replica::Part;
use super::{Stack, Topics};
use crate::given::{CHAMPION, ENDPOINT};
use crate::{Clients, until, watch};

/// What was stored is published by then.
const PUBLISHED: Duration = Duration::from_secs(30);
/// More than any story brings about.
const PAGE: i32 = 1_000;

/// Everything that an event could have done twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Effects {
    /// How many evaluations each version has.
    pub evaluations: BTreeMap<String, usize>,
    /// Every rollout, oldest first: name, version, phase.
    pub rollouts: Vec<(String, String, i32)>,
    /// The version of every movement of the champion, oldest first.
    pub champions: Vec<String>,
    /// The generation of every traffic, oldest first, with its shares.
    pub traffic: Vec<(i64, Vec<(String, i32)>)>,
    /// What the audit tells, oldest first.
    pub audit: Vec<(String, String, String)>,
}

impl Effects {
    /// What there is now for these versions.
    pub async fn of(clients: &Clients, versions: &[&str]) -> Result<Self> {
        let mut evaluations = BTreeMap::new();
        for version in versions {
            let count = watch::evaluations(clients, version).await?.len();
            evaluations.insert((*version).to_owned(), count);
        }
        let mut rollouts: Vec<Rollout> = watch::rollouts(clients).await?;
        rollouts.reverse();
        let rollouts = rollouts.into_iter();
        Ok(Self {
            evaluations,
            rollouts: rollouts
                .map(|one| (one.name, one.version, one.phase))
                .collect(),
            champions: champions(clients).await?,
            traffic: traffic(clients).await?,
            audit: audit(clients).await?,
        })
    }

    /// One evaluation and at most one rollout for each version; the champion moved at most once to each; traffic
    /// whose generations follow one another without a gap, and whose shares sum to 100; no line of the audit twice.
    pub fn happened_once(&self) -> Result<()> {
        for (version, count) in &self.evaluations {
            ensure!(*count == 1, "{version} has {count} evaluations");
        }
        let mut versions = BTreeSet::new();
        for (name, version, _) in &self.rollouts {
            ensure!(
                versions.insert(version),
                "{version} has a second rollout, {name}"
            );
        }
        let mut champions = BTreeSet::new();
        for version in &self.champions {
            ensure!(
                champions.insert(version),
                "the champion was moved to {version} twice: {:?}",
                self.champions
            );
        }
        for ((generation, shares), expected) in self.traffic.iter().zip(self.first_generation()..) {
            ensure!(
                *generation == expected,
                "generation {generation} comes where {expected} should: {:?}",
                self.traffic
            );
            let sum: i32 = shares.iter().map(|(_, percent)| percent).sum();
            ensure!(
                sum == 100 || shares.is_empty(),
                "generation {generation} sums to {sum}"
            );
        }
        let mut lines = BTreeSet::new();
        for line in &self.audit {
            ensure!(lines.insert(line), "the audit has {line:?} twice");
        }
        Ok(())
    }

    fn first_generation(&self) -> i64 {
        self.traffic
            .first()
            .map_or(1, |(generation, _)| *generation)
    }
}

/// Waits until every service's outbox is empty.
pub async fn published(stack: &Stack) -> Result<()> {
    let mut connection = stack.servers().connect().await?;
    for part in [
        Part::Registry,
        Part::Evaluator,
        Part::Deployer,
        Part::FailureDetector,
    ] {
        let schema = stack.place().schema(part);
        // The schema's name is made by the harness.
        let waiting =
            format!("SELECT COUNT(*) FROM \"{schema}\".slipway_outbox WHERE published_at IS NULL");
        until(
            &format!("the outbox of {} to be published", part.name()),
            PUBLISHED,
            async || {
                let (count,): (i64,) = sqlx::query_as(AssertSqlSafe(waiting.clone()))
                    .fetch_one(&mut connection)
                    .await?;
                Ok((count == 0).then_some(()))
            },
        )
        .await?;
    }
    Ok(())
}

/// Checks that every event that a service has stored is on its topic, in the order of its key. What was sent again
/// after a crash is the same event again.
pub async fn nothing_lost_or_out_of_order(stack: &Stack) -> Result<Vec<Message>> {
    // In this order: what is stored while this looks is not missed for not being published yet.
    let stored = stored(stack).await?;
    published(stack).await?;
    let events = stack.topics().events().await?;
    let mut seen: BTreeMap<(String, String, String), Vec<i64>> = BTreeMap::new();
    let mut ids: BTreeMap<String, (String, i64)> = BTreeMap::new();
    for event in &events {
        let known = ids
            .entry(format!("{} {}", event.header("ce_source"), event.id()))
            .or_insert_with(|| (event.key.clone(), event.sequence()));
        ensure!(
            *known == (event.key.clone(), event.sequence()),
            "{} was sent again differently: {event:?}, before {known:?}",
            event.id()
        );
        let place = (
            event.header("ce_source").to_owned(),
            event.topic.clone(),
            event.key.clone(),
        );
        let sequences = seen.entry(place).or_default();
        if !sequences.contains(&event.sequence()) {
            sequences.push(event.sequence());
        }
    }
    for (place, sequences) in &seen {
        let whole: Vec<i64> = (1..).take(sequences.len()).collect();
        ensure!(
            *sequences == whole,
            "the events of {place:?} are not 1, 2, 3 …: {sequences:?}"
        );
    }
    for (topic, key, newest) in stored {
        let published = seen
            .iter()
            .filter(|((_, t, k), _)| *t == topic && *k == key)
            .map(|(_, sequences)| sequences.len() as i64)
            .max()
            .unwrap_or(0);
        ensure!(
            published >= newest,
            "{newest} events of {key} were stored for {topic}, and {published} are there"
        );
    }
    Ok(events)
}

/// The newest number of each topic and key that a service has stored.
async fn stored(stack: &Stack) -> Result<Vec<(String, String, i64)>> {
    let mut connection = stack.servers().connect().await?;
    let mut stored = Vec::new();
    for part in [
        Part::Registry,
        Part::Evaluator,
        Part::Deployer,
        Part::FailureDetector,
    ] {
        let schema = stack.place().schema(part);
        // The schema's name is made by the harness.
        let keys: Vec<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT topic, event_key, sequence FROM \"{schema}\".slipway_outbox_keys"
        )))
        .fetch_all(&mut connection)
        .await
        .with_context(|| format!("the keys of {}'s outbox", part.name()))?;
        let event = |(topic, ..): &(String, String, i64)| EVENT_TOPICS.contains(&topic.as_str());
        stored.extend(keys.into_iter().filter(event));
    }
    Ok(stored)
}

/// The events of one type that are on the topics, each once, oldest first within its key.
pub fn of_type(events: &[Message], r#type: &str) -> Vec<Message> {
    let mut ids = BTreeSet::new();
    events
        .iter()
        .filter(|event| event.r#type() == r#type && ids.insert(event.id().to_owned()))
        .cloned()
        .collect()
}

/// Waits until an event of this type, of which this holds, is on the topics.
pub async fn until_event(
    topics: &Topics,
    r#type: &str,
    deadline: Duration,
    holds: impl Fn(&Message) -> bool,
) -> Result<Message> {
    until(&format!("an event {}", r#type), deadline, async || {
        let events = topics.events().await?;
        Ok(of_type(&events, r#type).into_iter().find(&holds))
    })
    .await
}

async fn champions(clients: &Clients) -> Result<Vec<String>> {
    let request = ListAliasHistoryRequest {
        name: CHAMPION.to_owned(),
        page_size: PAGE,
        ..Default::default()
    };
    let answer = clients.registry.clone().list_alias_history(request).await;
    let movements: Vec<AliasMovement> = match answer {
        Ok(answer) => answer.into_inner().movements,
        // It was never moved.
        Err(status) if status.code() == tonic::Code::NotFound => Vec::new(),
        Err(status) => return Err(status.into()),
    };
    Ok(movements
        .into_iter()
        .rev()
        .map(|movement| movement.version)
        .collect())
}

async fn traffic(clients: &Clients) -> Result<Vec<(i64, Vec<(String, i32)>)>> {
    let request = ListTrafficHistoryRequest {
        parent: ENDPOINT.to_owned(),
        page_size: PAGE,
        ..Default::default()
    };
    let answer = clients
        .deployer
        .clone()
        .list_traffic_history(request)
        .await?;
    let shares = |traffic: Traffic| {
        let targets = traffic.targets.into_iter();
        let shares = targets.map(|target| (target.revision, target.percent));
        (traffic.generation, shares.collect())
    };
    let generations = answer.into_inner().traffic;
    Ok(generations.into_iter().rev().map(shares).collect())
}

async fn audit(clients: &Clients) -> Result<Vec<(String, String, String)>> {
    let request = ListAuditRecordsRequest {
        page_size: PAGE,
        ..Default::default()
    };
    let answer = clients.deployer.clone().list_audit_records(request).await?;
    let line = |record: AuditRecord| (record.action, record.resource, record.text);
    Ok(answer
        .into_inner()
        .records
        .into_iter()
        .rev()
        .map(line)
        .collect())
}
