//! Progress on standard error while something is waited for; silent unless a person watches.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

const TICK: Duration = Duration::from_millis(120);

/// Whether progress is drawn: standard error is a terminal, and no program reads the output.
pub fn drawn(output: Output) -> bool {
    !output.is_json() && std::io::stderr().is_terminal()
}

/// A bar over a number of bytes.
pub fn bytes(output: Output, title: impl Into<Cow<'static, str>>, total: u64) -> ProgressBar {
    let template =
        "{msg:24} [{bar:32}] {binary_bytes:>10} of {binary_total_bytes} {binary_bytes_per_sec}";
    bar(output, title, total, template)
}

/// A bar over a hundred, with a message.
pub fn percent(output: Output, title: impl Into<Cow<'static, str>>) -> ProgressBar {
    bar(output, title, 100, "{spinner} [{bar:24}] {pos:>3} %  {msg}")
}

/// A count without an end that is known.
pub fn count(output: Output, title: impl Into<Cow<'static, str>>) -> ProgressBar {
    bar(output, title, 0, "{spinner} {msg}  {human_pos}")
}

fn bar(
    output: Output,
    title: impl Into<Cow<'static, str>>,
    total: u64,
    template: &str,
) -> ProgressBar {
    if !drawn(output) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total).with_message(title);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}
