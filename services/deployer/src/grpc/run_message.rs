//! How a revision runs, as messages. Everything here becomes a command line, an environment or an address, so
//! it is checked closely.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_platform::error::Violations;
use slipway_platform::names::Id;
use slipway_proto::deployer::v1 as proto;
use slipway_proto::deployer::v1::run_spec::Driver;

use super::fields;
use crate::domain::resources::{ExternalTemplate, ProcessTemplate, RunTemplate};

const ADDRESSES_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 256;
const VARIABLES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 32 * 1024;
const ROLES_MAX: usize = 64;
const PATH_BYTES_MAX: usize = 1_024;
const INSTANCES_MAX: i32 = 16;
const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(10);
const STOP_GRACE_MAX: Duration = Duration::from_secs(600);
const HEALTH_PATH_DEFAULT: &str = "/v2/health/ready";
/// What the driver itself gives to a process.
const RESERVED: [&str; 2] = ["PORT", "MODEL_DIR"];

/// Reads how a revision runs.
pub fn read(
    field: &str,
    message: Option<&proto::RunSpec>,
    violations: &mut Violations,
) -> Option<RunTemplate> {
    match message.and_then(|message| message.driver.as_ref()) {
        Some(Driver::External(external)) => Some(RunTemplate::External(read_external(
            &format!("{field}.external"),
            external,
            violations,
        ))),
        Some(Driver::Process(process)) => Some(RunTemplate::Process(read_process(
            &format!("{field}.process"),
            process,
            violations,
        ))),
        None => {
            violations.push(field, "must say how revisions run: external or process");
            None
        }
    }
}

fn read_external(
    field: &str,
    message: &proto::ExternalRun,
    violations: &mut Violations,
) -> ExternalTemplate {
    let count = message.addresses.len();
    let fits = (1..=ADDRESSES_MAX).contains(&count);
    violations.require(
        fits,
        format!("{field}.addresses"),
        format!("1 to {ADDRESSES_MAX}, and there are {count}"),
    );
    for (index, address) in message.addresses.iter().enumerate() {
        let parsed: Option<SocketAddr> = address.replace("{version}", "1").parse().ok();
        let reachable = parsed.is_some_and(|address| {
            address.port() > 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
        });
        violations.require(
            reachable && !message.addresses[..index].contains(address),
            format!("{field}.addresses[{index}]"),
            "must be a literal address with a port, such as 127.0.0.1:9001, and named once",
        );
    }
    path(
        &format!("{field}.health_path"),
        &message.health_path,
        violations,
    );
    ExternalTemplate {
        addresses: message.addresses.clone(),
        health_path: message.health_path.clone(),
    }
}

fn read_process(
    field: &str,
    message: &proto::ProcessRun,
    violations: &mut Violations,
) -> ProcessTemplate {
    let count = message.command.len();
    let program = message
        .command
        .first()
        .is_some_and(|program| !program.is_empty());
    violations.require(
        program && count <= ARGUMENTS_MAX,
        format!("{field}.command"),
        format!("a program and at most {ARGUMENTS_MAX} words in all"),
    );
    for (index, word) in message.command.iter().enumerate() {
        value(&format!("{field}.command[{index}]"), word, violations);
    }
    variables(field, message, violations);
    let roles = roles(field, &message.roles, violations);
    path(
        &format!("{field}.health_path"),
        &message.health_path,
        violations,
    );
    let instances = if message.instances == 0 {
        1
    } else {
        message.instances
    };
    let fits = (1..=INSTANCES_MAX).contains(&instances);
    violations.require(
        fits,
        format!("{field}.instances"),
        format!("must be 1 to {INSTANCES_MAX}"),
    );
    let health_path = if message.health_path.is_empty() {
        HEALTH_PATH_DEFAULT.to_owned()
    } else {
        message.health_path.clone()
    };
    let stop_grace = fields::duration(
        &format!("{field}.stop_grace"),
        message.stop_grace.as_ref(),
        STOP_GRACE_DEFAULT,
        STOP_GRACE_MAX,
        violations,
    );
    ProcessTemplate {
        command: message.command.clone(),
        env: message
            .env
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
        health_path,
        roles,
        stop_grace,
        instances: u32::try_from(instances).unwrap_or(1),
    }
}

fn variables(field: &str, message: &proto::ProcessRun, violations: &mut Violations) {
    let count = message.env.len();
    violations.require(
        count <= VARIABLES_MAX,
        format!("{field}.env"),
        format!("at most {VARIABLES_MAX}"),
    );
    for (key, text) in message.env.iter().collect::<BTreeMap<_, _>>() {
        let at = format!("{field}.env[{key:?}]");
        let mut bytes = key.bytes();
        let begins = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        let named = begins && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        violations.require(named, at.clone(), "must be a name such as MODEL_NAME");
        violations.require(
            !RESERVED.contains(&key.as_str()),
            at.clone(),
            "is given by the driver",
        );
        let referred = text.as_str() != "env:" && text.as_str() != "file:";
        violations.require(
            referred,
            at.clone(),
            "a secret reference must say what it refers to",
        );
        value(&at, text, violations);
    }
}

fn roles(field: &str, roles: &[String], violations: &mut Violations) -> Vec<String> {
    if roles.is_empty() {
        return vec!["model".to_owned()];
    }
    violations.require(
        roles.len() <= ROLES_MAX,
        format!("{field}.roles"),
        format!("at most {ROLES_MAX}"),
    );
    for (index, role) in roles.iter().enumerate() {
        let known = role.parse::<Id>().is_ok() && !roles[..index].contains(role);
        violations.require(
            known,
            format!("{field}.roles[{index}]"),
            "must be an id, and named once",
        );
    }
    roles.to_vec()
}

fn value(field: &str, text: &str, violations: &mut Violations) {
    let fits = text.len() <= VALUE_BYTES_MAX && !text.contains('\0');
    violations.require(
        fits,
        field,
        format!("must have at most {VALUE_BYTES_MAX} bytes, and none of them zero"),
    );
}

fn path(field: &str, path: &str, violations: &mut Violations) {
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
    let fits =
        path.is_empty() || (path.starts_with('/') && path.len() <= PATH_BYTES_MAX && visible);
    violations.require(fits, field, "must be empty, or a path such as /healthz");
}

/// How a revision runs, as a message. References to secrets are shown as references.
pub fn write(run: &RunTemplate) -> proto::RunSpec {
    let driver = match run {
        RunTemplate::External(external) => Driver::External(proto::ExternalRun {
            addresses: external.addresses.clone(),
            health_path: external.health_path.clone(),
        }),
        RunTemplate::Process(process) => Driver::Process(proto::ProcessRun {
            command: process.command.clone(),
            env: process.env.clone().into_iter().collect(),
            health_path: process.health_path.clone(),
            roles: process.roles.clone(),
            stop_grace: Some(duration_to_proto(process.stop_grace)),
            instances: i32::try_from(process.instances).unwrap_or(i32::MAX),
        }),
    };
    proto::RunSpec {
        driver: Some(driver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> proto::ProcessRun {
        proto::ProcessRun {
            command: vec!["./serve".into(), "{port}".into()],
            ..Default::default()
        }
    }

    fn problems(driver: Driver) -> Vec<String> {
        let mut violations = Violations::new();
        read(
            "run",
            Some(&proto::RunSpec {
                driver: Some(driver),
            }),
            &mut violations,
        );
        violations
            .iter()
            .map(|violation| violation.field.clone())
            .collect()
    }

    #[test]
    fn a_process_gets_its_defaults_and_comes_back_as_it_was_written() {
        let mut violations = Violations::new();
        let message = proto::RunSpec {
            driver: Some(Driver::Process(process())),
        };
        let run = read("run", Some(&message), &mut violations).unwrap();
        let RunTemplate::Process(template) = &run else {
            panic!("{run:?}")
        };
        assert_eq!(
            (template.instances, template.roles.as_slice()),
            (1, &["model".to_owned()][..])
        );
        assert_eq!(template.health_path, "/v2/health/ready");
        assert_eq!(read("run", Some(&write(&run)), &mut violations), Some(run));
        assert!(violations.is_empty());
    }

    #[test]
    fn hostile_input_is_named_by_its_field() {
        let mut hostile = process();
        hostile.command.push("a\0b".into());
        hostile.env.insert("1X".into(), "x".into());
        hostile.env.insert("PORT".into(), "1".into());
        hostile.roles = vec!["model".into(), "../x".into()];
        hostile.health_path = "no-slash".into();
        hostile.instances = 17;
        let mut found = problems(Driver::Process(hostile));
        found.sort();
        assert_eq!(
            found,
            [
                "run.process.command[2]",
                "run.process.env[\"1X\"]",
                "run.process.env[\"PORT\"]",
                "run.process.health_path",
                "run.process.instances",
                "run.process.roles[1]",
            ]
        );
        assert_eq!(
            problems(Driver::Process(proto::ProcessRun::default())),
            ["run.process.command"]
        );
    }

    #[test]
    fn an_external_address_is_literal() {
        let external = |address: &str| {
            Driver::External(proto::ExternalRun {
                addresses: vec![address.into()],
                health_path: String::new(),
            })
        };
        assert!(problems(external("127.0.0.1:910{version}")).is_empty());
        assert!(problems(external("[::1]:9001")).is_empty());
        for wrong in [
            "models.example.com:80",
            "127.0.0.1",
            "127.0.0.1:0",
            "{version}",
            "0.0.0.0:80",
            "224.0.0.1:80",
        ] {
            assert_eq!(
                problems(external(wrong)),
                ["run.external.addresses[0]"],
                "{wrong}"
            );
        }
        assert_eq!(
            problems(Driver::External(proto::ExternalRun::default())),
            ["run.external.addresses"]
        );
    }
}
