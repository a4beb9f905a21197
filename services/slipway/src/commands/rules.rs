//! `slipway rules`: what follows from which event, and why it did or did not.

use std::path::{Path, PathBuf};

use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::explain_rule_request::{Event, HypotheticalEvent};
use slipway_proto::deployer::v1::{
    ApplyRuleRequest, ExplainRuleRequest, GetRuleRequest, ListRulesRequest, ListRulesResponse,
    Rule, RuleExplanation,
};

use crate::cli::Group;
use crate::client::{ListArgs, new_request_id};
use crate::failure::{Exit, Failure};
use crate::output::{last, time};
use crate::{documents, names};

/// What can be done with rules.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Create or change the rules of a YAML file, one to a document.
    Apply {
        /// The YAML file; - for standard input.
        #[arg(short, long)]
        file: PathBuf,
        /// Check everything and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List rules.
    List {
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a rule.
    Get {
        /// The rule.
        rule: String,
    },
    /// Say why rules did or did not act on an event, or would act on one that might come.
    Explain(ExplainArgs),
}

/// An event, past or possible.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// One rule; all when left out.
    rule: Option<String>,
    /// The id of an event that was handled.
    #[arg(long, required_unless_present = "event_type", conflicts_with_all = ["event_type", "verdict", "version", "endpoint", "revision"])]
    event: Option<String>,
    /// The type of an event that might come: evaluation.completed, anomaly.detected, or in full.
    #[arg(long)]
    event_type: Option<String>,
    /// Its verdict.
    #[arg(long, value_enum)]
    verdict: Option<VerdictWord>,
    /// Its version, such as dev/tumor:3.
    #[arg(long)]
    version: Option<String>,
    /// Its endpoint, such as production/tumor.
    #[arg(long)]
    endpoint: Option<String>,
    /// Its revision, such as tumor-00002; needs --endpoint.
    #[arg(long, requires = "endpoint")]
    revision: Option<String>,
}

/// A verdict on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum VerdictWord {
    /// Everything held.
    Pass,
    /// Something did not hold.
    Fail,
    /// Not enough evidence.
    Inconclusive,
    /// Could not be measured.
    Error,
}

impl From<VerdictWord> for Verdict {
    fn from(word: VerdictWord) -> Self {
        match word {
            VerdictWord::Pass => Verdict::Pass,
            VerdictWord::Fail => Verdict::Fail,
            VerdictWord::Inconclusive => Verdict::Inconclusive,
            VerdictWord::Error => Verdict::Error,
        }
    }
}

/// Does what `slipway rules …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    let mut deployer = clients.deployer;
    match group.action {
        Action::Apply { file, dry_run } => {
            let mut applied = Vec::new();
            for rule in document(&file)? {
                let request = ApplyRuleRequest {
                    rule: Some(rule),
                    validate_only: dry_run,
                    request_id: new_request_id(),
                };
                applied.push(deployer.apply_rule(request).await?.into_inner());
            }
            let answer = ListRulesResponse {
                rules: applied,
                next_page_token: String::new(),
            };
            output.list(&answer, HEADER, |answer| {
                answer.rules.iter().map(row).collect()
            })?;
        }
        Action::List { list } => {
            let (rules, next_page_token) = list
                .pages(async |page_size, page_token| {
                    let page = deployer
                        .list_rules(ListRulesRequest {
                            page_size,
                            page_token,
                        })
                        .await?
                        .into_inner();
                    Ok((page.rules, page.next_page_token))
                })
                .await?;
            let answer = ListRulesResponse {
                rules,
                next_page_token,
            };
            output.list(&answer, HEADER, |answer| {
                answer.rules.iter().map(row).collect()
            })?;
        }
        Action::Get { rule } => {
            let name = names::rule(&rule)?.to_string();
            output.one(
                deployer.get_rule(GetRuleRequest { name }).await?.get_ref(),
                details,
            )?;
        }
        Action::Explain(args) => {
            let answer = deployer.explain_rule(question(args)?).await?.into_inner();
            let header = &["RULE", "ENDPOINT", "MATCHED", "ACTED", "CODE", "WHY"];
            output.list(&answer, header, |answer| {
                answer.explanations.iter().map(explanation).collect()
            })?;
        }
    }
    Ok(Exit::Ok)
}

fn document(file: &Path) -> Result<Vec<Rule>, Failure> {
    let text = documents::read(file)?;
    documents::parse(file, &text, |document| {
        documents::lengthen(document, "name", |text| Ok(names::rule(text)?.to_string()))?;
        documents::lengthen(document, "environment", |text| {
            Ok(names::environment(text)?.to_string())
        })?;
        documents::lengthen(document, "endpoint", |text| {
            Ok(names::endpoint(text)?.to_string())
        })?;
        documents::lengthen(
            document,
            "model",
            |text| Ok(names::model(text)?.to_string()),
        )?;
        for key in ["event_type", "eventType"] {
            documents::lengthen(document, key, |text| Ok(event_type(text)))?;
        }
        Ok(())
    })
}

/// `evaluation.completed` for `io.slipway.evaluation.completed.v1`.
fn event_type(text: &str) -> String {
    if text.starts_with("io.slipway.") {
        text.to_owned()
    } else {
        format!("io.slipway.{text}.v1")
    }
}

fn question(args: ExplainArgs) -> Result<ExplainRuleRequest, Failure> {
    let rule = args.rule.as_deref().map(names::rule).transpose()?;
    let event = match args.event {
        Some(id) => Event::EventId(id),
        None => {
            let endpoint = args.endpoint.as_deref().map(names::endpoint).transpose()?;
            let revision = match (&endpoint, &args.revision) {
                (Some(endpoint), Some(revision)) => {
                    names::revision(endpoint, revision)?.to_string()
                }
                _ => String::new(),
            };
            let version = args.version.as_deref().map(names::version).transpose()?;
            Event::Hypothetical(HypotheticalEvent {
                event_type: args
                    .event_type
                    .as_deref()
                    .map(event_type)
                    .unwrap_or_default(),
                verdict: args
                    .verdict
                    .map_or(Verdict::Unspecified, Verdict::from)
                    .into(),
                version: version
                    .map(|version| version.to_string())
                    .unwrap_or_default(),
                endpoint: endpoint
                    .map(|endpoint| endpoint.to_string())
                    .unwrap_or_default(),
                revision,
            })
        }
    };
    Ok(ExplainRuleRequest {
        rule: rule.map(|rule| rule.to_string()).unwrap_or_default(),
        event: Some(event),
    })
}

const HEADER: &[&str] = &["RULE", "ON", "VERDICT", "ENVIRONMENT", "DOES", "STATE"];

fn verdict(rule: &Rule) -> String {
    match rule.verdict() {
        Verdict::Unspecified => "any".to_owned(),
        verdict => verdict.as_str_name().to_owned(),
    }
}

fn state(rule: &Rule) -> &'static str {
    if rule.disabled { "DISABLED" } else { "ACTIVE" }
}

fn row(rule: &Rule) -> Vec<String> {
    vec![
        last(&rule.name).to_owned(),
        rule.event_type.clone(),
        verdict(rule),
        last(&rule.environment).to_owned(),
        rule.command().as_str_name().to_owned(),
        state(rule).to_owned(),
    ]
}

fn details(rule: &Rule) -> Vec<(&'static str, String)> {
    vec![
        ("name", rule.name.clone()),
        ("description", rule.description.clone()),
        ("on", rule.event_type.clone()),
        ("verdict", verdict(rule)),
        ("environment", last(&rule.environment).to_owned()),
        ("endpoint", names::short(&rule.endpoint)),
        ("model", names::short(&rule.model)),
        ("does", rule.command().as_str_name().to_owned()),
        ("state", state(rule).to_owned()),
        ("changed", time(&rule.update_time)),
    ]
}

fn explanation(explanation: &RuleExplanation) -> Vec<String> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    vec![
        last(&explanation.rule).to_owned(),
        names::short(&explanation.endpoint),
        yes(explanation.matched),
        yes(explanation.acted),
        explanation.code.clone(),
        explanation.text.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_of_rules_takes_short_names() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(
            file,
            "name: deploy-what-passes\nevent_type: evaluation.completed\nverdict: PASS\nenvironment: production\n\
             model: dev/tumor\ncommand: DEPLOY\n---\nname: roll-back\nevent_type: io.slipway.anomaly.detected.v1\n\
             environment: production\ncommand: ROLLBACK"
        )
        .unwrap();
        let rules = document(file.path()).unwrap();
        assert_eq!(rules[0].name, "rules/deploy-what-passes");
        assert_eq!(rules[0].event_type, "io.slipway.evaluation.completed.v1");
        assert_eq!(rules[0].environment, "environments/production");
        assert_eq!(rules[0].verdict(), Verdict::Pass);
        assert_eq!(rules[1].event_type, "io.slipway.anomaly.detected.v1");
    }
}
