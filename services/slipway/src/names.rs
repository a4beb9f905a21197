//! Short names: `dev/tumor:3` for `workspaces/dev/models/tumor/versions/3`, and so on.
//!
//! A full name passes as it is. A short one is made full by the kind of resource that a command takes,
//! and both are checked here, so that a mistyped name is a usage error before anything is called.

use slipway_platform::names::{
    AlertName, AliasName, BlockName, EndpointName, EnvironmentName, EvaluationName, ModelName,
    NameError, ResourceName, RevisionName, RolloutName, RuleName, SuiteName, VersionName,
    WorkspaceName,
};

use crate::failure::Failure;

/// `dev`.
pub fn workspace(text: &str) -> Result<WorkspaceName, Failure> {
    full(text, "workspaces/", "dev", || format!("workspaces/{text}"))
}

/// `dev/tumor`.
pub fn model(text: &str) -> Result<ModelName, Failure> {
    full(text, "workspaces/", "dev/tumor", || {
        two("workspaces", "models", text)
    })
}

/// `dev/quality`.
pub fn suite(text: &str) -> Result<SuiteName, Failure> {
    full(text, "workspaces/", "dev/quality", || {
        two("workspaces", "suites", text)
    })
}

/// `dev/0190163d-…`.
pub fn evaluation(text: &str) -> Result<EvaluationName, Failure> {
    full(text, "workspaces/", "dev/{uuid}", || {
        two("workspaces", "evaluations", text)
    })
}

/// `dev/tumor:3`.
pub fn version(text: &str) -> Result<VersionName, Failure> {
    full(text, "workspaces/", "dev/tumor:3", || {
        match text.rsplit_once(':') {
            Some((model, number)) => {
                format!("{}/versions/{number}", two("workspaces", "models", model))
            }
            None => text.to_owned(),
        }
    })
}

/// `dev/tumor@champion`.
pub fn alias(text: &str) -> Result<AliasName, Failure> {
    full(text, "workspaces/", "dev/tumor@champion", || {
        match text.rsplit_once(['@', ':']) {
            Some((model, alias)) => {
                format!("{}/aliases/{alias}", two("workspaces", "models", model))
            }
            None => text.to_owned(),
        }
    })
}

/// `dev/tumor:3`, or an alias of it: `dev/tumor@champion`. Gives the full name of either.
pub fn version_or_alias(text: &str) -> Result<String, Failure> {
    if text.contains('@') || text.contains("/aliases/") {
        return Ok(alias(text)?.to_string());
    }
    Ok(version(text)?.to_string())
}

/// `production`.
pub fn environment(text: &str) -> Result<EnvironmentName, Failure> {
    full(text, "environments/", "production", || {
        format!("environments/{text}")
    })
}

/// `production/tumor`.
pub fn endpoint(text: &str) -> Result<EndpointName, Failure> {
    full(text, "environments/", "production/tumor", || {
        two("environments", "endpoints", text)
    })
}

/// `tumor-00002` or `2`, of the endpoint that the command is about.
pub fn revision(endpoint: &EndpointName, text: &str) -> Result<RevisionName, Failure> {
    if text.starts_with("environments/") {
        return checked(text, "tumor-00002");
    }
    let id = last_part(text);
    let found = match id.parse::<u32>() {
        Ok(number) => RevisionName::new(endpoint, number),
        Err(_) => RevisionName::from_id(endpoint, id),
    };
    found.map_err(|error| wrong(text, &error, "tumor-00002 or 2"))
}

/// `production/tumor/0190163d-…`.
pub fn rollout(text: &str) -> Result<RolloutName, Failure> {
    full(text, "environments/", "production/tumor/{uuid}", || {
        below_endpoint("rollouts", text)
    })
}

/// `production/tumor/0190163d-…`.
pub fn block(text: &str) -> Result<BlockName, Failure> {
    full(text, "environments/", "production/tumor/{uuid}", || {
        below_endpoint("blocks", text)
    })
}

/// `production/tumor/0190163d-…`.
pub fn alert(text: &str) -> Result<AlertName, Failure> {
    full(text, "environments/", "production/tumor/{uuid}", || {
        below_endpoint("alerts", text)
    })
}

/// `deploy-what-passes`.
pub fn rule(text: &str) -> Result<RuleName, Failure> {
    full(text, "rules/", "deploy-what-passes", || {
        format!("rules/{text}")
    })
}

/// A name as people read it: the ids alone, a version after a colon, an alias after an at sign.
pub fn short(name: &str) -> String {
    let parts: Vec<_> = name.split('/').collect();
    match parts.as_slice() {
        ["workspaces", workspace, "models", model, "versions", number] => {
            format!("{workspace}/{model}:{number}")
        }
        ["workspaces", workspace, "models", model, "aliases", alias] => {
            format!("{workspace}/{model}@{alias}")
        }
        ["environments", _, "endpoints", _, "revisions", revision] => (*revision).to_owned(),
        ["environments", environment, "endpoints", endpoint, _, id] => {
            format!("{environment}/{endpoint}/{id}")
        }
        [_, first, _, second] => format!("{first}/{second}"),
        [_, only] => (*only).to_owned(),
        _ => name.to_owned(),
    }
}

fn full<T: ResourceName>(
    text: &str,
    prefix: &str,
    example: &str,
    lengthen: impl FnOnce() -> String,
) -> Result<T, Failure> {
    let name = if text.starts_with(prefix) {
        text.to_owned()
    } else {
        lengthen()
    };
    name.parse().map_err(|error| wrong(text, &error, example))
}

fn checked<T: ResourceName>(text: &str, example: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| wrong(text, &error, example))
}

fn wrong(text: &str, error: &NameError, example: &str) -> Failure {
    Failure::usage(format!("{text:?} {error}; shortly: {example}"))
}

fn two(outer: &str, inner: &str, text: &str) -> String {
    match text.split_once('/') {
        Some((first, second)) => format!("{outer}/{first}/{inner}/{second}"),
        None => text.to_owned(),
    }
}

fn below_endpoint(collection: &str, text: &str) -> String {
    match text.rsplit_once('/') {
        Some((endpoint, id)) => format!(
            "{}/{collection}/{id}",
            two("environments", "endpoints", endpoint)
        ),
        None => text.to_owned(),
    }
}

fn last_part(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

    #[test]
    fn short_names_become_full_ones_and_back() {
        let endpoint_name = endpoint("production/tumor").unwrap();
        let rollout_text = format!("production/tumor/{UUID}");
        let cases = [
            (
                workspace("dev").unwrap().to_string(),
                "workspaces/dev",
                "dev",
            ),
            (
                model("dev/tumor").unwrap().to_string(),
                "workspaces/dev/models/tumor",
                "dev/tumor",
            ),
            (
                suite("dev/quality").unwrap().to_string(),
                "workspaces/dev/suites/quality",
                "dev/quality",
            ),
            (
                version("dev/tumor:3").unwrap().to_string(),
                "workspaces/dev/models/tumor/versions/3",
                "dev/tumor:3",
            ),
            (
                version_or_alias("dev/tumor@champion").unwrap(),
                "workspaces/dev/models/tumor/aliases/champion",
                "dev/tumor@champion",
            ),
            (
                environment("production").unwrap().to_string(),
                "environments/production",
                "production",
            ),
            (
                endpoint_name.to_string(),
                "environments/production/endpoints/tumor",
                "production/tumor",
            ),
            (
                revision(&endpoint_name, "2").unwrap().to_string(),
                "environments/production/endpoints/tumor/revisions/tumor-00002",
                "tumor-00002",
            ),
            (
                rollout(&rollout_text).unwrap().to_string(),
                &format!("environments/production/endpoints/tumor/rollouts/{UUID}"),
                &rollout_text,
            ),
            (rule("go").unwrap().to_string(), "rules/go", "go"),
        ];
        for (name, full, shortly) in cases {
            assert_eq!(name, full);
            assert_eq!(short(full), shortly);
        }
        assert_eq!(
            alias("dev/tumor:champion").unwrap(),
            alias("dev/tumor@champion").unwrap()
        );
        assert!(revision(&endpoint_name, "tumor-00002").is_ok());
    }

    #[test]
    fn full_names_pass_as_they_are() {
        assert!(model("workspaces/dev/models/tumor").is_ok());
        assert!(version("workspaces/dev/models/tumor/versions/3").is_ok());
        assert!(endpoint("environments/production/endpoints/tumor").is_ok());
    }

    #[test]
    fn a_wrong_name_is_a_usage_error_with_an_example() {
        for result in [
            model("tumor").map(|_| ()),
            model("dev/Tumor").map(|_| ()),
            version("dev/tumor").map(|_| ()),
            version("dev/tumor:x").map(|_| ()),
            endpoint("tumor").map(|_| ()),
            endpoint("workspaces/dev/models/tumor").map(|_| ()),
            rollout("production/tumor").map(|_| ()),
            revision(&endpoint("production/tumor").unwrap(), "other-00001").map(|_| ()),
        ] {
            match result {
                Err(Failure::Usage(text)) => assert!(text.contains("shortly: "), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
