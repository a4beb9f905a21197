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
    let item = work::due(&mut tx, NOW, 10).await.unwrap().remove(0);
    assert_eq!((&item.work, item.attempts), (&stop, 0));
    work::add(&mut tx, &stop, NOW).await.unwrap();
    work::done(&mut tx, &item).await.unwrap();
    let again = work::due(&mut tx, NOW, 10).await.unwrap().remove(0);
    work::put_off(&mut tx, &again, SECOND, "busy", NOW)
        .await
        .unwrap();
    assert!(work::due(&mut tx, NOW, 10).await.unwrap().is_empty());
    assert_eq!(
        work::next_due(&mut tx, NOW).await.unwrap(),
        Some(NOW + SECOND)
    );
    assert!(
        work::stop_is_due_later(&mut tx, &revision(1), NOW)
            .await
            .unwrap()
    );
    let later = work::due(&mut tx, NOW + SECOND, 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(later.attempts, 1);
    work::done(&mut tx, &later).await.unwrap();
    assert!(
        work::due(&mut tx, NOW + SECOND, 10)
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
