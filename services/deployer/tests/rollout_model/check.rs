//! What must hold: of a state, and of a transition between two.

use slipway_deployer::domain::decide::{Decision, decide};
use slipway_deployer::domain::rollout::{
    Command, PausedFrom, Phase, Rejected, Rollout, RolloutEvent, Verdict,
};
use slipway_deployer::domain::serving::Serving;
use slipway_platform::clock::Timestamp;
use stateright::Property;

use crate::environment::Environment;
use crate::world::{Action, CANDIDATE, World, judged};

const NOW: Timestamp = Timestamp(0);

const UNREADY: &str = "2: traffic was given to a revision that was not ready";
const REVIVED: &str = "5, 12: a candidate got traffic back after its rollback";
const STALE_FORWARD: &str =
    "5: a forward command applied at another generation than it was decided on";
const NO_EVIDENCE: &str = "7: moved forward without HEALTHY and without a waiver";
const UNAPPLIED: &str = "7: moved forward on traffic that proxies had not accepted";
const BLIND: &str = "7: UNMEASURABLE moved traffic";
const TWICE: &str = "9: an event that came twice had two effects";
const PIN_BROKEN: &str = "13: automation changed pinned traffic";
const CUT_OFF: &str = "a revision was stopped while proxies sent it requests";
const BREACHES: [&str; 9] = [
    UNREADY,
    REVIVED,
    STALE_FORWARD,
    NO_EVIDENCE,
    UNAPPLIED,
    BLIND,
    TWICE,
    PIN_BROKEN,
    CUT_OFF,
];

pub fn properties() -> Vec<Property<Environment>> {
    let mut properties: Vec<Property<Environment>> = vec![
        Property::always("2: traffic sums to 100 or is empty", |_, world: &World| {
            let sum: u32 = world
                .serving
                .traffic
                .targets()
                .iter()
                .map(|target| u32::from(target.percent))
                .sum();
            sum == 100 || world.serving.traffic.is_empty()
        }),
        Property::always(
            "5: an abort takes all traffic from the candidate, in any phase",
            |_, world: &World| abort_wins(world),
        ),
        Property::always(
            "5: DEGRADED does, unless a person's pin holds",
            |_, world: &World| degraded_wins(world),
        ),
        Property::always(
            "6: exactly the phases that are not an end have a deadline",
            |_, world: &World| world.rollout.deadline.is_some() != world.rollout.ended(),
        ),
        Property::always(
            "6: a deadline that has passed leads somewhere",
            |_, world: &World| expiry_leads_on(world),
        ),
        Property::always(
            "12: what was rolled back is blocked",
            |_, world: &World| match &world.rollout.phase {
                Phase::RollingBack(back) if back.why.blocks() => {
                    world.serving.blocked.contains(&world.rollout.candidate)
                }
                Phase::RolledBack { why } if why.blocks() => {
                    world.serving.blocked.contains(&world.rollout.candidate)
                }
                _ => true,
            },
        ),
        Property::sometimes("a rollout succeeds", |_, world: &World| {
            world.rollout.phase == Phase::Succeeded
        }),
        Property::sometimes("a rollout goes back", |_, world: &World| {
            world.rollout.rollback.is_some()
        }),
        Property::sometimes(
            "a rollback is withheld",
            |_, world: &World| matches!(&world.rollout.phase, Phase::Paused(paused) if paused.withheld.is_some()),
        ),
    ];
    // One property for each, since a property is a plain function.
    macro_rules! no_breach {
        ($($index:literal)*) => {
            $(properties.push(Property::always(BREACHES[$index], |_, world: &World| world.breach != Some(BREACHES[$index])));)*
        };
    }
    no_breach!(0 1 2 3 4 5 6 7 8);
    properties
}

fn share(serving: &Serving) -> u8 {
    serving.traffic.percent_of(CANDIDATE)
}

/// Carries traffic that it was given by a rollout that has not ended and is not on its way back.
fn carries(rollout: &Rollout, serving: &Serving) -> bool {
    let under_way = !rollout.ended() && !matches!(rollout.phase, Phase::RollingBack(_));
    under_way && rollout.carried && rollout.candidate == CANDIDATE && share(serving) > 0
}

fn abort_wins(world: &World) -> bool {
    if !carries(&world.rollout, &world.serving) {
        return true;
    }
    let abort = RolloutEvent::Abort {
        reason: String::new(),
        to: None,
        unpin: true,
    };
    decide(&world.rollout, &world.serving, &abort, NOW)
        .is_ok_and(|decision| share(&decision.serving) == 0)
}

fn degraded_wins(world: &World) -> bool {
    if !carries(&world.rollout, &world.serving) || world.serving.pin.is_some() {
        return true;
    }
    (0..=world.serving.generation).all(|generation| {
        decide(
            &world.rollout,
            &world.serving,
            &judged(Verdict::Degraded, generation),
            NOW,
        )
        .is_ok_and(|decision| share(&decision.serving) == 0)
    })
}

fn expiry_leads_on(world: &World) -> bool {
    let Some(deadline) = world.rollout.deadline else {
        return true;
    };
    decide(
        &world.rollout,
        &world.serving,
        &RolloutEvent::Tick,
        deadline,
    )
    .is_ok_and(|decision| {
        let moved = decision.rollout.phase.name() != world.rollout.phase.name();
        let armed = decision
            .rollout
            .deadline
            .is_some_and(|next| next > deadline);
        moved || armed
    })
}

/// What must hold between two states. `None`: all of it did.
pub fn transition(before: &World, action: &Action, after: &World) -> Option<&'static str> {
    let changed = before.serving.generation != after.serving.generation;
    let by_hand = matches!(action, Action::PersonPins(_));
    let unpins = matches!(
        action,
        Action::PersonSays(RolloutEvent::Abort { unpin: true, .. }) | Action::PinExpires
    );
    if changed && before.serving.pin.is_some() && !by_hand && !unpins {
        return Some(PIN_BROKEN);
    }
    if let Action::Stop(revision) = action
        && before.serving.ready.contains(revision)
        && !after.serving.ready.contains(revision)
        && before.proxies.carries(*revision)
    {
        return Some(CUT_OFF);
    }
    let grown = share(&after.serving) > share(&before.serving) && !by_hand;
    if grown && before.rollout.rollback.is_some() && before.rollout.candidate == CANDIDATE {
        return Some(REVIVED);
    }
    if changed
        && matches!(
            action,
            Action::Deliver(RolloutEvent::Judged {
                verdict: Verdict::Unmeasurable,
                ..
            })
        )
    {
        return Some(BLIND);
    }
    moved_forward(before, action, after)
}

/// Forward is the next step, the soak, or success.
fn moved_forward(before: &World, action: &Action, after: &World) -> Option<&'static str> {
    let stage = before.rollout.phase.stage()?;
    if place(&after.rollout) <= place(&before.rollout) {
        return None;
    }
    let own = stage.generation();
    let accepted_now = matches!(
        action,
        Action::Deliver(RolloutEvent::TrafficApplied { generation, except })
            if Some(*generation) == own && except.is_empty()
    );
    if stage.applied_since().is_none() && !accepted_now {
        return Some(UNAPPLIED);
    }
    let healthy_now = matches!(
        action,
        Action::Deliver(RolloutEvent::Judged { verdict: Verdict::Healthy, generation, .. }) if Some(*generation) == own
    );
    let healthy = healthy_now || stage.verdict() == Verdict::Healthy;
    let waived = after.rollout.waivers.len() > before.rollout.waivers.len();
    // A person's "to the end" was waived when it was said; only the proxies were waited for.
    let forced = matches!(&before.rollout.phase, Phase::Soaking(soaking) if soaking.forced);
    (!waived && !forced && !healthy).then_some(NO_EVIDENCE)
}

/// How far forward it is.
fn place(rollout: &Rollout) -> usize {
    match &rollout.phase {
        Phase::Pending(_) | Phase::Provisioning | Phase::Checking => 0,
        Phase::Shifting(shifting) => 1 + shifting.step,
        Phase::Soaking(_) => 10,
        Phase::Succeeded => 20,
        Phase::Paused(paused) => match &paused.from {
            PausedFrom::Provisioning | PausedFrom::Checking => 0,
            PausedFrom::Shifting(shifting) => 1 + shifting.step,
            PausedFrom::Soaking(_) => 10,
        },
        Phase::RollingBack(_) | Phase::RolledBack { .. } | Phase::Failed { .. } => 0,
    }
}

/// The same event again must not move traffic or queue work. What people say is theirs to repeat.
pub fn once(
    event: &RolloutEvent,
    first: &Decision,
    again: Result<Decision, Rejected>,
) -> Option<&'static str> {
    let said = matches!(
        event,
        RolloutEvent::Promote { .. }
            | RolloutEvent::Pause { .. }
            | RolloutEvent::Resume
            | RolloutEvent::Tick
    );
    let Ok(again) = again else { return None };
    let moved = again.serving != first.serving;
    let queued = again
        .queued()
        .any(|command| !first.queued().any(|done| done == command));
    (!said && (moved || queued)).then_some(TWICE)
}

/// Forward traffic is compare-and-set, and only for what is ready.
pub fn forward(before: &Serving, decision: &Decision) -> Option<&'static str> {
    if before.generation == decision.serving.generation {
        return None;
    }
    for command in &decision.commands {
        let Command::SetTraffic { expected, traffic } = command else {
            continue;
        };
        if decision.serving.traffic != *traffic {
            continue;
        }
        if *expected != before.generation {
            return Some(STALE_FORWARD);
        }
        let unready = |target: &&slipway_deployer::domain::traffic::Target| {
            !before.ready.contains(&target.revision) && !before.traffic.carries(target.revision)
        };
        if traffic.targets().iter().any(|target| unready(&target)) {
            return Some(UNREADY);
        }
    }
    None
}
