//! Which process a number means. A process id is used again after its process has gone, so a process is
//! known by its id, the time at which it started, and a token in its environment, all three read from
//! `/proc`.

use std::str::FromStr;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// The variable of a process's environment that holds its token. Its children inherit it.
pub(super) const TOKEN_VARIABLE: &str = "SLIPWAY_INSTANCE";

/// A process that was started by this driver, now or in an earlier life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub pid: i32,
    /// Ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
    pub token: String,
}

impl Identity {
    /// A child of ours that has not been waited for, whatever is in its environment: that is not there yet at
    /// the moment in which a start returns.
    pub fn of_child(pid: i32, token: &str) -> Option<Identity> {
        Some(Identity {
            pid,
            start_ticks: start_ticks(pid)?,
            token: token.to_owned(),
        })
    }

    /// The process with this id, if it has this token.
    pub fn of(pid: i32, token: &str) -> Option<Identity> {
        let start_ticks = start_ticks(pid)?;
        has_token(pid, token).then(|| Identity {
            pid,
            start_ticks,
            token: token.to_owned(),
        })
    }

    /// The process that has this token and leads its group, if there is one.
    pub fn find(token: &str) -> Option<Identity> {
        let leads = |pid: &i32| stat(*pid).is_some_and(|stat| stat.group == *pid);
        processes()
            .filter(|pid| has_token(*pid, token))
            .find(leads)
            .and_then(|pid| Identity::of(pid, token))
    }

    /// Whether it is there, is this one, and has not exited.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks) && has_token(self.pid, &self.token)
    }

    /// Whether it has not exited. For a process of ours that has not been waited for: its id cannot have been
    /// used again.
    pub fn is_running(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    pub fn as_pid(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    /// Sends a signal to the process's whole group. The process must be known to be running.
    pub fn signal_group(&self, signal: Signal) {
        if let Some(pid) = self.as_pid() {
            // It may exit at this very moment, which is what was wanted.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

/// Kills every process that has the token. True if there was none, nor one of the group that is on its way out:
/// such a one has no environment any more, and may still hold its port.
pub(super) fn kill_all(token: &str, group: Option<i32>) -> bool {
    let mut none = true;
    for pid in processes() {
        let Some(environment) = environment(pid) else {
            continue;
        };
        if has(&environment, token) && stat(pid).is_some() {
            none = false;
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        } else if environment.is_empty() && group.is_some() {
            none &= stat(pid).map(|stat| stat.group) != group;
        }
    }
    none
}

struct Stat {
    group: i32,
    start_ticks: u64,
}

/// `None` for a process that is gone or has exited.
fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_ticks(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_ticks)
}

/// The second field is the program's name in parentheses, and may hold blanks and parentheses itself.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    Some(Stat {
        group: parse(fields.get(2)?)?,
        start_ticks: parse(fields.get(19)?)?,
    })
}

fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn has_token(pid: i32, token: &str) -> bool {
    environment(pid).is_some_and(|environment| has(&environment, token))
}

fn has(environment: &[u8], token: &str) -> bool {
    let wanted = format!("{TOKEN_VARIABLE}={token}");
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == wanted.as_bytes())
}

/// `None` for a process that is gone, or somebody else's.
fn environment(pid: i32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/environ")).ok()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| parse::<i32>(entry.file_name().to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_read_past_any_program_name() {
        let line = "77 (a) b (c)) S 1 76 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 9 18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.group, stat.start_ticks), (76, 987_654));
        assert!(parse_stat(&line.replace(" S ", " Z ")).is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_taken_for_it() {
        let me = i32::try_from(std::process::id()).unwrap();
        let start_ticks = start_ticks(me).unwrap();
        let identity = Identity {
            pid: me,
            start_ticks,
            token: "not-mine".to_owned(),
        };
        assert!(identity.is_running());
        assert!(!identity.is_alive());
        assert!(
            !Identity {
                start_ticks: start_ticks + 1,
                ..identity
            }
            .is_running()
        );
        assert_eq!(Identity::of(me, "not-mine"), None);
    }
}
