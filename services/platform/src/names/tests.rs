use proptest::prelude::*;

use super::*;

const UUID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

fn round_trip<T: ResourceName>(text: &str) {
    match text.parse::<T>() {
        Ok(name) => assert_eq!(name.to_string(), text),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn refused<T: ResourceName>(texts: &[&str]) {
    for text in texts {
        assert!(
            text.parse::<T>().is_err(),
            "{text:?} was accepted as {}",
            T::form()
        );
    }
}

#[test]
fn every_kind_of_name_prints_as_it_was_parsed() {
    round_trip::<WorkspaceName>("workspaces/dev");
    round_trip::<ModelName>("workspaces/dev/models/chat-sentiment");
    round_trip::<VersionName>("workspaces/dev/models/tumor/versions/3");
    round_trip::<AliasName>("workspaces/dev/models/tumor/aliases/champion");
    round_trip::<ArtifactName>(&format!(
        "workspaces/dev/artifacts/sha256:{}",
        "0a".repeat(32)
    ));
    round_trip::<SuiteName>("workspaces/dev/suites/quality");
    round_trip::<EvaluationName>(&format!("workspaces/dev/evaluations/{UUID}"));
    round_trip::<EnvironmentName>("environments/production");
    round_trip::<EndpointName>("environments/production/endpoints/tumor");
    round_trip::<RevisionName>("environments/production/endpoints/tumor/revisions/tumor-00012");
    round_trip::<RevisionName>(
        "environments/production/endpoints/tumor-2/revisions/tumor-2-123456",
    );
    round_trip::<RolloutName>(&format!(
        "environments/production/endpoints/tumor/rollouts/{UUID}"
    ));
    round_trip::<BlockName>(&format!(
        "environments/production/endpoints/tumor/blocks/{UUID}"
    ));
    round_trip::<AlertName>(&format!(
        "environments/production/endpoints/tumor/alerts/{UUID}"
    ));
    round_trip::<RuleName>("rules/on-anomaly");
    round_trip::<ChannelName>("channels/ops");
}

#[test]
fn what_is_not_a_name_is_refused() {
    refused::<WorkspaceName>(&[
        "",
        "dev",
        "/workspaces/dev",
        "workspaces/",
        "workspaces/Dev",
        "workspaces/-dev",
        "workspaces/dev-",
        "workspaces/1dev",
        "workspaces/d_v",
        "workspaces/dev/",
        "x/workspaces/dev",
        "models/dev",
        "workspaces/é",
    ]);
    refused::<ModelName>(&[
        "models/m",
        "workspaces/dev/models/",
        "workspaces//models/m",
        "workspaces/dev/model/m",
    ]);
    refused::<VersionName>(&[
        "workspaces/dev/models/m/versions/0",
        "workspaces/dev/models/m/versions/03",
        "workspaces/dev/models/m/versions/+3",
        "workspaces/dev/models/m/versions/-1",
        "workspaces/dev/models/m/versions/9223372036854775808",
        "workspaces/dev/models/m/versions/latest",
    ]);
    let long = "a".repeat(64);
    refused::<WorkspaceName>(&[&format!("workspaces/{long}")]);
    round_trip::<WorkspaceName>(&format!("workspaces/{}", &long[..63]));
    refused::<RevisionName>(&[
        "environments/p/endpoints/tumor/revisions/tumor-1",
        "environments/p/endpoints/tumor/revisions/tumor-00000",
        "environments/p/endpoints/tumor/revisions/other-00001",
        "environments/p/endpoints/tumor/revisions/tumor-000001",
        "environments/p/endpoints/tumor/revisions/tumor",
    ]);
    refused::<ArtifactName>(&[
        "workspaces/dev/artifacts/sha256:00",
        &format!("workspaces/dev/artifacts/sha256:{}", "0A".repeat(32)),
        &format!("workspaces/dev/artifacts/sha512:{}", "0a".repeat(32)),
    ]);
    refused::<EvaluationName>(&[
        "workspaces/dev/evaluations/0190163D-8694-739B-AEA5-966C26F8AD91",
        "workspaces/dev/evaluations/0190163d8694739baea5966c26f8ad91",
    ]);
}

#[test]
fn the_parts_are_there() {
    let version: VersionName = "workspaces/dev/models/tumor/versions/3".parse().unwrap();
    assert_eq!(
        (
            version.model().id(),
            version.workspace().id(),
            version.number()
        ),
        ("tumor", "dev", 3)
    );
    assert_eq!(version.parent().to_string(), "workspaces/dev/models/tumor");
    let revision: RevisionName = "environments/prod/endpoints/chat/revisions/chat-00012"
        .parse()
        .unwrap();
    assert_eq!(
        (revision.id().as_str(), revision.number()),
        ("chat-00012", 12)
    );
    assert_eq!(
        (revision.endpoint().id(), revision.environment().id()),
        ("chat", "prod")
    );
    let alias: AliasName = "workspaces/dev/models/tumor/aliases/champion"
        .parse()
        .unwrap();
    assert_eq!(alias.workspace().id(), "dev");
    let rollout = RolloutName::generate(revision.endpoint());
    assert_eq!(rollout.to_string().parse::<RolloutName>().unwrap(), rollout);
}

#[test]
fn a_violation_names_the_field_and_the_form() {
    let mut violations = Violations::new();
    assert!(parse::<ModelName>("parent", "workspaces/dev/models/Tumor", &mut violations).is_none());
    assert!(parse::<ModelName>("other", "workspaces/dev/models/tumor", &mut violations).is_some());
    assert_eq!(violations.0.len(), 1);
    assert_eq!(violations.0[0].field, "parent");
    assert!(
        violations.0[0]
            .description
            .contains("workspaces/{workspace}/models/{model}")
    );
    let long = "x".repeat(10_000);
    assert!(long.parse::<ModelName>().unwrap_err().to_string().len() < 300);
}

#[test]
fn names_are_strings_in_serde() {
    let name: EndpointName = serde_json::from_str("\"environments/test/endpoints/tumor\"").unwrap();
    assert_eq!(
        serde_json::to_string(&name).unwrap(),
        "\"environments/test/endpoints/tumor\""
    );
    assert!(serde_json::from_str::<EndpointName>("\"tumor\"").is_err());
}

proptest! {
    #[test]
    fn valid_ids_round_trip(
        a in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        b in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        n in 1u32..,
        v in 1u64..=(i64::MAX as u64),
    ) {
        let endpoint = EndpointName::new(&EnvironmentName::new(&a).unwrap(), &b).unwrap();
        let revision = RevisionName::new(&endpoint, n).unwrap();
        prop_assert_eq!(revision.to_string().parse::<RevisionName>().unwrap(), revision);
        let model = ModelName::new(&WorkspaceName::new(&a).unwrap(), &b).unwrap();
        let version = VersionName::new(&model, v).unwrap();
        prop_assert_eq!(version.to_string().parse::<VersionName>().unwrap(), version);
    }

    #[test]
    fn whatever_parses_prints_the_same(text in "(environments/)?[a-z/0-9:-]{0,40}(/endpoints/|/revisions/)?[a-z0-9-]{0,12}") {
        if let Ok(name) = text.parse::<RevisionName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<EndpointName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<VersionName>();
        let _ = text.parse::<RevisionName>();
        let _ = text.parse::<ArtifactName>();
        let _ = text.parse::<AlertName>();
    }
}
