//! `slipway demo`: a real release, from registration to automatic rollback, with real requests all the while.
//!
//! It starts the control plane in this process, trains four versions of a model on real data, and talks to the
//! control plane through its public gRPC APIs and to the model through the gateway, as any client would; nothing
//! in the control plane knows that it is a demo. What it says at the end was observed: every figure comes
//! from an API or from the load's own count, and every expectation of the story is checked there.
//!
//! - [`setup`] creates the resources, [`versions`] trains and registers, [`follow`] waits and watches;
//! - [`story`] is the order of events, [`observed`] what came of it and whether it went as it should;
//! - [`plane`] starts and stops the control plane, [`screen`] is what a person sees.

mod args;
mod follow;
mod observed;
mod plane;
mod processes;
mod screen;
mod setup;
mod story;
mod users;
mod versions;
mod words;

use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use args::DemoArgs;
pub use slipway_examples::model_server::Args as ModelServerArgs;

use crate::client::Clients;
use crate::failure::Failure;
use crate::up::Signals;
use observed::Observed;
use plane::Plane;
use screen::Screen;
use story::Story;
use users::Users;

/// The story ends by then, well or not.
const STORY_LIMIT: Duration = Duration::from_secs(180);
/// What users go on sending after the story.
const AFTERWARDS_PER_SECOND: f64 = 20.0;

/// Lives the story; the exit code is 0 only if it went as it should.
pub async fn run(args: DemoArgs) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let mut signals = Signals::install()?;
    let screen = Screen::new(args.output_json(), begun);
    let plane = Plane::start(&args).await?;
    let clients = Clients::new(plane.addresses())?;
    let users = Users::new(plane.gateway())?;
    let scene = Scene {
        args: &args,
        begun,
        screen: &screen,
        plane: &plane,
        clients: &clients,
        users: &users,
    };
    let ended = tokio::select! {
        ended = scene.live() => ended,
        reason = plane.lost() => Ended::Failed(anyhow::anyhow!(reason)),
        () = signals.next() => Ended::Interrupted,
    };
    if matches!(ended, Ended::Well) && !args.once {
        screen.title("Still serving; try");
        plane
            .what_to_try()?
            .iter()
            .for_each(|line| screen.line(line));
        screen.line("Ctrl-C stops everything, the model servers too.");
        tokio::select! {
            () = signals.next() => {}
            reason = plane.lost() => screen.line(&reason),
        }
    }
    users.stop().await;
    let keep_data = matches!(ended, Ended::Failed(_) | Ended::Otherwise);
    plane.stop(keep_data).await?;
    match ended {
        Ended::Well => Ok(ExitCode::SUCCESS),
        Ended::Otherwise => Ok(ExitCode::FAILURE),
        Ended::Interrupted => Err(anyhow::anyhow!("interrupted before the story had ended").into()),
        Ended::Failed(error) => Err(error.into()),
    }
}

/// How the story ended.
enum Ended {
    Well,
    /// It was told to its end, and something was not as it should be.
    Otherwise,
    Interrupted,
    Failed(anyhow::Error),
}

/// Runs the example model server: the command of the demo's revisions.
pub async fn run_model_server(args: ModelServerArgs) -> Result<ExitCode, Failure> {
    use slipway_examples::model_server::{Startup, run};
    run(args, Startup::AtOnce).await?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that the story needs.
struct Scene<'a> {
    args: &'a DemoArgs,
    begun: Instant,
    screen: &'a Screen,
    plane: &'a Plane,
    clients: &'a Clients,
    users: &'a Users,
}

impl Scene<'_> {
    async fn live(&self) -> Ended {
        self.screen.title("One model, four versions, real requests");
        self.plane
            .describe()
            .iter()
            .for_each(|line| self.screen.line(line));
        match self.observe().await {
            Ok(observed) => {
                self.screen.result(&observed);
                if self.args.output_json() {
                    self.screen.json(&observed.summary());
                }
                if observed.as_it_should() {
                    Ended::Well
                } else {
                    Ended::Otherwise
                }
            }
            Err(error) => Ended::Failed(error),
        }
    }

    async fn observe(&self) -> anyhow::Result<Observed> {
        let story = Story::new(self.clients, self.screen, self.users);
        let told = tokio::time::timeout(STORY_LIMIT, story.tell()).await;
        let told = told.unwrap_or_else(|_| {
            Err(anyhow::anyhow!(
                "it took longer than {} s",
                STORY_LIMIT.as_secs()
            ))
        });
        if self.args.once {
            self.users.stop().await;
        } else {
            self.users.slow_down(AFTERWARDS_PER_SECOND)?;
        }
        let gathered = Observed::gather(self.clients, self.users, self.begun).await;
        let observed = match (gathered, told) {
            (Ok(observed), Ok(())) => observed.checked(),
            (Ok(observed), Err(error)) => {
                let mut observed = observed.checked();
                observed
                    .unmet
                    .insert(0, format!("the story ended early: {error:#}"));
                observed
            }
            // Why it ended early says more than that what came of it cannot be read.
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        Ok(observed)
    }
}
