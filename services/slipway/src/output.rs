//! Answers on standard output: tables for people, ProtoJSON for programs.
//!
//! With `--output json` a command prints one JSON object on one line: the message that the service
//! answered with. A command that streams prints one line for each message. Colours are used only on a
//! terminal, and never when `NO_COLOR` is set.

use std::io::{IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use prost::{Message, Name};
use slipway_platform::clock::Timestamp;
use slipway_platform::json;

use crate::failure::Failure;

/// How answers are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// ProtoJSON, one object a line.
    Json,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    /// Standard output in this format.
    pub fn new(format: Format) -> Self {
        let colour = format == Format::Table
            && std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { format, colour }
    }

    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Shows one message: as JSON, or as the lines `name  value` that `details` makes of it. Empty
    /// values are left out.
    pub fn one<M: Message + Name>(
        &self,
        message: &M,
        details: impl FnOnce(&M) -> Vec<(&'static str, String)>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(message);
        }
        let mut table = self.table();
        for (name, value) in details(message)
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
        {
            let name = if self.colour {
                Cell::new(name).add_attribute(Attribute::Dim)
            } else {
                Cell::new(name)
            };
            table.add_row([name, self.cell(&value)]);
        }
        self.line(&trimmed(&mut table));
        Ok(())
    }

    /// Shows a list: the whole answer as JSON, or a table of rows.
    pub fn list<M: Message + Name>(
        &self,
        answer: &M,
        header: &[&str],
        rows: impl FnOnce(&M) -> Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(answer);
        }
        let rows = rows(answer);
        if rows.is_empty() {
            self.none();
            return Ok(());
        }
        self.rows(header, &rows);
        Ok(())
    }

    /// Says that a list is empty. Not on standard output, which a script may count the lines of.
    pub fn none(&self) {
        let _ = writeln!(std::io::stderr(), "there are none");
    }

    /// A table of rows, for people.
    pub fn rows(&self, header: &[&str], rows: &[Vec<String>]) {
        let mut table = self.table();
        let bold = |text: &&str| {
            let cell = Cell::new(text);
            if self.colour {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            }
        };
        table.set_header(header.iter().map(bold).collect::<Vec<_>>());
        for row in rows {
            table.add_row(row.iter().map(|text| self.cell(text)).collect::<Vec<_>>());
        }
        self.line(&trimmed(&mut table));
    }

    /// One message as one line of JSON.
    pub fn json<M: Message + Name>(&self, message: &M) -> Result<(), Failure> {
        self.line(&json::to_json(message)?.to_string());
        Ok(())
    }

    /// One line. A reader that has gone away ends the program quietly.
    pub fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    fn cell(&self, text: &str) -> Cell {
        let cell = Cell::new(plain(text));
        match tone(text) {
            Some(colour) if self.colour => cell.fg(colour),
            _ => cell,
        }
    }
}

fn trimmed(table: &mut Table) -> String {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }

    table
        .trim_fmt()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The colour of the words that say how something is.
fn tone(word: &str) -> Option<Color> {
    match word {
        "PASS" | "HEALTHY" | "SUCCEEDED" | "READY" | "ACTIVE" | "APPLIED" | "RESOLVED"
        | "PRODUCTION" => Some(Color::Green),
        "FAIL" | "ERROR" | "DEGRADED" | "ROLLED_BACK" | "ROLLING_BACK" | "FAILED" | "FIRING"
        | "QUARANTINED" => Some(Color::Red),
        "INCONCLUSIVE" | "INSUFFICIENT" | "UNMEASURABLE" | "PAUSED" | "PINNED" | "UNAPPLIED"
        | "WAITING" | "APPLIED_EXCEPT" | "ACKNOWLEDGED" | "SILENCED" | "CANARY" => {
            Some(Color::Yellow)
        }
        _ => None,
    }
}

/// Text without control characters: what clients wrote must not command the terminal of a reader.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// A time to the second, or nothing.
pub fn time(value: &Option<prost_types::Timestamp>) -> String {
    value.as_ref().map_or_else(String::new, |time| {
        let seconds = Timestamp::from_proto(time)
            .as_micros()
            .div_euclid(1_000_000);
        Timestamp::from_micros(seconds * 1_000_000).to_string()
    })
}

/// A time to the millisecond, always as long.
pub fn time_millis(time: Timestamp) -> String {
    let millis = time.as_micros().div_euclid(1000);
    let seconds = Timestamp::from_micros(millis.div_euclid(1000) * 1_000_000).to_string();
    format!(
        "{}.{:03}Z",
        seconds.trim_end_matches('Z'),
        millis.rem_euclid(1000)
    )
}

/// A map as `a=1 b=2`, in the order of keys.
pub fn pairs<V: std::fmt::Display>(map: &std::collections::HashMap<String, V>) -> String {
    let mut pairs: Vec<_> = map
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.sort();
    pairs.join(" ")
}

/// The last part of a resource's name.
pub fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The first twelve hexadecimal digits of a digest.
pub fn short_digest(digest: &str) -> String {
    digest
        .strip_prefix("sha256:")
        .unwrap_or(digest)
        .chars()
        .take(12)
        .collect()
}

/// A size in the unit that people use for it.
pub fn bytes(count: i64) -> String {
    indicatif::BinaryBytes(u64::try_from(count).unwrap_or(0)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_shortly() {
        assert_eq!(last("environments/production/endpoints/tumor"), "tumor");
        assert_eq!(short_digest("sha256:0123456789abcdef0123"), "0123456789ab");
        assert_eq!(bytes(2048), "2.00 KiB");
        assert_eq!(
            time(&Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 999
            })),
            "1970-01-01T00:00:00Z"
        );
        assert_eq!(time(&None), "");
        assert_eq!(
            time_millis(Timestamp::from_micros(1_500_999)),
            "1970-01-01T00:00:01.500Z"
        );
        assert_eq!(plain("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\n");
        let map = std::collections::HashMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
        assert_eq!(pairs(&map), "a=1 b=2");
    }
}
