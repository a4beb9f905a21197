use std::io::Write;

use serde::Deserialize;

use super::*;

const DEFAULTS: &str = r#"
# where to listen
listen = "127.0.0.1:7401"
token = "default-token"
retries_max = 3

[limits]
bytes_max = 10
ratio = 0.5
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: String,
    token: Secret,
    retries_max: u32,
    limits: Limits,
    mail: Option<Mail>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    bytes_max: u64,
    ratio: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mail {
    host: String,
    port: u16,
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Violations) {
        problems.require(self.retries_max <= 10, "retries_max", "must be at most 10");
        problems.require(
            self.limits.bytes_max > 0,
            "limits.bytes_max",
            "must be more than 0",
        );
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    load::<Settings>(
        DEFAULTS,
        Some("registry"),
        Some(file.path()),
        env(variables),
    )
    .unwrap_err()
    .problems
}

#[test]
fn later_layers_win_leaf_by_leaf() {
    let file = file(
        "[registry]\nlisten = '127.0.0.1:1'\nlimits.bytes_max = 20\n[deployer]\nanything = 1\n",
    );
    let variables = env(&[
        ("SLIPWAY__REGISTRY__LIMITS__BYTES_MAX", "30"),
        ("SLIPWAY__REGISTRY__LISTEN", "127.0.0.1:2"),
        ("SLIPWAY__REGISTRY__TOKEN", "123"),
        ("SLIPWAY__DEPLOYER__ANYTHING", "1"),
        ("SLIPWAY_REGISTRY", "127.0.0.1:3"),
        ("PATH", "/bin"),
    ]);
    let settings: Settings =
        load(DEFAULTS, Some("registry"), Some(file.path()), variables).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:2");
    assert_eq!(settings.limits.bytes_max, 30);
    assert_eq!(settings.token.expose(), "123");
    assert_eq!(settings.retries_max, 3);
    assert!((settings.limits.ratio - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_table_that_has_no_default_may_come_in_parts() {
    let file = file("[registry.mail]\nhost = 'mail'\n");
    let settings: Settings = load(
        DEFAULTS,
        Some("registry"),
        Some(file.path()),
        env(&[("SLIPWAY__REGISTRY__MAIL__PORT", "25")]),
    )
    .unwrap();
    let mail = settings.mail.unwrap();
    assert_eq!((mail.host.as_str(), mail.port), ("mail", 25));
    assert!(problems("[registry.mail]\nhost = 'mail'\n", &[])[0].contains("missing field `port`"));
}

#[test]
fn all_problems_are_told_at_once_with_their_origin() {
    let found = problems(
        "[registry]\nlisten = 5\nlimits.colour = 'red'\n[registri]\nx = 1\n",
        &[
            ("SLIPWAY__REGISTRY__RETRIES_MAX", "many"),
            ("SLIPWAY__REGISTRI__X", "1"),
        ],
    );
    assert_eq!(found.len(), 5, "{found:#?}");
    let all = found.join("\n");
    for expected in [
        "registry.listen: invalid type: integer `5`",
        "registry.limits.colour: unknown field `colour`",
        "registri: is not a section",
        "SLIPWAY__REGISTRY__RETRIES_MAX: invalid type",
        "SLIPWAY__REGISTRI__X: registri is not one of the sections",
    ] {
        assert!(all.contains(expected), "{expected} is not in\n{all}");
    }
}

#[test]
fn what_validation_finds_is_told_with_its_section() {
    let found = problems("[registry]\nretries_max = 11\nlimits.bytes_max = 0\n", &[]);
    assert_eq!(
        found,
        [
            "registry.retries_max: must be at most 10",
            "registry.limits.bytes_max: must be more than 0"
        ]
    );
}

#[test]
fn a_broken_or_missing_file_is_named() {
    assert!(problems("[registry\n", &[])[0].contains("tmp"));
    let missing = Path::new("/nowhere/slipway.toml");
    let error = load::<Settings>(DEFAULTS, None, Some(missing), env(&[])).unwrap_err();
    assert!(error.to_string().contains("/nowhere/slipway.toml"));
}

#[test]
fn a_secret_shows_itself_to_nobody() {
    let settings: Settings = load(
        DEFAULTS,
        None,
        None,
        env(&[("SLIPWAY__TOKEN", "hunter2"), ("SLIPWAY__RETRIES_MAX", "1")]),
    )
    .unwrap();
    assert_eq!(settings.token.expose(), "hunter2");
    assert!(!format!("{settings:?} {}", settings.token).contains("hunter2"));
    let found = problems("[registry]\ntoken = ['hunter2']\n", &[]).join("\n");
    assert!(!found.contains("hunter2"), "{found}");
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let first = bind("127.0.0.1:0", "registry.listen", false).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(&address.to_string(), "evaluator.listen", false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&address.port().to_string()) && error.contains("evaluator.listen"),
        "{error}"
    );
}

#[tokio::test]
async fn only_loopback_without_an_explicit_insecure() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = bind(address, "gateway.listen", false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--insecure") && error.contains("gateway.listen"),
            "{error}"
        );
    }
    assert!(bind("0.0.0.0:0", "gateway.listen", true).is_ok());
    assert!(bind("localhost:0", "gateway.listen", false).is_ok());
    let error = bind("7401", "gateway.listen", false)
        .unwrap_err()
        .to_string();
    assert!(error.contains("127.0.0.1:7401"), "{error}");
}
