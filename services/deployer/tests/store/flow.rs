//! Rollouts, work, the audit, and transactions.

use super::*;

pub async fn rollouts_are_found_by_their_deadline_their_endpoint_and_a_filter(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let older = rollout(NOW);
    let mut newer = rollout(NOW + SECOND);
    for row in [&older, &newer] {
        rollouts::insert(&mut tx, row, NOW).await.unwrap();
    }
    assert_eq!(rollouts::get(&mut tx, &older.name).await.unwrap(), older);
    let open = rollouts::open(&mut tx, &endpoint()).await.unwrap();
    assert_eq!(
        open.iter().map(|row| &row.name).collect::<Vec<_>>(),
        [&older.name, &newer.name]
    );
    let deadline = older.rollout.deadline.unwrap();
    assert_eq!(rollouts::next_due(&mut tx).await.unwrap(), Some(deadline));
    assert!(
        rollouts::due(&mut tx, deadline - SECOND, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        rollouts::due(&mut tx, deadline, 10).await.unwrap(),
        std::slice::from_ref(&older.name)
    );
    rollouts::rearm(&mut tx, &older.name, None).await.unwrap();
    assert!(
        rollouts::due(&mut tx, deadline, 10)
            .await
            .unwrap()
            .is_empty()
    );

    newer.about.reason = "changed".into();
    rollouts::save(&mut tx, &newer, NOW).await.unwrap();
    assert!(matches!(
        rollouts::save(&mut tx, &newer, NOW).await,
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        rollouts::newest(&mut tx, &endpoint())
            .await
            .unwrap()
            .unwrap()
            .name,
        newer.name
    );
    let environment = endpoint().environment().clone();
    let filter = |text: &str| Filter::parse(text, rollouts::FILTER_FIELDS).unwrap();
    let first = rollouts::list(&mut tx, &environment, None, &filter(""), &page(1, ""))
        .await
        .unwrap();
    let (first, token) = page(1, "").cut(first, rollouts::position_of);
    assert_eq!(first[0].name, newer.name);
    let rest = rollouts::list(&mut tx, &environment, None, &filter(""), &page(1, &token))
        .await
        .unwrap();
    assert_eq!(rest[0].name, older.name);
    for (text, count) in [
        ("phase = PENDING", 2),
        ("phase = FAILED", 0),
        ("candidate > 1 AND candidate < 3", 2),
        (r#"version = "workspaces/dev/models/tumor/versions/9""#, 0),
    ] {
        let found = rollouts::list(
            &mut tx,
            &environment,
            Some(&endpoint()),
            &filter(text),
            &page(0, ""),
        )
        .await;
        assert_eq!(found.unwrap().len(), count, "{text}");
    }
    assert!(rollouts::with_traffic(&mut tx).await.unwrap().is_empty());
}

pub async fn work_that_is_asked_for_again_while_it_is_done_is_done_again(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let stop = Work::Stop {
        revision: revision(1),
    };
    let before = signals::read(&mut tx).await.unwrap().work;
    work::add(&mut tx, &stop, NOW).await.unwrap();
    assert!(signals::read(&mut tx).await.unwrap().work > before);
    let item = work::due(&mut tx, NOW, &taker(), 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((&item.work, item.attempts), (&stop, 0));
    work::add(&mut tx, &stop, NOW).await.unwrap();
    work::done(&mut tx, &item).await.unwrap();
    let again = work::due(&mut tx, NOW, &taker(), 10)
        .await
        .unwrap()
        .remove(0);
    work::put_off(&mut tx, &again, SECOND, "busy", NOW)
        .await
        .unwrap();
    assert!(
        work::due(&mut tx, NOW, &taker(), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        work::next_due(&mut tx, NOW).await.unwrap(),
        Some(NOW + SECOND)
    );
    assert!(
        work::stop_is_due_later(&mut tx, &revision(1), NOW)
            .await
            .unwrap()
    );
    let later = work::due(&mut tx, NOW + SECOND, &taker(), 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(later.attempts, 1);
    work::done(&mut tx, &later).await.unwrap();
    assert!(
        work::due(&mut tx, NOW + SECOND, &taker(), 10)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn the_audit_is_read_by_resource_newest_first(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let actor = Actor::local_admin();
    for resource in [
        "environments/a",
        "environments/a/endpoints/x",
        "environments/ab",
    ] {
        let entry = audit::Entry {
            actor: &actor,
            action: "test",
            resource,
            text: "t",
            cause: "",
        };
        audit::append(&mut tx, NOW, entry).await.unwrap();
    }
    let below = audit::list(&mut tx, "environments/a", &page(0, ""))
        .await
        .unwrap();
    let found: Vec<_> = below
        .iter()
        .map(|record| (record.sequence, record.resource.as_str()))
        .collect();
    assert_eq!(
        found,
        [(2, "environments/a/endpoints/x"), (1, "environments/a")]
    );
    assert_eq!(
        audit::list(&mut tx, "", &page(0, "")).await.unwrap().len(),
        3
    );
}

pub async fn a_transaction_that_is_not_committed_leaves_nothing(db: &Db) {
    let before = signals::read(&mut db.read().await.unwrap()).await.unwrap();
    drop(with_endpoint(db).await);
    let missing = endpoints::get(&mut db.read().await.unwrap(), &endpoint()).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    assert_eq!(
        signals::read(&mut db.read().await.unwrap()).await.unwrap(),
        before
    );
    with_endpoint(db).await.commit().await.unwrap();
    assert!(
        endpoints::get(&mut db.read().await.unwrap(), &endpoint())
            .await
            .is_ok()
    );
}

fn taker() -> Taker {
    Taker {
        replica: "a".into(),
        node: Some("n1".into()),
        shared_now: None,
    }
}

/// `who` on a node of the same name, at a time on the database's clock.
fn sharing(who: &str, now: Timestamp) -> Taker {
    Taker {
        replica: who.into(),
        node: Some(format!("node of {who}")),
        shared_now: Some(now),
    }
}

pub async fn work_is_claimed_by_one_replica_until_its_time_runs_out(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let stop = Work::Stop {
        revision: revision(1),
    };
    work::add(&mut tx, &stop, NOW).await.unwrap();
    let (a, b) = (sharing("a", NOW), sharing("b", NOW));
    let item = work::due(&mut tx, NOW, &a, 10).await.unwrap().remove(0);
    let until = NOW + SECOND;
    assert!(work::claim(&mut tx, &item, &a, until).await.unwrap());
    assert!(!work::claim(&mut tx, &item, &b, until).await.unwrap());
    assert!(work::due(&mut tx, NOW, &b, 10).await.unwrap().is_empty());
    assert_eq!(work::due(&mut tx, NOW, &a, 10).await.unwrap().len(), 1);
    assert_eq!(work::claimed(&mut tx, "a").await.unwrap(), 1);
    work::renew(&mut tx, "a", until + SECOND).await.unwrap();
    let late = sharing("b", until);
    assert!(work::due(&mut tx, NOW, &late, 10).await.unwrap().is_empty());
    let later = sharing("b", until + SECOND);
    let taken = work::due(&mut tx, NOW, &later, 10).await.unwrap().remove(0);
    assert!(
        work::claim(&mut tx, &taken, &later, until + 9 * SECOND)
            .await
            .unwrap()
    );
    // The first one wakes: it can put off nothing that is another's by now.
    let stale = Item {
        claimed_by: "a".into(),
        ..item
    };
    work::put_off(&mut tx, &stale, SECOND, "late", NOW)
        .await
        .unwrap();
    assert_eq!(work::claimed(&mut tx, "b").await.unwrap(), 1);
    let taken = Item {
        claimed_by: "b".into(),
        ..taken
    };
    // Asked for again meanwhile: it is let go, not removed.
    work::add(&mut tx, &stop, NOW).await.unwrap();
    work::done(&mut tx, &taken).await.unwrap();
    assert_eq!(work::claimed(&mut tx, "b").await.unwrap(), 0);
    assert_eq!(work::due(&mut tx, NOW, &a, 10).await.unwrap().len(), 1);
    let again = work::due(&mut tx, NOW, &a, 10).await.unwrap().remove(0);
    assert!(work::claim(&mut tx, &again, &a, until).await.unwrap());
    work::release_all(&mut tx, "a").await.unwrap();
    assert_eq!(work::due(&mut tx, NOW, &b, 10).await.unwrap().len(), 1);
}

pub async fn work_on_what_runs_on_a_node_is_for_its_deployer(db: &Db) {
    let mut tx = with_endpoint(db).await;
    revisions::insert(&mut tx, &revision(1), &facts(1, "d1"), NOW)
        .await
        .unwrap();
    let rollout = RolloutName::generate(&endpoint());
    let provision = Work::Provision {
        rollout: rollout.clone(),
        revision: revision(1),
    };
    work::add(&mut tx, &provision, NOW).await.unwrap();
    work::add(&mut tx, &Work::AskGate { rollout }, NOW)
        .await
        .unwrap();
    revisions::set_node(&mut tx, &revision(1), "node of a")
        .await
        .unwrap();
    let stop = Work::Stop {
        revision: revision(1),
    };
    work::add(&mut tx, &stop, NOW).await.unwrap();
    let mut counts = Vec::new();
    for taker in [
        sharing("a", NOW),
        sharing("b", NOW),
        Taker {
            node: None,
            ..sharing("c", NOW)
        },
    ] {
        counts.push(work::due(&mut tx, NOW, &taker, 10).await.unwrap().len());
    }
    assert_eq!(
        counts,
        [3, 2, 1],
        "all; a start and the gate; the gate alone"
    );
    revisions::set_node(&mut tx, &revision(1), "")
        .await
        .unwrap();
    let due = work::due(&mut tx, NOW, &sharing("b", NOW), 10).await;
    assert_eq!(due.unwrap().len(), 3, "what runs nowhere is for anybody");
}

pub async fn a_proxy_belongs_to_the_replica_that_it_connected_to_last(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let proxy = |connected: bool| OwnProxy::new("p1", 1, connected, NOW);
    let first = proxies::next_version(&mut tx).await.unwrap();
    let turn = proxies::claim(&mut tx, "a", &proxy(true), first).await;
    let turn = turn.unwrap();
    let accepted = |generation, at| vec![("p1".to_owned(), endpoint(), generation, at)];
    proxies::put_accepted(&mut tx, &accepted(3, NOW), first)
        .await
        .unwrap();
    let (up_to, found, generations) = proxies::since(&mut tx, first - 1).await.unwrap();
    assert_eq!((up_to, generations), (first, accepted(3, NOW)));
    assert_eq!((found[0].replica.as_str(), found[0].connected), ("a", true));

    let second = proxies::next_version(&mut tx).await.unwrap();
    let next = proxies::claim(&mut tx, "b", &proxy(true), second).await;
    assert_eq!(next.unwrap(), turn + 1);
    // The same generation again keeps its time, and a late word of the former replica is not heard.
    proxies::put_accepted(&mut tx, &accepted(3, NOW + SECOND), second)
        .await
        .unwrap();
    assert!(
        !proxies::update(&mut tx, turn, &proxy(false), second)
            .await
            .unwrap()
    );
    let (up_to, found, generations) = proxies::since(&mut tx, first).await.unwrap();
    assert_eq!((up_to, generations), (second, vec![]));
    assert_eq!((found[0].replica.as_str(), found[0].connected), ("b", true));
    proxies::delete(&mut tx, "p1", turn).await.unwrap();
    assert_eq!(proxies::since(&mut tx, 0).await.unwrap().1.len(), 1);
    proxies::delete(&mut tx, "p1", turn + 1).await.unwrap();
    let (_, found, generations) = proxies::since(&mut tx, 0).await.unwrap();
    assert!(found.is_empty() && generations.is_empty());
}

pub async fn what_a_proxy_accepted_of_what_is_not_readable_is_left_out(db: &Db) {
    let mut tx = with_endpoint(db).await;
    let version = proxies::next_version(&mut tx).await.unwrap();
    let other: EndpointName = "environments/production/endpoints/other".parse().unwrap();
    let accepted = |endpoint| ("p1".to_owned(), endpoint, 3, NOW);
    let both = [accepted(endpoint()), accepted(other)];
    proxies::put_accepted(&mut tx, &both, version)
        .await
        .unwrap();
    let broken = "UPDATE proxy_generations SET endpoint = 'other' WHERE endpoint LIKE '%/other'";
    sqlx::query(broken).execute(&mut *tx).await.unwrap();
    let (_, _, found) = proxies::since(&mut tx, 0).await.unwrap();
    assert_eq!(found, [accepted(endpoint())]);
    let found = proxies::accepted_by(&mut tx, "p1").await.unwrap();
    assert_eq!(found, [accepted(endpoint())]);
}
