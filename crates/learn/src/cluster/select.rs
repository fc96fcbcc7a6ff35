//! How many segments there should be, with the evidence and the reason in words.
//!
//! For every number in the range three things are measured, on at most [`ROWS_MAX`] rows:
//!
//! - agreement: segments are fitted anew on random halves of the rows, each fit assigns all rows,
//!   and the adjusted Rand index is averaged over all pairs of fits. Segments that another sample
//!   would not show are no segments.
//! - silhouette: how much nearer rows are to their own segment than to the next.
//! - BIC: likelihood less a price per parameter; for k-means that of equally round Gaussians.
//!
//! The rule, the same for everyone and in this order: a number counts as reproducible when its
//! agreement is at least [`AGREEMENT_WANTED`] and its smallest segment holds at least [`SHARE_MIN`]
//! of the rows. Among those, k-means takes the highest silhouette, where values within
//! [`SILHOUETTE_TIE`] are a tie that the lower BIC decides; a mixture takes the lowest BIC, where
//! values within [`BIC_TIE`] are a tie that the higher silhouette decides. If none is reproducible,
//! the number of highest agreement is taken, with a caution.

use ombud_engine::clusters::{Clusters, SEGMENTS_MAX};
use serde::{Deserialize, Serialize};

use super::kmeans::{self, KMeansOptions};
use super::mixture::{self, MixtureOptions};
use super::quality;
use super::random::Random;
use super::{ClusterError, Method, Rows};

/// Rows beyond this many do not change how many segments there are, only how long it takes to see
/// it.
pub const ROWS_MAX: usize = 20_000;
/// Mean agreement between repeated fits from which a number of segments counts as reproducible.
pub const AGREEMENT_WANTED: f64 = 0.75;
/// A smaller segment is more likely a handful of outliers.
pub const SHARE_MIN: f64 = 0.01;
/// Silhouettes within this share of the highest say the same.
pub const SILHOUETTE_TIE: f64 = 0.05;
/// A difference in BIC of ten is commonly called very strong evidence.
pub const BIC_TIE: f64 = 10.0;
/// Below this silhouette, segments shade into one another.
pub const SILHOUETTE_CLEAR: f64 = 0.25;
/// Halves of the rows to fit on, at most.
pub const RESAMPLES_MAX: usize = 100;

/// Which numbers of segments are judged, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectOptions {
    pub method: Method,
    /// The smallest number considered, at least 2.
    pub from: usize,
    /// The largest number considered.
    pub to: usize,
    /// How many random halves are fitted for each number.
    pub resamples: usize,
    pub seed: u64,
}

/// What speaks for and against one number of segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub segments: usize,
    pub silhouette: f64,
    pub bic: f64,
    /// Mean adjusted Rand index between fits on random halves: 1 is perfect agreement, 0 chance.
    pub agreement: f64,
    /// The share of the rows in the smallest segment.
    pub smallest_share: f64,
    /// Whether agreement and smallest share reach what is wanted.
    pub is_reproducible: bool,
}

/// The number of segments taken, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub segments: usize,
    /// One or two sentences for people.
    pub reason: String,
    /// What a reader of the segments should bear in mind.
    pub cautions: Vec<String>,
    /// One entry per number considered, ascending.
    pub evidence: Vec<Evidence>,
}

/// How far the choice has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of segments just judged.
    pub segments: usize,
    pub done: usize,
    pub total: usize,
}

impl SelectOptions {
    /// Two to ten segments, six halves each.
    pub fn new(method: Method, seed: u64) -> Self {
        Self {
            method,
            from: 2,
            to: 10,
            resamples: 6,
            seed,
        }
    }

    fn check(&self) -> Result<(), ClusterError> {
        let is_from = (2..=SEGMENTS_MAX).contains(&self.from);
        let (name, allowed) = ("the smallest number of segments", "2 to 256");
        super::check_parameter(name, self.from as f64, allowed, is_from)?;
        let is_to = (self.from..=SEGMENTS_MAX).contains(&self.to);
        let (name, allowed) = ("the largest number of segments", "from the smallest to 256");
        super::check_parameter(name, self.to as f64, allowed, is_to)?;
        let is_resamples = (2..=RESAMPLES_MAX).contains(&self.resamples);
        super::check_parameter("resamples", self.resamples as f64, "2 to 100", is_resamples)
    }
}

/// Judges every number of segments in the range and takes one.
///
/// The range is cut where the rows end: every number needs more than as many different rows in each
/// half.
pub fn choose(
    rows: &Rows<'_>,
    options: &SelectOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Choice, ClusterError> {
    options.check()?;
    let sample = Sample::draw(rows, options.seed, 0, ROWS_MAX);
    let rows = sample.rows(rows.features())?;
    let halves = (0..options.resamples as u64)
        .map(|resample| Sample::draw(&rows, options.seed, 1 + resample, rows.count().div_ceil(2)))
        .collect::<Vec<_>>();
    let to = largest_judgeable(&rows, &halves, options)?;
    let total = to + 1 - options.from;
    let mut evidence = Vec::with_capacity(total);
    for segments in options.from..=to {
        evidence.push(judge(&rows, &halves, options, segments)?);
        progress(Progress {
            segments,
            done: evidence.len(),
            total,
        });
    }
    Ok(decide(options.method, evidence))
}

/// The rule alone: takes a number of segments from the evidence, which is not empty.
pub fn decide(method: Method, evidence: Vec<Evidence>) -> Choice {
    let reproducible: Vec<&Evidence> = evidence.iter().filter(|one| one.is_reproducible).collect();
    let (segments, reason) = match reproducible.is_empty() {
        true => most_agreed(&evidence),
        false => match method {
            Method::KMeans => by_silhouette(&reproducible, evidence.len()),
            Method::Mixture(_) => by_bic(&reproducible, evidence.len()),
        },
    };
    let cautions = cautions(&evidence, segments);
    Choice {
        segments,
        reason,
        cautions,
        evidence,
    }
}

fn by_silhouette(candidates: &[&Evidence], considered: usize) -> (usize, String) {
    let best = first_by(candidates, |one| -one.silhouette);
    let floor = best.silhouette - SILHOUETTE_TIE * best.silhouette.abs();
    let is_tied = |one: &&&Evidence| one.silhouette >= floor;
    let tied: Vec<&Evidence> = candidates.iter().filter(is_tied).copied().collect();
    let taken = first_by(&tied, |one| one.bic);
    let opening = opening(candidates, considered, taken);
    let silhouette = taken.silhouette;
    let reason = match tied.len() {
        1 => format!("{opening} its silhouette of {silhouette:.3} is the highest among them."),
        _ => format!(
            "{opening} its silhouette of {silhouette:.3} is within {:.0} % of the highest, and of \
             those as near it has the lowest BIC.",
            SILHOUETTE_TIE * 100.0
        ),
    };
    (taken.segments, reason)
}

fn by_bic(candidates: &[&Evidence], considered: usize) -> (usize, String) {
    let best = first_by(candidates, |one| one.bic);
    let is_tied = |one: &&&Evidence| one.bic <= best.bic + BIC_TIE;
    let tied: Vec<&Evidence> = candidates.iter().filter(is_tied).copied().collect();
    let taken = first_by(&tied, |one| -one.silhouette);
    let opening = opening(candidates, considered, taken);
    let reason = match tied.len() {
        1 => format!(
            "{opening} its BIC of {:.0} is the lowest among them.",
            taken.bic
        ),
        _ => format!(
            "{opening} its BIC of {:.0} is within {BIC_TIE} of the lowest, and of those as near \
             it has the highest silhouette.",
            taken.bic
        ),
    };
    (taken.segments, reason)
}

fn opening(candidates: &[&Evidence], considered: usize, taken: &Evidence) -> String {
    let (segments, agreement) = (taken.segments, taken.agreement);
    let fitted = candidates.len();
    let came = if fitted == 1 {
        "it alone"
    } else {
        "it and others"
    };
    let _ = came;
    format!(
        "{segments} segments: of {considered} numbers considered, {fitted} came out alike on \
         random halves of the rows (this one with an agreement of {agreement:.2}, wanted \
         {AGREEMENT_WANTED}), and"
    )
}

fn most_agreed(evidence: &[Evidence]) -> (usize, String) {
    let candidates: Vec<&Evidence> = evidence.iter().collect();
    let taken = first_by(&candidates, |one| -one.agreement);
    let (segments, agreement) = (taken.segments, taken.agreement);
    let considered = evidence.len();
    let reason = format!(
        "{segments} segments: none of {considered} numbers considered is reproducible (agreement \
         of at least {AGREEMENT_WANTED} on random halves of the rows, no segment below {:.0} %), \
         and this one has the highest agreement, {agreement:.2}.",
        SHARE_MIN * 100.0
    );
    (segments, reason)
}

fn cautions(evidence: &[Evidence], segments: usize) -> Vec<String> {
    let mut cautions = Vec::new();
    let Some(taken) = evidence.iter().find(|one| one.segments == segments) else {
        return cautions;
    };
    if taken.agreement < AGREEMENT_WANTED {
        cautions.push("another sample of the same people may give other segments".to_owned());
    }
    if taken.smallest_share < SHARE_MIN {
        cautions.push("the smallest segment may be a handful of unusual rows".to_owned());
    }
    if taken.silhouette < SILHOUETTE_CLEAR {
        let silhouette = taken.silhouette;
        cautions.push(format!(
            "the segments shade into one another (silhouette {silhouette:.2}): read them as a \
             description of people, not as separate kinds"
        ));
    }
    cautions
}

/// The entry of the least measure, ties to fewer segments.
fn first_by<'evidence>(
    candidates: &[&'evidence Evidence],
    measure: impl Fn(&Evidence) -> f64,
) -> &'evidence Evidence {
    candidates[1..].iter().fold(candidates[0], |best, next| {
        if measure(next) < measure(best) {
            next
        } else {
            best
        }
    })
}

fn judge(
    rows: &Rows<'_>,
    halves: &[Sample],
    options: &SelectOptions,
    segments: usize,
) -> Result<Evidence, ClusterError> {
    let whole = super::fit_given(rows, options.method, segments, options.seed)?;
    let mut fits = Vec::with_capacity(halves.len());
    for half in halves {
        let clusters = fit_half(&half.rows(rows.features())?, options, segments)?;
        fits.push(clusters.assign_batch(rows.values())?);
    }
    let agreement = mean_agreement(&fits)?;
    let smallest_share = smallest_share(&whole.labels, segments);
    let silhouette = match smallest_share > 0.0 {
        true => visible_silhouette(rows, &whole.labels, options.seed)?,
        false => -1.0,
    };
    let is_reproducible = agreement >= AGREEMENT_WANTED && smallest_share >= SHARE_MIN;
    let bic = whole.bic;
    Ok(Evidence {
        segments,
        silhouette,
        bic,
        agreement,
        smallest_share,
        is_reproducible,
    })
}

/// The silhouette; zero where the sample shows one segment only, so lopsided are they.
fn visible_silhouette(rows: &Rows<'_>, labels: &[usize], seed: u64) -> Result<f64, ClusterError> {
    match quality::silhouette(rows, labels, quality::SILHOUETTE_ROWS_MAX, seed) {
        Err(ClusterError::Undefined { .. }) => Ok(0.0),
        other => other,
    }
}

fn fit_half(
    rows: &Rows<'_>,
    options: &SelectOptions,
    segments: usize,
) -> Result<Clusters, ClusterError> {
    match options.method {
        Method::KMeans => {
            Ok(kmeans::fit(rows, &KMeansOptions::new(segments, options.seed))?.clusters)
        }
        Method::Mixture(covariance) => {
            let options = MixtureOptions {
                covariance,
                ..MixtureOptions::new(segments, options.seed)
            };
            Ok(mixture::fit(rows, &options)?.clusters)
        }
    }
}

fn mean_agreement(fits: &[Vec<usize>]) -> Result<f64, ClusterError> {
    let mut sum = 0.0;
    let mut pairs = 0.0;
    for (index, one) in fits.iter().enumerate() {
        for other in &fits[index + 1..] {
            sum += quality::adjusted_rand(one, other)?;
            pairs += 1.0;
        }
    }
    Ok(sum / pairs)
}

fn smallest_share(labels: &[usize], segments: usize) -> f64 {
    let mut sizes = vec![0usize; segments];
    for &label in labels {
        sizes[label] += 1;
    }
    sizes.iter().copied().min().unwrap_or(0) as f64 / labels.len() as f64
}

fn largest_judgeable(
    rows: &Rows<'_>,
    halves: &[Sample],
    options: &SelectOptions,
) -> Result<usize, ClusterError> {
    let mut distinct = rows.distinct(options.to + 1);
    for half in halves {
        let found = match half.rows(rows.features()) {
            Ok(half) => half.distinct(options.to + 1),
            Err(ClusterError::Weight { .. }) => 0,
            Err(error) => return Err(error),
        };
        distinct = distinct.min(found);
    }
    let to = options.to.min(distinct.saturating_sub(1));
    if to < options.from {
        let (from, to) = (options.from, options.to);
        return Err(ClusterError::NothingToChoose { from, to, distinct });
    }
    Ok(to)
}

/// Some of the rows, copied.
struct Sample {
    values: Vec<f64>,
    weights: Vec<f64>,
}

impl Sample {
    fn draw(rows: &Rows<'_>, seed: u64, stream: u64, count: usize) -> Self {
        let drawn = Random::new(seed, 0x5e1e_c700 + stream).sample(rows.count(), count);
        let values = drawn
            .iter()
            .flat_map(|row| rows.row(*row))
            .copied()
            .collect();
        let weights = drawn.iter().map(|row| rows.weight(*row)).collect();
        Self { values, weights }
    }

    fn rows(&self, features: usize) -> Result<Rows<'_>, ClusterError> {
        Rows::new(&self.values, features)?.with_weights(&self.weights)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{blobs, noise};
    use super::*;
    use ombud_engine::clusters::Covariance;

    fn choose_from(values: &[f64], features: usize, method: Method) -> Choice {
        let rows = Rows::new(values, features).unwrap();
        choose(&rows, &SelectOptions::new(method, 3), &mut |_| {}).unwrap()
    }

    #[test]
    fn three_blobs_are_three_segments_whatever_the_method() {
        for method in [
            Method::KMeans,
            Method::Mixture(Covariance::Full),
            Method::Mixture(Covariance::Diagonal),
        ] {
            let choice = choose_from(&blobs(), 3, method);
            assert_eq!(choice.segments, 3, "{}", choice.reason);
            assert_eq!(choice.evidence.len(), 9);
            assert!(
                choice
                    .reason
                    .starts_with("3 segments: of 9 numbers considered")
            );
        }
    }

    #[test]
    fn without_structure_the_cautions_say_so() {
        let choice = choose_from(&noise(600, 6), 6, Method::KMeans);
        assert!(
            choice
                .cautions
                .iter()
                .any(|caution| caution.contains("shade into one another"))
        );
        assert!(
            choice
                .evidence
                .iter()
                .all(|one| one.silhouette < SILHOUETTE_CLEAR)
        );
    }

    #[test]
    fn progress_counts_to_the_end() {
        let values = blobs();
        let rows = Rows::new(&values, 3).unwrap();
        let options = SelectOptions {
            to: 4,
            ..SelectOptions::new(Method::KMeans, 3)
        };
        let mut seen = Vec::new();
        let first = choose(&rows, &options, &mut |progress| seen.push(progress)).unwrap();
        let expected = [(2, 1), (3, 2), (4, 3)].map(|(segments, done)| Progress {
            segments,
            done,
            total: 3,
        });
        assert_eq!(seen, expected);
        assert_eq!(choose(&rows, &options, &mut |_| {}).unwrap(), first);
    }

    #[test]
    fn the_range_ends_where_the_rows_do() {
        let values = [1.0, 1.1, 1.2, 5.0, 5.1, 5.2, 9.0, 9.1];
        let choice = choose_from(&values, 1, Method::KMeans);
        assert_eq!(choice.evidence.last().unwrap().segments, 3);
        let rows = Rows::new(&[1.0, 2.0, 3.0], 1).unwrap();
        let error = choose(&rows, &SelectOptions::new(Method::KMeans, 3), &mut |_| {}).unwrap_err();
        assert!(
            matches!(error, ClusterError::NothingToChoose { .. }),
            "{error}"
        );
        let same = Rows::new(&[1.0; 50], 1).unwrap();
        assert!(choose(&same, &SelectOptions::new(Method::KMeans, 3), &mut |_| {}).is_err());
    }

    #[test]
    fn absurd_ranges_are_refused() {
        let rows = Rows::new(&[1.0, 2.0, 3.0], 1).unwrap();
        for (from, to) in [(0, 5), (1, 5), (6, 5), (2, 257), (300, 400)] {
            let options = SelectOptions {
                from,
                to,
                ..SelectOptions::new(Method::KMeans, 0)
            };
            let error = choose(&rows, &options, &mut |_| {}).unwrap_err();
            assert!(matches!(error, ClusterError::Parameter { .. }), "{error}");
        }
    }

    fn evidence(segments: usize, silhouette: f64, bic: f64, agreement: f64) -> Evidence {
        let is_reproducible = agreement >= AGREEMENT_WANTED;
        Evidence {
            segments,
            silhouette,
            bic,
            agreement,
            smallest_share: 0.2,
            is_reproducible,
        }
    }

    #[test]
    fn a_near_tie_in_silhouette_goes_to_the_lower_bic() {
        let table = vec![
            evidence(2, 0.30, 900.0, 0.9),
            evidence(3, 0.31, 850.0, 0.9),
            evidence(4, 0.30, 800.0, 0.8),
            evidence(5, 0.60, 100.0, 0.4),
        ];
        let choice = decide(Method::KMeans, table.clone());
        assert_eq!(choice.segments, 4);
        assert_eq!(
            choice.reason,
            "4 segments: of 4 numbers considered, 3 came out alike on random halves of the rows \
             (this one with an agreement of 0.80, wanted 0.75), and its silhouette of 0.300 is \
             within 5 % of the highest, and of those as near it has the lowest BIC."
        );
        assert_eq!(decide(Method::Mixture(Covariance::Full), table).segments, 4);
    }

    #[test]
    fn where_nothing_is_reproducible_the_most_agreed_is_taken_with_a_caution() {
        let table = vec![evidence(2, 0.5, 9.0, 0.3), evidence(3, 0.4, 8.0, 0.6)];
        let choice = decide(Method::KMeans, table);
        assert_eq!(choice.segments, 3);
        assert!(
            choice
                .reason
                .contains("none of 2 numbers considered is reproducible")
        );
        assert_eq!(
            choice.cautions,
            ["another sample of the same people may give other segments"]
        );
    }
}
