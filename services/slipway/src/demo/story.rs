//! What happens, in order. Each act waits for what the control plane does by itself, and ends the story with the
//! reason if that is something else.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::{self as deployer, rollout::Phase};
use slipway_proto::evaluator::v1 as evaluator;
use slipway_proto::registry::v1 as registry;

use crate::client::Clients;
use crate::output::last;

use super::follow;
use super::screen::Screen;
use super::setup;
use super::users::Users;
use super::versions::{Trained, describe};
use super::words::{AFTERMATH, EVALUATION_COMPLETED, POLL, RULE, SOON};

pub struct Story<'a> {
    clients: &'a Clients,
    screen: &'a Screen,
    users: &'a Users,
}

impl<'a> Story<'a> {
    pub fn new(clients: &'a Clients, screen: &'a Screen, users: &'a Users) -> Story<'a> {
        Story {
            clients,
            screen,
            users,
        }
    }

    pub async fn tell(&self) -> anyhow::Result<()> {
        setup::create(self.clients).await?;
        self.screen.note(
            "a model, a suite, an environment that asks for evidence, an endpoint, a rule: PASS → deploy",
        );
        self.is_released(Recipe::First).await?;
        self.is_released(Recipe::AllFeatures).await?;
        self.is_refused(Recipe::MisjoinedLabels).await?;
        self.is_rolled_back(Recipe::Banded).await?;
        self.goes_on_serving().await
    }

    async fn is_released(&self, recipe: Recipe) -> anyhow::Result<()> {
        let version = self.is_registered(recipe).await?;
        self.passes(&version).await?;
        let rollout = self.rolls_out(&version).await?;
        ensure!(
            rollout.phase() == Phase::Succeeded,
            "the rollout of {} ended as {}: {}",
            version.name,
            rollout.phase().as_str_name(),
            rollout.reason
        );
        follow::champion(self.clients, &version.name).await?;
        self.screen.good(&format!(
            "version {} is promoted, and the champion",
            version.number
        ));
        Ok(())
    }

    async fn is_refused(&self, recipe: Recipe) -> anyhow::Result<()> {
        let version = self.is_registered(recipe).await?;
        let evaluation = self.is_evaluated(&version).await?;
        ensure!(
            evaluation.verdict() == Verdict::Fail,
            "the evaluation of {} ended as {}",
            version.name,
            evaluation.verdict().as_str_name()
        );
        let explained = follow::rule_on(
            self.clients,
            RULE,
            EVALUATION_COMPLETED,
            &version.name,
            Verdict::Fail,
        )
        .await
        .context("asking the rule")?;
        for rule in &explained {
            let rule = format!("{}: {}", last(&rule.rule), rule.text);
            self.screen.note(&rule);
        }
        let Some(refusal) = follow::refusal(self.clients, &version.name).await? else {
            bail!(
                "{} failed its evaluation, and could be deployed by hand",
                version.name
            );
        };
        self.screen.note(&format!("by hand: {refusal}"));
        self.screen
            .good(&format!("version {} is refused", version.number));
        Ok(())
    }

    async fn is_rolled_back(&self, recipe: Recipe) -> anyhow::Result<()> {
        let version = self.is_registered(recipe).await?;
        self.passes(&version).await?;
        let rollout = self.rolls_out(&version).await?;
        ensure!(
            rollout.phase() == Phase::RolledBack,
            "the rollout of {} ended as {}: {}",
            version.name,
            rollout.phase().as_str_name(),
            rollout.reason
        );
        let revision = &rollout.candidate;
        let alert = follow::until("the alert", SOON, async || {
            follow::alert_on(self.clients, revision).await
        })
        .await?;
        self.screen
            .note(&format!("alert {}: {}", alert.code, alert.text));
        let seen = self.users.seen().tally;
        let tally = seen.revisions.get(last(revision));
        if let Some(example) = tally.and_then(|tally| tally.examples.first()) {
            let saw = format!("what users saw: {}", example.outcome);
            self.screen.note(&saw);
        }
        self.screen.good(&format!(
            "version {} is rolled back and blocked on this endpoint",
            version.number
        ));
        Ok(())
    }

    async fn goes_on_serving(&self) -> anyhow::Result<()> {
        let live = self.screen.live("serving");
        let begun = Instant::now();
        let before = self.users.seen().tally.requests;
        let mut served = 0;
        while begun.elapsed() < AFTERMATH {
            tokio::time::sleep(POLL).await;
            served = self.users.seen().tally.requests - before;
            let share = begun.elapsed().as_secs_f64() / AFTERMATH.as_secs_f64();
            live.show(share, "the last good version");
        }
        ensure!(served > 0, "nothing was served after the rollback");
        live.done(&format!("{served} requests since the rollback"));
        Ok(())
    }

    async fn is_registered(&self, recipe: Recipe) -> anyhow::Result<registry::Version> {
        let live = self.screen.live("training");
        live.show(0.0, describe(recipe));
        let trained = Trained::by(recipe).await.context("training")?;
        let version = trained.register(self.clients).await?;
        live.clear();
        self.screen
            .title(&format!("Version {}: {}", version.number, describe(recipe)));
        self.screen
            .note(&format!("registered  {} {}", version.name, version.digest));
        Ok(version)
    }

    async fn passes(&self, version: &registry::Version) -> anyhow::Result<()> {
        let evaluation = self.is_evaluated(version).await?;
        if evaluation.verdict() == Verdict::Pass {
            return Ok(());
        }
        let reasons: Vec<&str> = evaluation
            .reasons
            .iter()
            .map(|one| one.text.as_str())
            .collect();
        bail!(
            "the evaluation of {} ended as {}: {}",
            version.name,
            evaluation.verdict().as_str_name(),
            reasons.join("; ")
        )
    }

    async fn is_evaluated(
        &self,
        version: &registry::Version,
    ) -> anyhow::Result<evaluator::Evaluation> {
        let live = self.screen.live("evaluation");
        let evaluation = follow::evaluation(self.clients, &version.name, &live).await?;
        live.done(&format!(
            "{} on {} held-out rows",
            evaluation.verdict().as_str_name(),
            evaluation.rows_read
        ));
        for reason in evaluation.reasons.iter().filter(|one| !one.not_applicable) {
            let mark = reason.verdict().as_str_name().to_lowercase();
            self.screen
                .line(&format!("          {mark}  {}", reason.text));
        }
        Ok(evaluation)
    }

    async fn rolls_out(&self, version: &registry::Version) -> anyhow::Result<deployer::Rollout> {
        let live = self.screen.live("rollout");
        let rollout = follow::rollout(self.clients, self.users, &version.name, &live).await?;
        let phase = rollout
            .phase()
            .as_str_name()
            .to_lowercase()
            .replace('_', " ");
        let why = match rollout.phase() {
            Phase::Succeeded => String::new(),
            _ => format!(": {}", rollout.reason),
        };
        live.done(&format!("{} {phase}{why}", last(&rollout.candidate)));
        Ok(rollout)
    }
}
