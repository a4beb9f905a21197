//! Environments, endpoints, revisions, blocks and traffic.

use super::*;

pub async fn environments_are_saved_by_generation(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let mut row = EnvironmentRow {
        name: "environments/production".parse().unwrap(),
        description: "d".into(),
        evidence: EvidencePolicy {
            require_evaluation: true,
            max_age: SECOND,
            ..Default::default()
        },
        generation: 1,
        created_at: NOW,
    };
    environments::insert(&mut tx, &row).await.unwrap();
    assert!(matches!(
        environments::insert(&mut tx, &row).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(environments::get(&mut tx, &row.name).await.unwrap(), row);
    row.description = "other".into();
    environments::save(&mut tx, &row).await.unwrap();
    assert!(matches!(
        environments::save(&mut tx, &row).await,
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        environments::get(&mut tx, &row.name)
            .await
            .unwrap()
            .generation,
        2
    );
    let missing = "environments/test".parse().unwrap();
    assert!(matches!(
        environments::get(&mut tx, &missing).await,
        Err(Error::NotFound { .. })
    ));
}

pub async fn what_serves_is_saved_by_generation_and_routes_are_noted(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let first = signals::read(&mut tx).await.unwrap().routes;
    let routes::Routing {
        version,
        routed: changed,
        ..
    } = routes::since(&mut tx, first - 1).await.unwrap();
    assert_eq!((version, changed.len()), (first, 1));
    let routes::Routing {
        version,
        routed: changed,
        ..
    } = routes::since(&mut tx, first).await.unwrap();
    assert_eq!((version, changed.len()), (first, 0));
    let mut row = endpoints::get(&mut tx, &endpoint()).await.unwrap();
    let mut stale = row.clone();
    let pin = Pin {
        reason: "r".into(),
        by: "ana".into(),
        expires_at: NOW + SECOND,
    };
    let mut serving = row.serving.clone();
    serving.set_by_hand(Traffic::all(Revision(1)), pin);
    endpoints::save_serving(&mut tx, &mut row, &serving)
        .await
        .unwrap();
    let lost = endpoints::save_serving(&mut tx, &mut stale, &Serving::default()).await;
    assert!(matches!(lost, Err(Error::Conflict { .. })));
    endpoints::touch_routes(&mut tx, &endpoint()).await.unwrap();
    let routes::Routing {
        version,
        routed: changed,
        ..
    } = routes::since(&mut tx, first).await.unwrap();
    assert_eq!(version, signals::read(&mut tx).await.unwrap().routes);
    assert_eq!(
        changed[0].endpoint.serving.traffic,
        Traffic::all(Revision(1))
    );
    assert!(
        endpoints::expired_pins(&mut tx, NOW, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        endpoints::expired_pins(&mut tx, NOW + SECOND, 10)
            .await
            .unwrap(),
        [endpoint()]
    );
    assert_eq!(
        endpoints::next_pin_expiry(&mut tx).await.unwrap(),
        Some(NOW + SECOND)
    );
    let environment = endpoint().environment().clone();
    assert_eq!(
        endpoints::of_model(&mut tx, &environment, &settings().model, 10)
            .await
            .unwrap(),
        [endpoint()]
    );
    assert_eq!(endpoints::serving(&mut tx).await.unwrap().len(), 1);
}

pub async fn revisions_are_numbered_and_their_tags_move(db: &Db) {
    let mut tx = with_endpoint(db).await;
    for expected in 1..=3 {
        let number = endpoints::next_revision(&mut tx, &endpoint())
            .await
            .unwrap();
        assert_eq!(number, expected);
        let facts = facts(u64::from(number), "sha256:aa");
        revisions::insert(&mut tx, &revision(number), &facts, NOW)
            .await
            .unwrap();
    }
    let row = revisions::get(&mut tx, &revision(2)).await.unwrap();
    assert_eq!(
        (row.state, &row.facts),
        (RevisionState::Created, &facts(2, "sha256:aa"))
    );
    let addresses = ["127.0.0.1:9001".parse().unwrap()];
    let ready = RevisionState::Ready;
    revisions::set_state(&mut tx, &revision(2), ready, "", Some(&addresses), NOW)
        .await
        .unwrap();
    revisions::set_state(&mut tx, &revision(2), ready, "still", None, NOW)
        .await
        .unwrap();
    let row = revisions::get(&mut tx, &revision(2)).await.unwrap();
    assert_eq!(
        (row.addresses.as_slice(), row.state_reason.as_str()),
        (&addresses[..], "still")
    );
    let routed = routes::since(&mut tx, 0).await.unwrap().routed;
    assert_eq!(routed[0].addresses, [(revision(2), addresses.to_vec())]);
    let on = |node| ["n1", node];
    let found = revisions::in_states(&mut tx, &[ready], on("")).await;
    assert_eq!(found.unwrap(), [revision(2)]);
    let found = revisions::in_states(&mut tx, &[ready], on("n1")).await;
    assert_eq!(found.unwrap(), []);
    assert_eq!(
        endpoints::get(&mut tx, &endpoint())
            .await
            .unwrap()
            .serving
            .ready,
        [Revision(2)].into()
    );
    revisions::tag(&mut tx, &revision(1), "good").await.unwrap();
    revisions::tag(&mut tx, &revision(3), "good").await.unwrap();
    revisions::untag(&mut tx, &revision(1), "good")
        .await
        .unwrap();
    let first = revisions::list(&mut tx, &endpoint(), &page(2, ""))
        .await
        .unwrap();
    let (first, token) = page(2, "").cut(first, |row| row.name.number().to_string());
    assert_eq!(
        first
            .iter()
            .map(|row| row.name.number())
            .collect::<Vec<_>>(),
        [3, 2]
    );
    assert_eq!(first[0].tags, ["good"]);
    let rest = revisions::list(&mut tx, &endpoint(), &page(2, &token))
        .await
        .unwrap();
    assert_eq!(
        rest.iter().map(|row| row.name.number()).collect::<Vec<_>>(),
        [1]
    );
    assert!(
        revisions::find(&mut tx, &revision(9))
            .await
            .unwrap()
            .is_none()
    );
}

pub async fn a_blocked_digest_blocks_every_revision_of_it(db: &Db) {
    let mut tx = with_endpoint(db).await;
    for (number, digest) in [(1, "sha256:aa"), (2, "sha256:bb"), (3, "sha256:bb")] {
        revisions::insert(
            &mut tx,
            &revision(number),
            &facts(u64::from(number), digest),
            NOW,
        )
        .await
        .unwrap();
    }
    let block = Block {
        name: BlockName::generate(&endpoint()),
        version_digest: "sha256:bb".into(),
        revision: revision(2),
        version: version(2),
        reason: "degraded".into(),
        created_at: NOW,
        actor: Actor::service("deployer"),
        lifted: None,
    };
    blocks::insert(&mut tx, &block).await.unwrap();
    let serving = endpoints::get(&mut tx, &endpoint()).await.unwrap().serving;
    assert_eq!(serving.blocked, [Revision(2), Revision(3)].into());
    let found = blocks::in_force(&mut tx, &endpoint(), "sha256:bb")
        .await
        .unwrap();
    assert_eq!(found, Some(block.clone()));
    blocks::lift(&mut tx, &block.name, &Actor::local_admin(), "fixed", NOW)
        .await
        .unwrap();
    blocks::lift(
        &mut tx,
        &block.name,
        &Actor::service("x"),
        "again",
        NOW + SECOND,
    )
    .await
    .unwrap();
    let lifted = blocks::get(&mut tx, &block.name)
        .await
        .unwrap()
        .lifted
        .unwrap();
    assert_eq!(lifted, (NOW, Actor::local_admin(), "fixed".to_owned()));
    assert!(
        blocks::in_force(&mut tx, &endpoint(), "sha256:bb")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        endpoints::get(&mut tx, &endpoint())
            .await
            .unwrap()
            .serving
            .blocked
            .is_empty()
    );
    assert!(
        blocks::list(&mut tx, &endpoint(), false, &page(0, ""))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        blocks::list(&mut tx, &endpoint(), true, &page(0, ""))
            .await
            .unwrap()
            .len(),
        1
    );
}

pub async fn every_generation_of_traffic_is_kept(db: &Db) {
    let mut tx = with_endpoint(db).await;
    for generation in 1..=3 {
        let record = TrafficRecord {
            endpoint: endpoint(),
            generation,
            traffic: Traffic::split(Revision(2), 10, Some(Revision(1))),
            pin: None,
            decided_at: NOW,
            actor: Actor::local_admin(),
            reason: "r".into(),
            rollout: String::new(),
            applied_at: None,
        };
        traffic::insert(&mut tx, &record).await.unwrap();
        assert_eq!(
            traffic::find(&mut tx, &endpoint(), generation)
                .await
                .unwrap(),
            Some(record)
        );
    }
    assert_eq!(traffic::awaited(&mut tx).await.unwrap(), [(endpoint(), 3)]);
    traffic::mark_applied(&mut tx, &endpoint(), 3, NOW + SECOND)
        .await
        .unwrap();
    traffic::mark_applied(&mut tx, &endpoint(), 3, NOW + 2 * SECOND)
        .await
        .unwrap();
    assert!(traffic::awaited(&mut tx).await.unwrap().is_empty());
    let all = traffic::list(&mut tx, &endpoint(), &page(0, ""))
        .await
        .unwrap();
    let applied: Vec<_> = all
        .iter()
        .map(|record| (record.generation, record.applied_at))
        .collect();
    assert_eq!(applied, [(3, Some(NOW + SECOND)), (2, None), (1, None)]);
}
