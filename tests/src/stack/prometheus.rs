//! A Prometheus that scrapes the services of a story, with the product's alerting rules.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::http;
use super::ports;
use crate::plane::path_text;
use crate::process::Process;
use crate::until;

/// A Prometheus on a busy machine is ready by then.
const READY: Duration = Duration::from_secs(40);
const RULES: &str = include_str!("../../../deploy/alerts/slipway.rules.yaml");

/// A Prometheus; it ends when it is dropped.
pub struct Prometheus {
    address: String,
    _process: Process,
}

impl Prometheus {
    /// Starts one that scrapes these jobs each second. The rules are the product's, but that nothing has to last for
    /// minutes before it is told.
    pub async fn start(binary: &Path, jobs: &[(String, SocketAddr)], home: &Path) -> Result<Self> {
        let port = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let mut rules = String::new();
        for line in RULES.lines() {
            let told = line.trim_start().starts_with("for: ");
            rules.push_str(if told { "        for: 2s" } else { line });
            rules.push('\n');
        }
        ensure!(rules != RULES, "rules wait for something");
        std::fs::write(home.join("rules.yaml"), rules)?;
        let mut settings = String::from(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n",
        );
        for (job, address) in jobs {
            settings.push_str(&format!(
                "  - {{job_name: {job}, static_configs: [{{targets: ['{address}']}}]}}\n"
            ));
        }
        let file = home.join("prometheus.yaml");
        std::fs::write(&file, settings)?;
        let arguments = [
            format!("--config.file={}", path_text(&file)?),
            format!(
                "--storage.tsdb.path={}",
                path_text(&home.join("prometheus"))?
            ),
            format!("--web.listen-address={port}"),
        ];
        let log = home.join("prometheus.log");
        let prometheus = Self {
            address: format!("http://{port}"),
            _process: Process::spawn("prometheus", binary, &arguments, &[], log)?,
        };
        until("Prometheus", READY, async || {
            let ready = format!("{}/-/ready", prometheus.address);
            Ok(http::get(&ready).await.ok())
        })
        .await?;
        Ok(prometheus)
    }

    /// The jobs that answer.
    pub async fn answering(&self) -> Result<BTreeSet<String>> {
        let targets = self.ask("targets").await?;
        let targets = targets["activeTargets"].as_array().context("targets")?;
        let up = targets.iter().filter(|target| target["health"] == "up");
        Ok(up.map(|target| text(&target["labels"]["job"])).collect())
    }

    /// The alerts that fire, each with its job, or with nothing.
    pub async fn firing(&self) -> Result<BTreeSet<(String, String)>> {
        let alerts = self.ask("alerts").await?;
        let alerts = alerts["alerts"].as_array().context("alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let labels = firing.map(|alert| &alert["labels"]);
        Ok(labels
            .map(|labels| (text(&labels["alertname"]), text(&labels["job"])))
            .collect())
    }

    /// Waits until the rules have been looked at several times more: what is to be told, is told then.
    pub async fn evaluates_again(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        until("the rules to be evaluated", READY, async || {
            let rules = self.ask("rules").await?;
            let groups = rules["groups"].as_array().context("groups")?;
            seen.extend(groups.iter().map(|group| text(&group["lastEvaluation"])));
            Ok((seen.len() > 4).then_some(()))
        })
        .await
    }

    async fn ask(&self, what: &str) -> Result<Value> {
        let answer = http::get(&format!("{}/api/v1/{what}", self.address)).await?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        Ok(answer["data"].take())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
