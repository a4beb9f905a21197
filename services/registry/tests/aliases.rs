//! Aliases over real gRPC: compare-and-set, and the whole history.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::time::Duration;

use slipway_platform::clock::{Clock, Timestamp};
use slipway_proto::registry::v1::*;
use support::*;
use tonic::Code;

fn champion() -> String {
    format!("{MODEL}/aliases/champion")
}

fn set(version: &Version) -> SetAliasRequest {
    SetAliasRequest {
        name: champion(),
        version: version.name.clone(),
        reason: format!("promoted {}", version.number),
        ..Default::default()
    }
}

async fn at(world: &World, time: Timestamp) -> Result<Alias, tonic::Status> {
    let request = GetAliasRequest {
        name: champion(),
        at: Some(time.to_proto()),
    };
    world
        .client
        .clone()
        .get_alias(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn an_alias_moves_by_compare_and_set() {
    let world = World::start().await;
    world.model("tumor").await;
    let (one, two) = (
        world.version(MODEL, "one").await,
        world.version(MODEL, "two").await,
    );
    let mut client = world.client.clone();
    let create = SetAliasRequest {
        expected_version: Some(String::new()),
        ..set(&one)
    };
    let first = client.set_alias(create.clone()).await.unwrap().into_inner();
    assert_eq!(
        (&first.version, first.reason.as_str()),
        (&one.name, "promoted 1")
    );
    assert_eq!(first.actor.as_ref().unwrap().name, "local-admin");

    let again = SetAliasRequest {
        version: two.name.clone(),
        ..create
    };
    let status = client.set_alias(again).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Aborted, "CONFLICT")
    );
    for wrong in [
        SetAliasRequest {
            expected_version: Some(two.name.clone()),
            ..set(&two)
        },
        SetAliasRequest {
            etag: "g9".to_owned(),
            ..set(&two)
        },
    ] {
        assert_eq!(
            client.set_alias(wrong).await.unwrap_err().code(),
            Code::Aborted
        );
    }
    let same = client.set_alias(set(&one)).await.unwrap().into_inner();
    assert_eq!(same, first, "pointing where it points is no movement");
    let right = SetAliasRequest {
        expected_version: Some(one.name.clone()),
        etag: first.etag.clone(),
        ..set(&two)
    };
    let second = client.set_alias(right).await.unwrap().into_inner();
    assert_eq!(second.version, two.name);
    assert_eq!(world.get(&champion()).await.unwrap(), two);
    assert_eq!(at(&world, world.clock.now()).await.unwrap(), second);
}

#[tokio::test]
async fn of_many_racing_compare_and_sets_one_wins() {
    let world = World::start().await;
    world.model("tumor").await;
    let mut versions = Vec::new();
    for i in 0..8 {
        versions.push(world.version(MODEL, &i.to_string()).await);
    }
    let racing = versions.iter().map(|version| {
        let request = SetAliasRequest {
            expected_version: Some(String::new()),
            ..set(version)
        };
        let mut client = world.client.clone();
        async move { client.set_alias(request).await }
    });
    let outcomes = futures::future::join_all(racing).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.into_iter()
            .all(|outcome| outcome.unwrap_err().code() == Code::Aborted)
    );
}

#[tokio::test]
async fn the_history_says_what_was_champion_at_any_time() {
    let world = World::start().await;
    world.model("tumor").await;
    let (one, two) = (
        world.version(MODEL, "one").await,
        world.version(MODEL, "two").await,
    );
    let mut client = world.client.clone();
    let before = world.clock.now();
    let minute = Duration::from_secs(60);
    world.clock.advance(minute);
    let first = client.set_alias(set(&one)).await.unwrap().into_inner();
    let t1 = world.clock.now();
    world.clock.advance(minute);
    client.set_alias(set(&two)).await.unwrap();
    let t2 = world.clock.now();
    world.clock.advance(minute);
    let delete = DeleteAliasRequest {
        name: champion(),
        reason: "retired".to_owned(),
        ..Default::default()
    };
    let deleted = client
        .delete_alias(delete.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.version, "");
    let t3 = world.clock.now();
    world.clock.advance(minute);
    let back = client.set_alias(set(&one)).await.unwrap().into_inner();
    assert_ne!(back.etag, first.etag, "an etag never comes back");

    let just_before = |time: Timestamp| time - Duration::from_micros(1);
    assert_eq!(at(&world, before).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(at(&world, t1).await.unwrap(), first);
    assert_eq!(at(&world, just_before(t2)).await.unwrap().version, one.name);
    assert_eq!(at(&world, t2).await.unwrap().version, two.name);
    assert_eq!(at(&world, just_before(t3)).await.unwrap().version, two.name);
    assert_eq!(at(&world, t3).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(at(&world, world.clock.now() + minute).await.unwrap(), back);

    let mut movements = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAliasHistoryRequest {
            name: champion(),
            page_size: 3,
            page_token,
        };
        let page = client
            .list_alias_history(request)
            .await
            .unwrap()
            .into_inner();
        movements.extend(
            page.movements
                .into_iter()
                .map(|m| (m.version, m.previous_version, m.reason)),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let (v1, v2, none) = (one.name.clone(), two.name.clone(), String::new());
    let expected = [
        (v1.clone(), none.clone(), "promoted 1"),
        (none.clone(), v2.clone(), "retired"),
        (v2, v1.clone(), "promoted 2"),
        (v1, none, "promoted 1"),
    ];
    assert_eq!(
        movements,
        expected.map(|(to, from, why)| (to, from, why.to_owned()))
    );
}

#[tokio::test]
async fn latest_follows_by_itself_and_is_not_moved_by_hand() {
    let world = World::start().await;
    world.model("tumor").await;
    let (one, two) = (
        world.version(MODEL, "one").await,
        world.version(MODEL, "two").await,
    );
    let mut client = world.client.clone();
    let latest = format!("{MODEL}/aliases/latest");
    assert_eq!(world.get(&latest).await.unwrap(), two);
    let status = client
        .set_alias(SetAliasRequest {
            name: latest.clone(),
            ..set(&one)
        })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "ALIAS_MANAGED")
    );
    let delete = DeleteAliasRequest {
        name: latest.clone(),
        ..Default::default()
    };
    assert_eq!(
        reason(&client.delete_alias(delete).await.unwrap_err()),
        "ALIAS_MANAGED"
    );
    client.set_alias(set(&one)).await.unwrap();
    let request = ListAliasesRequest {
        parent: MODEL.to_owned(),
        ..Default::default()
    };
    let listed = client
        .list_aliases(request)
        .await
        .unwrap()
        .into_inner()
        .aliases;
    let names: Vec<_> = listed
        .iter()
        .map(|alias| (alias.name.as_str(), alias.version.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            (champion().as_str(), one.name.as_str()),
            (latest.as_str(), two.name.as_str())
        ]
    );
    assert_eq!(listed[1].actor.as_ref().unwrap().name, "registry");
}

#[tokio::test]
async fn a_wrong_movement_is_refused_and_changes_nothing() {
    let world = World::start().await;
    world.model("tumor").await;
    world.model("other").await;
    let one = world.version(MODEL, "one").await;
    let other = world.version("workspaces/dev/models/other", "other").await;
    let mut client = world.client.clone();
    let request = SetAliasRequest {
        name: "champion".to_owned(),
        version: "v1".to_owned(),
        expected_version: Some("v0".to_owned()),
        etag: "7".to_owned(),
        reason: "r".repeat(2_000),
        request_id: "a b".to_owned(),
    };
    assert_eq!(
        violations(&client.set_alias(request).await.unwrap_err()),
        [
            "name",
            "version",
            "expected_version",
            "etag",
            "reason",
            "request_id"
        ]
    );
    assert_eq!(
        violations(&client.set_alias(set(&other)).await.unwrap_err()),
        ["version"]
    );
    let missing = Version {
        name: format!("{MODEL}/versions/9"),
        ..one.clone()
    };
    assert_eq!(
        client.set_alias(set(&missing)).await.unwrap_err().code(),
        Code::NotFound
    );
    let delete = DeleteAliasRequest {
        name: champion(),
        ..Default::default()
    };
    assert_eq!(
        client.delete_alias(delete).await.unwrap_err().code(),
        Code::NotFound
    );
    let quarantine = QuarantineVersionRequest {
        name: one.name.clone(),
        reason: "fails".to_owned(),
        ..Default::default()
    };
    client.quarantine_version(quarantine).await.unwrap();
    let status = client.set_alias(set(&one)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "VERSION_NOT_ACTIVE")
    );
    let get = GetAliasRequest {
        name: champion(),
        at: None,
    };
    assert_eq!(
        client.get_alias(get).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_retried_movement_is_answered_as_the_first_time() {
    let world = World::start().await;
    world.model("tumor").await;
    let (one, two) = (
        world.version(MODEL, "one").await,
        world.version(MODEL, "two").await,
    );
    let mut client = world.client.clone();
    let request = SetAliasRequest {
        expected_version: Some(String::new()),
        request_id: "set-1".to_owned(),
        ..set(&one)
    };
    let first = client
        .set_alias(request.clone())
        .await
        .unwrap()
        .into_inner();
    client.set_alias(set(&two)).await.unwrap();
    assert_eq!(client.set_alias(request).await.unwrap().into_inner(), first);
    assert_eq!(world.get(&champion()).await.unwrap(), two);
}
