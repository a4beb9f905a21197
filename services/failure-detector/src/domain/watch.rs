//! One subject under judgement, as it lives in memory.
//!
//! A watch takes observations one by one and notices in the same call when its candidate is shown to be worse than
//! allowed; the inputs of that moment are kept until the decision is stored. Then the decision stands: in a rollout
//! for good, in the steady watch until the revision has recovered.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::RevisionName;
use slipway_statistics::sequential::{Arm, Counts, EvidenceParts, OutOfRange};

use super::answering::FailingRun;
use super::logs::Problem;
use super::outcome::Outcome;
use super::policy::{Alphas, Policy};
use super::recent::Recent;
use super::subject::Subject;
use super::trial::Trial;
use super::verdict::{self, Code, Finding, Health, Inputs, Numbers, Observed};
use super::vigil::Vigil;

/// A stored decision that the candidate is degraded.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its id, the same on every way that it travels.
    pub id: String,
    /// The alert that it opened or counted into.
    pub alert: String,
    /// What was found.
    pub finding: Finding,
    /// When.
    pub time: Timestamp,
}

/// What a watch is made of, to store and to go on from.
#[derive(Debug, Clone)]
pub struct WatchState {
    /// What is judged.
    pub subject: Subject,
    /// How.
    pub policy: Policy,
    /// The level of each test.
    pub alphas: Alphas,
    /// The traffic generation of the newest observation or request.
    pub generation: i64,
    /// Whether both revisions have traffic.
    pub concurrent: bool,
    /// The evidence of a rollout; unused by the steady watch.
    pub evidence: EvidenceParts,
    /// The last minutes, of the steady watch.
    pub recent: Recent,
    /// The e-detector's state, of the steady watch.
    pub statistics: Vec<f64>,
    /// The failures in a row.
    pub run: FailingRun,
    /// Whether stable's history was taken into the evidence.
    pub history_used: bool,
    /// When the last observation came.
    pub last_observation: Option<Timestamp>,
    /// When the watch was opened first.
    pub opened: Timestamp,
    /// The decision that stands.
    pub decision: Option<Decision>,
}

/// A watch in memory.
#[derive(Debug)]
pub struct Watch {
    subject: Subject,
    policy: Policy,
    alphas: Alphas,
    generation: i64,
    concurrent: bool,
    mode: Mode,
    run: FailingRun,
    history_used: bool,
    last_observation: Option<Timestamp>,
    opened: Timestamp,
    decision: Option<Decision>,
    pending: Option<Inputs>,
}

#[derive(Debug)]
enum Mode {
    Rollout(Box<Trial>),
    Steady { vigil: Vigil, recent: Recent },
}

impl WatchState {
    /// As it goes on after a stop of the detector: what was answered in the meantime is not known, so no run of
    /// failures spans it.
    pub fn after_a_stop(self) -> Self {
        Self {
            run: FailingRun::default(),
            ..self
        }
    }
}

impl Watch {
    /// A watch without observations.
    pub fn new(
        subject: Subject,
        policy: Policy,
        comparison_share: f64,
        now: Timestamp,
    ) -> Result<Self, OutOfRange> {
        let alphas = Alphas::share(&policy, subject.stable.is_some(), comparison_share);
        Self::resume(WatchState {
            subject,
            policy,
            alphas,
            generation: 0,
            concurrent: false,
            evidence: EvidenceParts::default(),
            recent: Recent::default(),
            statistics: Vec::new(),
            run: FailingRun::default(),
            history_used: false,
            last_observation: None,
            opened: now,
            decision: None,
        })
    }

    /// Goes on where a stored watch was. A rejection that was reached but not stored is pending again.
    pub fn resume(state: WatchState) -> Result<Self, OutOfRange> {
        let mode = mode(
            &state.subject,
            &state.policy,
            state.alphas,
            state.evidence,
            state.recent,
            &state.statistics,
        )?;
        let mut watch = Self {
            subject: state.subject,
            policy: state.policy,
            alphas: state.alphas,
            generation: state.generation,
            concurrent: state.concurrent,
            mode,
            run: state.run,
            history_used: state.history_used,
            last_observation: state.last_observation,
            opened: state.opened,
            decision: state.decision,
            pending: None,
        };
        if let (Mode::Rollout(trial), None) = (&watch.mode, &watch.decision)
            && trial.rejected().is_some()
        {
            watch.pending = Some(watch.inputs(watch.last_observation.unwrap_or(watch.opened)));
        }
        Ok(watch)
    }

    /// Everything to store.
    pub fn state(&self) -> WatchState {
        let (evidence, recent, statistics) = match &self.mode {
            Mode::Rollout(trial) => (trial.parts(), Recent::default(), Vec::new()),
            Mode::Steady { vigil, recent } => {
                (EvidenceParts::default(), recent.clone(), vigil.statistics())
            }
        };
        WatchState {
            subject: self.subject.clone(),
            policy: self.policy.clone(),
            alphas: self.alphas,
            generation: self.generation,
            concurrent: self.concurrent,
            evidence,
            recent,
            statistics,
            run: self.run,
            history_used: self.history_used,
            last_observation: self.last_observation,
            opened: self.opened,
            decision: self.decision.clone(),
        }
    }

    /// What is judged.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// How.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The level of each test.
    pub fn alphas(&self) -> Alphas {
        self.alphas
    }

    /// When the last observation came.
    pub fn last_observation(&self) -> Option<Timestamp> {
        self.last_observation
    }

    /// When it was opened first.
    pub fn opened(&self) -> Timestamp {
        self.opened
    }

    /// The decision that stands.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// Follows a request that opens the watch again: new rules, a new generation, a step without stable traffic.
    /// `stable_history` is what stable did lately, for such a step.
    pub fn reopen(
        &mut self,
        policy: Policy,
        comparison_share: f64,
        generation: i64,
        concurrent: bool,
        stable_history: Counts,
        now: Timestamp,
    ) -> Result<(), OutOfRange> {
        if policy != self.policy {
            let state = WatchState {
                alphas: Alphas::share(&policy, self.subject.stable.is_some(), comparison_share),
                policy,
                ..self.state()
            };
            let pending = self.pending.take();
            *self = Self::resume(state)?;
            self.pending = self.pending.take().or(pending);
        }
        self.advance(generation);
        self.concurrent = concurrent;
        let wants_history = !concurrent && !self.history_used && self.subject.stable.is_some();
        if let Mode::Rollout(trial) = &mut self.mode
            && wants_history
            && stable_history.observations > 0
            && trial.total(Arm::Stable).observations == 0
        {
            trial.record_history(stable_history);
            self.history_used = true;
        }
        self.notice(now);
        Ok(())
    }

    /// Takes one observation of a revision of the endpoint; true if it is one that this watch judges.
    pub fn observe(
        &mut self,
        revision: &RevisionName,
        outcome: Outcome,
        generation: i64,
        now: Timestamp,
    ) -> bool {
        let Some(arm) = self.subject.arm(revision) else {
            return false;
        };
        self.advance(generation);
        self.last_observation = Some(now);
        let failed = outcome.is_failure(&self.policy.grpc_failure_codes);
        if arm == Arm::Candidate {
            let window = self.policy.stopped_answering_after;
            self.run.observe(failed, window, now);
        }
        let alarmed = match (&mut self.mode, arm) {
            (Mode::Rollout(trial), _) => trial.observe(arm, failed),
            (Mode::Steady { vigil, recent }, Arm::Candidate) => {
                recent.observe(failed, now);
                vigil.observe(failed)
            }
            (Mode::Steady { .. }, Arm::Stable) => false,
        };
        if alarmed && self.may_decide() {
            self.pending = Some(self.inputs(now));
        }
        true
    }

    /// The inputs of a decision that was reached and is not stored yet.
    pub fn pending(&mut self, now: Timestamp) -> Option<Inputs> {
        let stopped = self
            .run
            .stopped_answering(self.policy.stopped_answering_after, now);
        if self.pending.is_none() && stopped && self.decision.is_none() {
            self.pending = Some(self.inputs(now));
        }
        self.pending.clone()
    }

    /// The inputs that were pending lead to no decision: goes on from the counts alone.
    pub fn dismiss(&mut self) {
        self.pending = None;
        if let Mode::Rollout(trial) = &mut self.mode {
            let has_stable = self.subject.stable.is_some();
            // The rules were in range when the watch was made.
            if let Ok(afresh) = Trial::resume(&self.policy, self.alphas, has_stable, trial.parts())
            {
                **trial = afresh;
            }
        }
    }

    /// The decision is stored. The steady watch goes on, for the next alarm and for recovery.
    pub fn decided(&mut self, decision: Decision) {
        self.pending = None;
        self.decision = Some(decision);
        if let Mode::Steady { vigil, .. } = &mut self.mode {
            vigil.alarm_taken();
            self.run = FailingRun::default();
        }
    }

    /// Whether the steady watch's revision has recovered from the decision that stands.
    pub fn recovered(&self) -> bool {
        match &self.mode {
            Mode::Steady { vigil, .. } => {
                self.decision.is_some() && vigil.recovered(self.alphas.healthy)
            }
            Mode::Rollout(_) => false,
        }
    }

    /// The decision no longer stands.
    pub fn clear_decision(&mut self) {
        self.decision = None;
    }

    /// The reason of the finding, without its numbers. `problem`: why nothing can be measured.
    pub fn code(&mut self, problem: Option<&Problem>, now: Timestamp) -> Code {
        if let Some(decision) = &self.decision {
            return decision.finding.code;
        }
        if let Some(problem) = problem {
            return problem.code;
        }
        let code = match &mut self.mode {
            Mode::Rollout(trial) => trial.verdict(),
            Mode::Steady { vigil, recent } => vigil.verdict(recent.total(now), self.alphas.healthy),
        };
        // What is not stored yet is not said yet.
        if code.health() == Health::Degraded || self.pending.is_some() {
            Code::MoreNeeded
        } else {
            code
        }
    }

    /// The finding with its numbers; the numbers of a decision are those of its moment.
    pub fn finding(&mut self, problem: Option<&Problem>, now: Timestamp) -> Finding {
        if let Some(decision) = &self.decision {
            return decision.finding.clone();
        }
        let code = self.code(problem, now);
        let numbers = self.numbers(now);
        let text = match problem {
            Some(problem) if problem.code == code => problem.text.clone(),
            _ => verdict::words(code, &self.inputs(now), &numbers),
        };
        Finding {
            code,
            text,
            numbers,
        }
    }

    fn numbers(&mut self, now: Timestamp) -> Numbers {
        let numbers = match &mut self.mode {
            Mode::Rollout(trial) => trial.numbers(),
            Mode::Steady { vigil, recent } => vigil.numbers(recent.total(now)),
        };
        self.notice(now);
        numbers
    }

    /// A rejection that came about without an observation, by a closer look, is as pending as any other.
    fn notice(&mut self, now: Timestamp) {
        if let Mode::Rollout(trial) = &self.mode
            && trial.rejected().is_some()
            && self.may_decide()
        {
            self.pending = Some(self.inputs(now));
        }
    }

    /// Everything that judging needs, as plain data.
    pub fn inputs(&self, now: Timestamp) -> Inputs {
        let observed = match &self.mode {
            Mode::Rollout(trial) => Observed::Rollout(trial.parts()),
            Mode::Steady { vigil, recent } => Observed::Steady {
                recent: recent.total(now),
                statistics: vigil.statistics(),
            },
        };
        Inputs {
            policy: self.policy.clone(),
            alphas: self.alphas,
            has_stable: self.subject.stable.is_some(),
            observed,
            run: self.run,
            now,
        }
    }

    fn advance(&mut self, generation: i64) {
        if generation > self.generation {
            self.generation = generation;
            if let Mode::Rollout(trial) = &mut self.mode {
                trial.start_segment();
            }
        }
    }

    /// A rollout's decision stands for good; the steady watch may raise the same alarm again.
    fn may_decide(&self) -> bool {
        self.pending.is_none()
            && match self.mode {
                Mode::Rollout(_) => self.decision.is_none(),
                Mode::Steady { .. } => true,
            }
    }
}

fn mode(
    subject: &Subject,
    policy: &Policy,
    alphas: Alphas,
    evidence: EvidenceParts,
    recent: Recent,
    statistics: &[f64],
) -> Result<Mode, OutOfRange> {
    if subject.rollout.is_some() {
        let trial = Trial::resume(policy, alphas, subject.stable.is_some(), evidence)?;
        return Ok(Mode::Rollout(Box::new(trial)));
    }
    let mut vigil = Vigil::new(policy)?;
    vigil.resume(statistics);
    Ok(Mode::Steady { vigil, recent })
}

#[cfg(test)]
mod tests;
