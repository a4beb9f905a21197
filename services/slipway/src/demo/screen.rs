//! What a person sees: headings, lines, and one line that moves while something is awaited.
//!
//! On a terminal the moving line is a progress bar; elsewhere it is printed when its text changes and at most
//! [`PLAIN_LINES`] times. With JSON asked for, all of this goes to standard error.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use slipway_examples::load::RevisionTally;

use super::observed::{Life, Observed, Summary};

/// The most lines that one wait prints where there is no terminal.
const PLAIN_LINES: usize = 40;
const BAR_WIDTH: u64 = 100;
const EXAMPLES: usize = 5;

pub struct Screen {
    voice: Voice,
    terminal: bool,
}

/// Where lines go, and since when.
#[derive(Clone, Copy)]
struct Voice {
    to_stderr: bool,
    begun: Instant,
}

/// The line that moves.
pub struct Live {
    bar: Option<ProgressBar>,
    label: String,
    voice: Voice,
    shown: Mutex<(String, usize)>,
}

impl Screen {
    /// Lines tell the time since `begun`.
    pub fn new(to_stderr: bool, begun: Instant) -> Screen {
        let terminal = if to_stderr {
            console::Term::stderr().is_term()
        } else {
            console::Term::stdout().is_term() && console::Term::stderr().is_term()
        };
        Screen {
            voice: Voice { to_stderr, begun },
            terminal,
        }
    }

    pub fn title(&self, text: &str) {
        self.voice.say("");
        self.voice.say(&style(text).bold().to_string());
    }

    pub fn line(&self, text: &str) {
        self.voice.say(&format!("  {text}"));
    }

    /// Something that has just happened.
    pub fn note(&self, text: &str) {
        self.voice.say_when(text);
    }

    /// Something that has just gone as it should.
    pub fn good(&self, text: &str) {
        self.voice
            .say_when(&format!("{} {text}", style("✔").green()));
    }

    /// Begins a line that moves until it is done or dropped.
    pub fn live(&self, label: &str) -> Live {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new(BAR_WIDTH);
            let template = "  {spinner:>8}  {prefix:11} {bar:20} {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Live {
            bar,
            label: label.to_owned(),
            voice: self.voice,
            shown: Mutex::default(),
        }
    }

    /// The table of versions, the figures, and what is not as it should be.
    pub fn result(&self, observed: &Observed) {
        self.title("What came of it");
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "version",
            "evaluation",
            "rollout",
            "revision",
            "requests",
            "failed",
            "p50",
            "p99",
        ]);
        for life in &observed.lives {
            table.add_row(row(life, observed));
        }
        for line in table.to_string().lines() {
            self.line(line);
        }
        let millis = |duration: Option<Duration>| {
            duration.map_or("unknown".to_owned(), |duration| {
                format!("{} ms", duration.as_millis())
            })
        };
        self.line(&format!(
            "{} requests by {} users, {} failed by what was rolled back, {} dropped",
            observed.tally.requests,
            observed.tally.users(),
            observed.failed_by_fault(),
            observed.dropped()
        ));
        self.line(&format!(
            "first bad answer to last: {}; anomaly to every proxy's acceptance: {}; {:.1} s in all",
            millis(observed.first_bad_to_last_bad()),
            millis(observed.anomaly_to_applied()),
            observed.elapsed.as_secs_f64()
        ));
        self.line(&format!(
            "{} times a user changed revision, {} without reason",
            observed.tally.moves.len(),
            observed.moves_without_reason
        ));
        if observed.tally.skipped > 0 {
            let skipped = observed.tally.skipped;
            self.line(&format!(
                "{skipped} requests were not sent: this machine was too busy"
            ));
        }
        self.unmet(observed);
    }

    /// One object on one line of standard output.
    pub fn json(&self, summary: &Summary) {
        if let Ok(text) = serde_json::to_string(summary) {
            // Always the last line of standard output, whatever else goes to standard error.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }

    fn unmet(&self, observed: &Observed) {
        for unmet in &observed.unmet {
            self.line(&format!("{} {unmet}", style("✘").red()));
        }
        let at_fault = observed.at_fault().and_then(Life::revision);
        let dropped = observed.tally.examples();
        let dropped = dropped
            .iter()
            .filter(|(revision, _)| Some(*revision) != at_fault);
        for (revision, failure) in dropped.take(EXAMPLES) {
            self.line(&format!(
                "dropped at {:.3} s by {revision}: {}",
                failure.answered.as_secs_f64(),
                failure.outcome
            ));
        }
    }
}

impl Voice {
    fn say(self, text: &str) {
        // A reader that has gone away does not end the story.
        let _ = if self.to_stderr {
            writeln!(std::io::stderr(), "{text}")
        } else {
            writeln!(std::io::stdout(), "{text}")
        };
    }

    fn say_when(self, text: &str) {
        self.say(&format!(
            "  {:6.1} s  {text}",
            self.begun.elapsed().as_secs_f64()
        ));
    }
}

impl Live {
    /// Shows how far it is, 0 to 1, and what is going on.
    pub fn show(&self, share: f64, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position((share.clamp(0.0, 1.0) * BAR_WIDTH as f64) as u64);
                bar.set_message(text.to_owned());
            }
            None => self.show_plain(text),
        }
    }

    /// Something that has happened meanwhile.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.voice.say_when(text)),
            None => self.voice.say_when(text),
        }
    }

    /// Ends with what came of it.
    pub fn done(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.voice.say_when(&format!("{:11} {text}", self.label));
    }

    /// Ends without a word.
    pub fn clear(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show_plain(&self, text: &str) {
        // Counts change all the time; what comes before the first one is what a reader waits for.
        let gist = text.split(" after ").next().unwrap_or(text);
        let Ok(mut shown) = self.shown.lock() else {
            return;
        };
        if shown.0 != gist && shown.1 < PLAIN_LINES {
            *shown = (gist.to_owned(), shown.1 + 1);
            self.voice.say_when(&format!("{:11} … {text}", self.label));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn row(life: &Life, observed: &Observed) -> [String; 8] {
    let tally = life
        .revision()
        .and_then(|revision| observed.tally.revisions.get(revision));
    let latency = |share: f64| {
        let found = tally.and_then(|tally: &RevisionTally| tally.latency_quantile(share));
        found.map_or("–".to_owned(), |time| {
            format!("{:.1} ms", time.as_secs_f64() * 1e3)
        })
    };
    let phase = life.phase().map_or("none", |phase| phase.as_str_name());
    [
        life.version.number.to_string(),
        life.verdict.as_str_name().to_owned(),
        phase.to_lowercase().replace('_', " "),
        life.revision().unwrap_or("–").to_owned(),
        tally.map_or("–".to_owned(), |tally| tally.requests.to_string()),
        tally.map_or("–".to_owned(), |tally| tally.failures.to_string()),
        latency(0.5),
        latency(0.99),
    ]
}
