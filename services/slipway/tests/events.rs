//! The real program: events of all services in one, over a restart, and dead letters.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use slipway_platform::clock::{SystemClock, Timestamp};
use slipway_platform::events::log::DEFAULT_RETENTION;
use slipway_platform::events::{EmbeddedLog, Event, EventBus};
use support::{Up, code, json, slipway, stderr};

/// A command that goes on, and the lines that it writes.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Following {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipway"))
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Registers the next version of `dev/tumor`.
fn version(dir: &Path, content: &str) {
    std::fs::write(dir.join("model.json"), content).unwrap();
    let arguments = [
        "version",
        "create",
        "dev/tumor",
        "--artifact",
        "model=model.json",
    ];
    let created = slipway(dir, &arguments);
    assert_eq!(code(&created), 0, "{}", stderr(&created));
}

#[test]
fn the_events_of_all_services_are_watched_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start(dir.path());
    assert_eq!(
        code(&slipway(dir.path(), &["model", "create", "dev/tumor"])),
        0
    );
    version(dir.path(), "1");
    let types = [
        "--type",
        "version.created",
        "--type",
        "evaluation.completed",
    ];
    let arguments = [
        &["events", "watch", "--past", "1", "--output", "json"],
        &types[..],
    ]
    .concat();
    let mut watch = Following::start(dir.path(), &arguments);
    // The past, and then what happens: the evaluator finds no suite for the version.
    let mut seen = vec![watch.next()];
    assert_eq!(seen[0]["specversion"], "1.0");
    let before = up.ready.clone();
    assert_eq!(up.stop(Signal::TERM), 0);
    let up = Up::start_again(dir.path(), &before);
    version(dir.path(), "2");
    let of = |seen: &[Value], what: &str| {
        let full = format!("io.slipway.{what}.v1");
        seen.iter()
            .filter(|one| one["type"] == full)
            .cloned()
            .collect::<Vec<_>>()
    };
    loop {
        seen.push(watch.next());
        let second =
            |one: &Value| one["data"]["version"] == "workspaces/dev/models/tumor/versions/2";
        let created = of(&seen, "version.created").iter().any(second);
        if created && of(&seen, "evaluation.completed").iter().any(second) {
            break;
        }
    }
    let sources: Vec<_> = seen
        .iter()
        .map(|one| one["source"].as_str().unwrap())
        .collect();
    assert!(sources.contains(&"//slipway/registry") && sources.contains(&"//slipway/evaluator"));
    let mut ids: Vec<_> = seen.iter().map(|one| one["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), seen.len(), "nothing comes twice: {seen:?}");
    drop(watch);

    // For people, and by resource; the end comes by itself.
    let key = "workspaces/dev/models/tumor";
    let table = slipway(
        dir.path(),
        &[
            "events",
            "watch",
            "--past",
            "9",
            "--count",
            "2",
            "--key",
            key,
            "--topic",
            "registry",
            "--type",
            "version.created",
        ],
    );
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert_eq!(
        (code(&table), text.lines().count()),
        (0, 2),
        "{text}{}",
        stderr(&table)
    );
    assert!(text.contains("version.created       dev/tumor:1"), "{text}");
    let wrong = slipway(dir.path(), &["events", "watch", "--type", "version.made"]);
    assert_eq!(code(&wrong), 2);
    assert!(
        stderr(&wrong).contains("version.created"),
        "{}",
        stderr(&wrong)
    );
    assert_eq!(up.stop(Signal::TERM), 0);
}

/// Puts an event with unreadable data into the log of a control plane that is stopped.
fn publish_a_broken_event(dir: &Path) {
    let event = Event {
        id: "broken-1".to_owned(),
        source: "//slipway/registry".to_owned(),
        r#type: "io.slipway.version.created.v1".to_owned(),
        topic: "slipway.registry".to_owned(),
        key: "workspaces/dev/models/tumor".to_owned(),
        sequence: 0,
        subject: "workspaces/dev/models/tumor/versions/7".to_owned(),
        time: Timestamp(1_700_000_000_000_000),
        traceparent: None,
        data: br#"{"number": "seven"}"#.to_vec(),
    };
    let publish = async {
        let path = dir.join(".slipway/events.db");
        let log = EmbeddedLog::open(&path, SystemClock::shared(), DEFAULT_RETENTION).await?;
        log.publish(&[event]).await
    };
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(publish)
        .unwrap();
}

#[test]
fn a_dead_letter_is_listed_and_its_replay_says_why_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Up::start(dir.path()).stop(Signal::TERM), 0);
    publish_a_broken_event(dir.path());
    let up = Up::start(dir.path());
    let started = Instant::now();
    let letter = loop {
        let list = slipway(dir.path(), &["events", "dead-letters", "--output", "json"]);
        assert_eq!(code(&list), 0, "{}", stderr(&list));
        if let [letter] = &json(&list)["deadLetters"].as_array().unwrap()[..] {
            break letter.clone();
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it becomes a dead letter"
        );
    };
    assert_eq!(
        (&letter["service"], &letter["event"]["id"]),
        (&"evaluator".into(), &"broken-1".into())
    );
    assert_eq!(letter["event"]["data"]["number"], "seven");
    let id = letter["name"]
        .as_str()
        .unwrap()
        .strip_prefix("deadLetters/")
        .unwrap();

    let replayed = slipway(dir.path(), &["events", "replay", "evaluator", id]);
    assert_eq!(code(&replayed), 1);
    assert!(
        stderr(&replayed).contains("failed again"),
        "{}",
        stderr(&replayed)
    );
    let table = slipway(
        dir.path(),
        &["events", "dead-letters", "--service", "evaluator"],
    );
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        text.starts_with("SERVICE") && text.contains("version.created"),
        "{text}"
    );
    let elsewhere = slipway(dir.path(), &["events", "replay", "registry", id]);
    assert_eq!(code(&elsewhere), 1);
    assert!(
        stderr(&elsewhere).contains("was not found"),
        "{}",
        stderr(&elsewhere)
    );
    assert_eq!(up.stop(Signal::TERM), 0);
}
