//! Reading models and versions over real gRPC: listings, watches, and what a reader may count on.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use slipway_proto::registry::v1::*;
use support::*;
use tonic::Code;

#[tokio::test]
async fn models_are_created_once_and_listed_by_name() {
    let world = World::start().await;
    let mut client = world.client.clone();
    for id in ["b", "a", "c"] {
        world.model(id).await;
    }
    let request = CreateModelRequest {
        parent: "workspaces/dev".to_owned(),
        model_id: "a".to_owned(),
        ..Default::default()
    };
    let status = client.create_model(request.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "ALREADY_EXISTS")
    );
    let bad = CreateModelRequest {
        parent: "dev".to_owned(),
        model_id: "A".to_owned(),
        ..request
    };
    assert_eq!(
        violations(&client.create_model(bad).await.unwrap_err()),
        ["parent", "model_id"]
    );
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListModelsRequest {
            parent: "workspaces/dev".to_owned(),
            page_size: 2,
            page_token,
        };
        let page = client.list_models(request).await.unwrap().into_inner();
        names.extend(page.models.into_iter().map(|model| model.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(
        names,
        ["a", "b", "c"].map(|id| format!("workspaces/dev/models/{id}"))
    );
}

async fn numbers(
    world: &World,
    parent: &str,
    filter: &str,
    order_by: &str,
    page_size: i32,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListVersionsRequest {
            parent: parent.to_owned(),
            filter: filter.to_owned(),
            order_by: order_by.to_owned(),
            page_size,
            page_token,
        };
        let page = world
            .client
            .clone()
            .list_versions(request)
            .await
            .unwrap()
            .into_inner();
        assert!(page.versions.len() <= page_size as usize);
        found.extend(page.versions.iter().map(|v| {
            let mut parts = v.name.rsplit('/');
            let (number, model) = (parts.next().unwrap(), parts.nth(1).unwrap());
            format!("{model}{number}")
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn listing_filters_orders_and_pages() {
    let world = World::start().await;
    let mut client = world.client.clone();
    let artifact = world.upload(b"weights").await;
    for model in ["a", "b"] {
        world.model(model).await;
    }
    let start = world.clock.clone();
    for (model, number) in [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)] {
        start.advance(Duration::from_secs(1));
        let mut request = create(&format!("workspaces/dev/models/{model}"), &artifact);
        let version = request.version.as_mut().unwrap();
        version.tags.insert(
            "parity".to_owned(),
            if number % 2 == 0 { "even" } else { "odd" }.to_owned(),
        );
        if number == 3 {
            version
                .tags
                .insert("quote".to_owned(), "a \"b\" ' OR 1=1 --".to_owned());
        }
        client.create_version(request).await.unwrap();
    }
    let archive = ArchiveVersionRequest {
        name: "workspaces/dev/models/a/versions/2".to_owned(),
        ..Default::default()
    };
    client.archive_version(archive).await.unwrap();
    let (a, all) = ("workspaces/dev/models/a", "workspaces/dev/models/-");
    let cases: &[(&str, &str, &str, &[&str])] = &[
        (a, "", "", &["a3", "a2", "a1"]),
        (a, "", "number", &["a1", "a2", "a3"]),
        (a, "state = ACTIVE", "number asc", &["a1", "a3"]),
        (a, "state != ACTIVE", "", &["a2"]),
        (a, "tags.parity = odd AND number > 1", "", &["a3"]),
        (a, "tags.parity != odd", "", &["a2"]),
        (a, "tags.quote = \"a \\\"b\\\" ' OR 1=1 --\"", "", &["a3"]),
        (a, "tags.quote != x", "", &["a3", "a2", "a1"]),
        (a, "tags.absent = x", "", &[]),
        (
            a,
            "create_time >= 2023-11-14T22:13:23Z",
            "create_time",
            &["a2", "a3"],
        ),
        (all, "", "create_time", &["a1", "b1", "a2", "a3", "b2"]),
        (all, "", "create_time desc", &["b2", "a3", "a2", "b1", "a1"]),
        (all, "tags.parity = odd", "number", &["a1", "b1", "a3"]),
        (all, "", "number desc", &["a3", "b2", "a2", "b1", "a1"]),
    ];
    for (parent, filter, order, expected) in cases {
        for page_size in [1, 2, 50] {
            assert_eq!(
                numbers(&world, parent, filter, order, page_size).await,
                *expected,
                "{filter} {order}"
            );
        }
    }
    let digest = world
        .get("workspaces/dev/models/a/versions/1")
        .await
        .unwrap()
        .digest;
    assert_eq!(
        numbers(&world, a, &format!("digest = {digest}"), "", 2).await,
        ["a3", "a2", "a1"]
    );
}

#[tokio::test]
async fn a_page_of_large_versions_stays_under_the_message_limit() {
    let world = World::start().await;
    world.model("tumor").await;
    let artifact = world.upload(b"weights").await;
    let text = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue("x".repeat(65_000))),
    };
    for _ in 0..70 {
        let mut request = create(MODEL, &artifact);
        request.version.as_mut().unwrap().lineage = Some(Lineage {
            parameters: Some(prost_types::Struct {
                fields: [("grid".to_owned(), text.clone())].into(),
            }),
            ..Default::default()
        });
        world.client.clone().create_version(request).await.unwrap();
    }
    let all: Vec<String> = (1..=70).map(|i| format!("tumor{i}")).collect();
    assert_eq!(numbers(&world, MODEL, "", "number", 1000).await, all);
}

#[tokio::test]
async fn a_page_of_large_models_or_movements_stays_under_the_message_limit() {
    let world = World::start().await;
    let mut client = world.client.clone();
    // Four bytes a character: the largest that is taken.
    let (long, label) = ("\u{1f6a2}".repeat(4_000), "\u{1f6a2}".repeat(256));
    let labels: HashMap<_, _> = (0..64).map(|i| (format!("k{i}"), label.clone())).collect();
    for i in 0..60 {
        let request = CreateModelRequest {
            parent: "workspaces/dev".to_owned(),
            model_id: format!("m{i}"),
            model: Some(Model {
                description: long.clone(),
                labels: labels.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        client.create_model(request).await.unwrap();
    }
    let (mut models, mut page_token) = (0, String::new());
    loop {
        let request = ListModelsRequest {
            parent: "workspaces/dev".to_owned(),
            page_size: 1000,
            page_token,
        };
        let page = client.list_models(request).await.unwrap().into_inner();
        models += page.models.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(models, 60);

    world.model("tumor").await;
    let versions = [
        world.version(MODEL, "1").await,
        world.version(MODEL, "2").await,
    ];
    let alias = format!("{MODEL}/aliases/champion");
    for i in 0..1000 {
        let request = SetAliasRequest {
            name: alias.clone(),
            version: versions[i % 2].name.clone(),
            reason: "\u{1f6a2}".repeat(1_024),
            ..Default::default()
        };
        client.set_alias(request).await.unwrap();
    }
    let (mut movements, mut page_token) = (0, String::new());
    loop {
        let request = ListAliasHistoryRequest {
            name: alias.clone(),
            page_size: 1000,
            page_token,
        };
        let page = client
            .list_alias_history(request)
            .await
            .unwrap()
            .into_inner();
        movements += page.movements.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(movements, 1000);
}

#[tokio::test]
async fn a_reader_never_sees_less_than_what_was_answered() {
    let world = World::start().await;
    world.model("tumor").await;
    let version = world.version(MODEL, "weights").await;
    let mut client = world.client.clone();
    for round in 0..200 {
        let request = UpdateVersionTagsRequest {
            name: version.name.clone(),
            set: HashMap::from([("round".to_owned(), round.to_string())]),
            ..Default::default()
        };
        let (written, _) = tokio::join!(
            client.update_version_tags(request),
            world.get(&version.name)
        );
        let read = world.get(&version.name).await.unwrap();
        assert_eq!(read, written.unwrap().into_inner());
        assert_eq!(
            world.get(&format!("{MODEL}/aliases/latest")).await.unwrap(),
            read
        );
    }
}

#[tokio::test]
async fn a_wrong_listing_is_refused_with_every_field() {
    let world = World::start().await;
    world.model("tumor").await;
    for i in 0..3 {
        world.version(MODEL, &i.to_string()).await;
    }
    let mut client = world.client.clone();
    let request = ListVersionsRequest {
        parent: "models/x".to_owned(),
        filter: "color = red".to_owned(),
        order_by: "name".to_owned(),
        page_size: -1,
        page_token: String::new(),
    };
    let status = client.list_versions(request).await.unwrap_err();
    assert_eq!(
        violations(&status),
        ["parent", "filter", "order_by", "page_size"]
    );
    let right = ListVersionsRequest {
        parent: MODEL.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let token = client
        .list_versions(right.clone())
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    for wrong in [
        ListVersionsRequest {
            page_token: "?".to_owned(),
            ..right.clone()
        },
        ListVersionsRequest {
            page_token: token,
            order_by: "number".to_owned(),
            ..right.clone()
        },
    ] {
        assert_eq!(
            violations(&client.list_versions(wrong).await.unwrap_err()),
            ["page_token"]
        );
    }
    for filter in [
        "number = x",
        "number = 1 OR number = 2",
        "tags.a < 1",
        "tags.1a = x",
        "state = active",
    ] {
        let wrong = ListVersionsRequest {
            filter: filter.to_owned(),
            ..right.clone()
        };
        assert_eq!(
            violations(&client.list_versions(wrong).await.unwrap_err()),
            ["filter"],
            "{filter}"
        );
    }
    let wrong_tag = ListVersionsRequest {
        filter: "tags.1a = x".to_owned(),
        ..right.clone()
    };
    let status = client.list_versions(wrong_tag).await.unwrap_err();
    assert!(status.message().contains("tags.1a"), "{status:?}");
    let none = ListVersionsRequest {
        parent: "workspaces/dev/models/none".to_owned(),
        ..right
    };
    assert_eq!(
        client.list_versions(none).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_watch_shows_what_is_there_and_then_each_change() {
    let world = World::start().await;
    world.model("tumor").await;
    let mut client = world.client.clone();
    let first = world.version(MODEL, "one").await;
    let request = WatchVersionsRequest {
        parent: MODEL.to_owned(),
    };
    let mut watch = client.watch_versions(request).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().version.unwrap(),
        first
    );
    let second = world.version(MODEL, "two").await;
    assert_eq!(
        watch.message().await.unwrap().unwrap().version.unwrap(),
        second
    );
    let archive = ArchiveVersionRequest {
        name: first.name.clone(),
        ..Default::default()
    };
    let archived = client.archive_version(archive).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().version.unwrap(),
        archived
    );
    let none = WatchVersionsRequest {
        parent: "workspaces/dev/models/none".to_owned(),
    };
    assert_eq!(
        client.watch_versions(none).await.unwrap_err().code(),
        Code::NotFound
    );
    let stopping = tokio::spawn(world.stop());
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    stopping.await.unwrap();
}
