//! What two arms have shown so far: counts, by segment and by the ratio between the arms.
//!
//! A segment is a stretch of traffic with one split; it has its own, unknown base rate, so that a base rate that
//! moves while the split moves (Simpson's paradox) is no evidence. A segment that grows long is closed by itself,
//! which bounds how much old good behaviour can hide a new fault. Inside a segment, observations are kept apart by
//! the ratio of stable to candidate observations as it was *before* each of them: the tests choose their best bet
//! for a ratio, and a bet must not look ahead.

/// Which revision served an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    /// The revision on trial.
    Candidate,
    /// The revision it is compared with.
    Stable,
}

/// Observations and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All observations.
    pub observations: u64,
    /// Those that failed; never more than `observations`.
    pub failures: u64,
}

impl Counts {
    /// `failures / observations`, or `None` without observations.
    pub fn rate(self) -> Option<f64> {
        (self.observations > 0).then(|| self.failures as f64 / self.observations as f64)
    }

    fn add(&mut self, observations: u64, failures: u64) {
        self.observations += observations;
        self.failures += failures;
    }
}

/// The counts of one segment that were made while the ratio between the arms was about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stratum {
    /// Stable observations per candidate observation, as quarter octaves: the ratio is `2^(ratio_class/4)`.
    pub ratio_class: i8,
    /// What the candidate did.
    pub candidate: Counts,
    /// What the stable arm did.
    pub stable: Counts,
}

impl Stratum {
    pub(crate) fn ratio(&self) -> f64 {
        class_ratio(self.ratio_class)
    }
}

/// A stretch of traffic with one split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// The segment's counts, one entry per ratio class, in order of their first use.
    pub strata: Vec<Stratum>,
}

impl Segment {
    /// The segment's counts of one arm.
    pub fn total(&self, arm: Arm) -> Counts {
        self.strata
            .iter()
            .fold(Counts::default(), |mut sum, stratum| {
                let counts = match arm {
                    Arm::Candidate => stratum.candidate,
                    Arm::Stable => stratum.stable,
                };
                sum.add(counts.observations, counts.failures);
                sum
            })
    }
}

/// [`Evidence`] as plain data, to store and to resume from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvidenceParts {
    /// All segments, oldest first; the last one is open.
    pub segments: Vec<Segment>,
    /// Candidate observations that the running ratio counts, pseudo-observations included.
    pub ratio_candidate: f64,
    /// Stable observations that the running ratio counts, pseudo-observations included.
    pub ratio_stable: f64,
    /// Candidate observations at which the open segment closes by itself.
    pub split_at: u64,
}

/// Counts of two arms. Recording costs O(1) and allocates only for a ratio class or segment not seen before.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    segments: Vec<Segment>,
    ratio_candidate: f64,
    ratio_stable: f64,
    split_at: u64,
    open: Open,
}

/// Where the next observation goes, and while which running ratios it stays there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Open {
    stratum: usize,
    class: i8,
    at_least: f64,
    below: f64,
    candidates: u64,
}

/// Ratio classes from 1/16 to 1,024 stable observations per candidate observation.
const CLASSES: std::ops::RangeInclusive<i32> = -16..=40;
/// A segment this long (in candidate observations) closes by itself; each later one may be twice as long.
const FIRST_SPLIT: u64 = 512;
/// Bounds the memory and the time of an evaluation; later segments are counted into the last one.
pub(crate) const MAX_SEGMENTS: usize = 32;
/// How many observations a declared share of traffic counts for before the running ratio outweighs it.
const DECLARED_WEIGHT: f64 = 32.0;

fn class_ratio(class: i8) -> f64 {
    (f64::from(class) / 4.0).exp2()
}

impl Default for Evidence {
    fn default() -> Self {
        Self::new()
    }
}

impl Evidence {
    /// No observations yet, in one open segment.
    pub fn new() -> Self {
        Self::from_parts(EvidenceParts {
            segments: vec![Segment::default()],
            ratio_candidate: 1.0,
            ratio_stable: 1.0,
            split_at: FIRST_SPLIT,
        })
    }

    /// Resumes from stored parts; what no [`Evidence::parts`] returns is repaired, not trusted.
    pub fn from_parts(mut parts: EvidenceParts) -> Self {
        parts.segments.truncate(MAX_SEGMENTS);
        if parts.segments.is_empty() {
            parts.segments.push(Segment::default());
        }
        for stratum in parts
            .segments
            .iter_mut()
            .flat_map(|segment| segment.strata.iter_mut())
        {
            stratum.candidate.failures = stratum
                .candidate
                .failures
                .min(stratum.candidate.observations);
            stratum.stable.failures = stratum.stable.failures.min(stratum.stable.observations);
            stratum.ratio_class =
                i32::from(stratum.ratio_class).clamp(*CLASSES.start(), *CLASSES.end()) as i8;
        }
        let positive = |value: f64| {
            if value.is_finite() && value > 0.0 {
                value
            } else {
                1.0
            }
        };
        let mut evidence = Self {
            segments: parts.segments,
            ratio_candidate: positive(parts.ratio_candidate),
            ratio_stable: positive(parts.ratio_stable),
            split_at: parts.split_at.max(FIRST_SPLIT),
            open: Open {
                stratum: usize::MAX,
                class: 0,
                at_least: 0.0,
                below: 0.0,
                candidates: 0,
            },
        };
        evidence.open.candidates = evidence.last().total(Arm::Candidate).observations;
        evidence.classify();
        evidence
    }

    /// Everything that [`Evidence::from_parts`] needs to go on as if nothing had happened.
    pub fn parts(&self) -> EvidenceParts {
        EvidenceParts {
            segments: self.segments.clone(),
            ratio_candidate: self.ratio_candidate,
            ratio_stable: self.ratio_stable,
            split_at: self.split_at,
        }
    }

    /// All segments, oldest first; never empty, and the last one is open.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The counts of one arm over all segments.
    pub fn total(&self, arm: Arm) -> Counts {
        self.segments
            .iter()
            .fold(Counts::default(), |mut sum, segment| {
                let counts = segment.total(arm);
                sum.add(counts.observations, counts.failures);
                sum
            })
    }

    /// Begins a new segment because the split has changed. `candidate_share` is the candidate's declared part of the
    /// traffic of both arms, if it is known; it only tunes the tests' power, never their validity.
    pub fn start_segment(&mut self, candidate_share: Option<f64>) {
        self.close_segment();
        (self.ratio_candidate, self.ratio_stable) = match candidate_share {
            Some(share) if share > 0.0 && share < 1.0 => {
                (share * DECLARED_WEIGHT, (1.0 - share) * DECLARED_WEIGHT)
            }
            _ => (1.0, 1.0),
        };
        self.classify();
    }

    /// Counts `observations` of one arm, `failures` of which failed, that came one after the other.
    pub fn record(&mut self, arm: Arm, observations: u64, failures: u64) {
        debug_assert!(failures <= observations, "more failures than observations");
        if observations == 0 {
            return;
        }
        let ratio = self.ratio_stable / self.ratio_candidate;
        if ratio < self.open.at_least || ratio >= self.open.below {
            self.classify();
        }
        if self.open.stratum == usize::MAX {
            self.open.stratum = self.stratum(self.open.class);
        }
        let position = self.segments.len() - 1;
        let stratum = &mut self.segments[position].strata[self.open.stratum];
        match arm {
            Arm::Candidate => {
                stratum.candidate.add(observations, failures);
                self.ratio_candidate += observations as f64;
                self.open.candidates += observations;
                if self.open.candidates >= self.split_at {
                    self.split_at = self.split_at.saturating_mul(2);
                    self.close_segment();
                }
            }
            Arm::Stable => {
                stratum.stable.add(observations, failures);
                self.ratio_stable += observations as f64;
            }
        }
    }

    pub(crate) fn last(&self) -> &Segment {
        self.segments
            .last()
            .expect("evidence always has an open segment")
    }

    /// Stable observations per candidate observation, as the open segment has it.
    pub(crate) fn ratio(&self) -> f64 {
        self.ratio_stable / self.ratio_candidate
    }

    fn close_segment(&mut self) {
        if self.last().strata.is_empty() || self.segments.len() == MAX_SEGMENTS {
            return;
        }
        self.segments.push(Segment::default());
        self.open.candidates = 0;
        self.open.stratum = usize::MAX;
    }

    fn classify(&mut self) {
        let ratio = self.ratio_stable / self.ratio_candidate;
        let class = ((ratio.log2() * 4.0).round() as i32).clamp(*CLASSES.start(), *CLASSES.end());
        let edge = |class: i32| ((f64::from(class) - 0.5) / 4.0).exp2();
        self.open.class = class as i8;
        self.open.at_least = if class == *CLASSES.start() {
            0.0
        } else {
            edge(class)
        };
        self.open.below = if class == *CLASSES.end() {
            f64::INFINITY
        } else {
            edge(class + 1)
        };
        self.open.stratum = usize::MAX;
    }

    fn stratum(&mut self, class: i8) -> usize {
        let segment = self
            .segments
            .last_mut()
            .expect("evidence always has an open segment");
        match segment
            .strata
            .iter()
            .position(|stratum| stratum.ratio_class == class)
        {
            Some(position) => position,
            None => {
                segment.strata.push(Stratum {
                    ratio_class: class,
                    candidate: Counts::default(),
                    stable: Counts::default(),
                });
                segment.strata.len() - 1
            }
        }
    }
}
