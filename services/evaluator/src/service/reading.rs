//! Reads and measures the predictions of one evaluation.
//!
//! Reading and measuring run on a thread of their own and take bytes through a bounded channel; beside
//! them the progress is saved, which renews the lease and notices that somebody else moved the evaluation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use slipway_platform::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Evaluator;
use super::registry::{ArtifactFacts, Download};
use super::run::{Outcome, Plan, unmeasurable};
use crate::domain::suite::Format;
use crate::domain::{Event, Measured, SuiteSpec};
use crate::measure;
use crate::predictions::fault::File;
use crate::predictions::{ReadError, RowReader, Source, SourceError, Verified};
use crate::store::evaluations::Stored;

/// Chunks, of at most 1 MiB, that wait between the download and the reader of one file.
const CHUNKS_WAITING: usize = 4;

/// How far the readers have come.
#[derive(Default)]
struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Evaluator {
    /// Reads what `plan` says, to whatever end.
    pub(super) async fn read(
        &self,
        stored: &mut Stored,
        spec: &SuiteSpec,
        plan: Plan,
        shutdown: &CancellationToken,
    ) -> Outcome {
        stored.evaluation.predictions_digest = Some(plan.predictions.digest.clone());
        stored.evaluation.progress.bytes_total = plan.predictions.size_bytes;
        match self.start_reading(spec, &plan, shutdown).await {
            Ok((reader, counters, feeds)) => {
                let feeding = futures::future::join_all(feeds);
                tokio::select! {
                    // Feeding ends by itself when the reader does; the outcome is the reader's.
                    outcome = finished(reader) => outcome,
                    outcome = self.report(stored, &counters) => outcome,
                    _ = async { feeding.await; std::future::pending::<()>().await } => Outcome::Overtaken,
                }
            }
            Err(error) => of_read(error),
        }
    }

    /// Begins the downloads and the thread that reads them.
    async fn start_reading(
        &self,
        spec: &SuiteSpec,
        plan: &Plan,
        shutdown: &CancellationToken,
    ) -> Result<
        (
            JoinHandle<Result<Measured, ReadError>>,
            Arc<Counters>,
            Vec<impl Future<Output = ()> + use<>>,
        ),
        ReadError,
    > {
        let candidate = self.open(File::Candidate, &plan.predictions).await?;
        let baseline = match &plan.baseline_predictions {
            Some(predictions) => Some(self.open(File::Baseline, predictions).await?),
            None => None,
        };
        let counters = Arc::new(Counters::default());
        let mut feeds = Vec::new();
        let mut source = |opened: Opened, counted: Option<Arc<Counters>>| {
            let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
            let (size, digest) = (opened.artifact.size_bytes, opened.artifact.digest.clone());
            feeds.push(feed(
                opened.download,
                opened.artifact,
                sender,
                counted,
                shutdown.clone(),
            ));
            (Verified::new(Fed(receiver), size, &digest), opened.format)
        };
        let candidate = source(candidate, Some(counters.clone()));
        let baseline = baseline.map(|opened| source(opened, None));

        let (spec, compared_with) = (spec.clone(), plan.baseline.clone());
        let limits = self.limits.clone();
        let counted = counters.clone();
        let span = tracing::Span::current();
        let reader = tokio::task::spawn_blocking(move || {
            let _entered = span.entered();
            let line_max = limits.line_bytes_max;
            let open = |file, (source, format): (Verified<Fed>, Option<Format>), columns| {
                let format = spec.predictions.format.or(format);
                RowReader::open(file, source, format, columns, line_max)
            };
            let columns = measure::columns(&spec, baseline.is_some());
            let candidate = open(File::Candidate, candidate, columns)?;
            let baseline = match baseline {
                Some(source) => {
                    let columns = measure::baseline_columns(&spec);
                    Some((
                        open(File::Baseline, source, columns)?,
                        limits.waiting_rows_max,
                    ))
                }
                None => None,
            };
            measure::measure(&spec, candidate, baseline, compared_with, |rows| {
                counted.rows.store(rows, Ordering::Relaxed);
            })
        });
        Ok((reader, counters, feeds))
    }

    async fn open(&self, file: File, artifact: &ArtifactFacts) -> Result<Opened, ReadError> {
        let idle = self.limits.download_idle();
        let download = self
            .registry
            .download(artifact, idle)
            .await
            .map_err(|error| ReadError::of_source(file, error))?;
        Ok(Opened {
            format: format_of(&artifact.file_name, &download.media_type),
            artifact: artifact.clone(),
            download,
        })
    }

    /// Saves the progress until it cannot be saved any more, because somebody else moved the evaluation.
    async fn report(&self, stored: &mut Stored, counters: &Counters) -> Outcome {
        loop {
            tokio::time::sleep(self.limits.progress()).await;
            stored.evaluation.progress.rows_read = counters.rows.load(Ordering::Relaxed);
            stored.evaluation.progress.bytes_read = counters.bytes.load(Ordering::Relaxed);
            match self.renew(stored).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Overtaken,
                Err(error) => tracing::warn!(%error, "progress not saved, trying again"),
            }
        }
    }

    /// Saves `stored` with a renewed lease; false when it is not this worker's any more.
    async fn renew(&self, stored: &mut Stored) -> Result<bool> {
        let renew = Event::Renew {
            worker: self.worker.clone(),
        };
        let mut tx = self.db.begin().await?;
        let mut next = stored.clone();
        match self.advance(&mut tx, &mut next, renew).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(Error::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        tx.commit().await?;
        *stored = next;
        Ok(true)
    }
}

/// A download with what is known of it.
struct Opened {
    artifact: ArtifactFacts,
    download: Download,
    format: Option<Format>,
}

/// A source that is fed from a download.
struct Fed(mpsc::Receiver<Result<Bytes, SourceError>>);

impl Source for Fed {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        self.0.blocking_recv().transpose()
    }
}

/// Moves a download into the reader's channel until either ends.
async fn feed(
    mut download: Download,
    artifact: ArtifactFacts,
    sender: mpsc::Sender<Result<Bytes, SourceError>>,
    counters: Option<Arc<Counters>>,
    shutdown: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => Err(SourceError::Stopped),
            next = download.next_chunk(&artifact) => next,
        };
        let Some(chunk) = next.transpose() else {
            return;
        };
        if let (Some(counters), Ok(chunk)) = (&counters, &chunk) {
            counters
                .bytes
                .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        let ended = chunk.is_err();
        if sender.send(chunk).await.is_err() || ended {
            return;
        }
    }
}

async fn finished(reader: JoinHandle<Result<Measured, ReadError>>) -> Outcome {
    match reader.await {
        Ok(Ok(measured)) => Outcome::Measured(Box::new(measured)),
        Ok(Err(error)) => of_read(error),
        Err(error) => {
            tracing::error!(%error, "measuring broke off");
            unmeasurable(
                "INTERNAL",
                "measuring broke off by a defect of the evaluator".to_owned(),
            )
        }
    }
}

fn of_read(error: ReadError) -> Outcome {
    match error {
        ReadError::Problem { ref problem, .. } => unmeasurable(problem.code(), error.to_string()),
        ReadError::Unavailable { what } => Outcome::Postponed(what),
        ReadError::Stopped => Outcome::Stopped,
    }
}

/// The format by the file's name, or by its media type.
fn format_of(file_name: &str, media_type: &str) -> Option<Format> {
    let name = file_name.to_ascii_lowercase();
    let media = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if name.ends_with(".csv") {
        return Some(Format::Csv);
    }
    if [".jsonl", ".ndjson"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
    {
        return Some(Format::JsonLines);
    }
    match media.as_str() {
        "text/csv" => Some(Format::Csv),
        "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines" => {
            Some(Format::JsonLines)
        }
        _ => None,
    }
}
