//! How good a segmentation is, in the usual numbers.
//!
//! All take the rows, a label per row below `segments`, and ignore segments without rows. They are
//! unweighted, as in scikit-learn, except [`inertia`]. Silhouette, Davies-Bouldin and
//! Calinski-Harabasz are undefined for one segment, and for as many segments as rows: an error, not
//! a number.

use ombud_engine::clusters::SEGMENTS_MAX;
use ombud_engine::clusters::tiles::{self, LANES, Lanes};
use rayon::prelude::*;

use super::random::Random;
use super::{ClusterError, Rows};

/// Up to this many rows the silhouette is exact; beyond, it is that of a random sample of as many.
/// Its cost grows with the square of the rows.
pub const SILHOUETTE_ROWS_MAX: usize = 10_000;

/// The stream of a seed that draws the silhouette's sample.
const SAMPLE_STREAM: u64 = 0x5117;

/// Mean silhouette: of `(b − a) / max(a, b)`, with `a` a row's mean distance to the others of its
/// segment and `b` its mean distance to the rows of the nearest other segment; zero for a row alone
/// in its segment.
///
/// Exact up to `rows_max` rows (usually [`SILHOUETTE_ROWS_MAX`]), else on a sample drawn by `seed`.
pub fn silhouette(
    rows: &Rows<'_>,
    labels: &[usize],
    rows_max: usize,
    seed: u64,
) -> Result<f64, ClusterError> {
    let sizes = sizes(rows, labels)?;
    check_defined("the silhouette", &sizes, rows.count())?;
    if rows.count() <= rows_max {
        return Ok(silhouette_exact(rows, labels, &sizes));
    }
    let sample = Random::new(seed, SAMPLE_STREAM).sample(rows.count(), rows_max);
    let values: Vec<f64> = sample
        .iter()
        .flat_map(|row| rows.row(*row))
        .copied()
        .collect();
    let labels: Vec<usize> = sample.iter().map(|row| labels[*row]).collect();
    let rows = Rows::new(&values, rows.features())?;
    silhouette(&rows, &labels, rows_max, seed)
}

/// Mean over segments of the worst `(sᵢ + sⱼ) / dᵢⱼ`, with `s` a segment's mean distance to its
/// middle and `d` the distance of two middles; lower is better. Middles that coincide count as no
/// likeness, as in scikit-learn.
pub fn davies_bouldin(rows: &Rows<'_>, labels: &[usize]) -> Result<f64, ClusterError> {
    let sizes = sizes(rows, labels)?;
    check_defined("Davies-Bouldin", &sizes, rows.count())?;
    let middles = middles(rows, labels, &sizes);
    let features = rows.features();
    let middle = |segment: usize| &middles[segment * features..(segment + 1) * features];
    let mut scatter = vec![0.0; sizes.len()];
    for (index, &label) in labels.iter().enumerate() {
        scatter[label] += tiles::squared_distance(rows.row(index), middle(label)).sqrt();
    }
    let filled = filled(&sizes);
    let mean_scatter = |segment: usize| scatter[segment] / sizes[segment] as f64;
    let likeness = |one: usize, other: usize| {
        let gap = tiles::squared_distance(middle(one), middle(other)).sqrt();
        if gap > 0.0 {
            (mean_scatter(one) + mean_scatter(other)) / gap
        } else {
            0.0
        }
    };
    let worst = |one: usize| {
        let others = filled.iter().filter(|other| **other != one);
        others
            .map(|other| likeness(one, *other))
            .fold(0.0, f64::max)
    };
    Ok(filled.iter().map(|one| worst(*one)).sum::<f64>() / filled.len() as f64)
}

/// Variance between segments over variance within, each per degree of freedom; higher is better.
/// One where nothing varies within, as in scikit-learn.
pub fn calinski_harabasz(rows: &Rows<'_>, labels: &[usize]) -> Result<f64, ClusterError> {
    let sizes = sizes(rows, labels)?;
    check_defined("Calinski-Harabasz", &sizes, rows.count())?;
    let features = rows.features();
    let middles = middles(rows, labels, &sizes);
    let whole = Rows::new(rows.values(), features)?.mean();
    let within = scatter(rows, labels, &middles, false);
    if within == 0.0 {
        return Ok(1.0);
    }
    let parts = middles.chunks_exact(features).zip(&sizes);
    let between: f64 = parts
        .map(|(middle, size)| *size as f64 * tiles::squared_distance(middle, &whole))
        .sum();
    let (count, segments) = (rows.count() as f64, filled(&sizes).len() as f64);
    Ok(between * (count - segments) / (within * (segments - 1.0)))
}

/// Weighted sum of squared distances of the rows to the weighted middle of their segment.
pub fn inertia(rows: &Rows<'_>, labels: &[usize], segments: usize) -> Result<f64, ClusterError> {
    check_labels(labels, rows.count(), segments)?;
    let features = rows.features();
    let mut sums = vec![0.0; segments * features];
    let mut masses = vec![0.0; segments];
    for (index, &label) in labels.iter().enumerate() {
        let weight = rows.weight(index);
        masses[label] += weight;
        let sums = &mut sums[label * features..(label + 1) * features];
        for (sum, value) in sums.iter_mut().zip(rows.row(index)) {
            *sum += weight * value;
        }
    }
    for (sums, mass) in sums.chunks_exact_mut(features).zip(&masses) {
        sums.iter_mut()
            .filter(|_| *mass > 0.0)
            .for_each(|sum| *sum /= mass);
    }
    Ok(scatter(rows, labels, &sums, true))
}

/// The adjusted Rand index of two segmentations of the same rows: 1 when they agree up to the
/// numbering, about 0 when they agree as chance would.
pub fn adjusted_rand(one: &[usize], other: &[usize]) -> Result<f64, ClusterError> {
    if one.is_empty() {
        return Err(ClusterError::NoRows);
    }
    check_labels(one, one.len(), SEGMENTS_MAX)?;
    check_labels(other, one.len(), SEGMENTS_MAX)?;
    let width = other.iter().max().map_or(0, |label| label + 1);
    let height = one.iter().max().map_or(0, |label| label + 1);
    let mut table = vec![0u64; width * height];
    for (&row, &column) in one.iter().zip(other) {
        table[row * width + column] += 1;
    }
    let of_one = table.chunks(width).map(|row| row.iter().sum::<u64>());
    let of_other = (0..width).map(|column| table.iter().skip(column).step_by(width).sum::<u64>());
    let (pairs_one, pairs_other) = (pairs(of_one), pairs(of_other));
    let (together, all) = (pairs(table.iter().copied()), pairs([one.len() as u64]));
    let expected = if all > 0.0 {
        pairs_one * pairs_other / all
    } else {
        0.0
    };
    let best = 0.5 * (pairs_one + pairs_other);
    // Both all in one segment, or both each row on its own: nothing to disagree about.
    if best == expected {
        return Ok(1.0);
    }
    Ok((together - expected) / (best - expected))
}

/// How many pairs there are within groups of these sizes.
fn pairs(sizes: impl IntoIterator<Item = u64>) -> f64 {
    sizes
        .into_iter()
        .map(|size| size as f64 * (size as f64 - 1.0) / 2.0)
        .sum()
}

fn silhouette_exact(rows: &Rows<'_>, labels: &[usize], sizes: &[usize]) -> f64 {
    let tiles = SegmentTiles::new(rows, labels, sizes);
    let parts: Vec<f64> = rows
        .chunks()
        .into_par_iter()
        .flat_map_iter(|chunk| {
            let mut sums = vec![0.0; sizes.len()];
            let tiles = &tiles;
            chunk.map(move |index| {
                tiles.distance_sums(rows.row(index), &mut sums);
                silhouette_of(labels[index], &sums, sizes)
            })
        })
        .collect();
    parts.iter().sum::<f64>() / rows.count() as f64
}

fn silhouette_of(label: usize, sums: &[f64], sizes: &[usize]) -> f64 {
    if sizes[label] <= 1 {
        return 0.0;
    }
    let own = sums[label] / (sizes[label] - 1) as f64;
    let others = sums.iter().zip(sizes).enumerate();
    let nearest = others
        .filter(|(segment, (_, size))| *segment != label && **size > 0)
        .map(|(_, (sum, size))| sum / *size as f64)
        .fold(f64::INFINITY, f64::min);
    let larger = own.max(nearest);
    if larger > 0.0 {
        (nearest - own) / larger
    } else {
        0.0
    }
}

/// The rows in tiles of eight that never mix segments.
struct SegmentTiles {
    features: usize,
    /// All tiles of all segments, one feature after the other.
    lanes: Vec<Lanes>,
    /// For each segment, how many rows each of its tiles holds.
    filled: Vec<Vec<usize>>,
}

impl SegmentTiles {
    fn new(rows: &Rows<'_>, labels: &[usize], sizes: &[usize]) -> Self {
        let features = rows.features();
        let mut members: Vec<Vec<usize>> =
            sizes.iter().map(|size| Vec::with_capacity(*size)).collect();
        for (index, &label) in labels.iter().enumerate() {
            members[label].push(index);
        }
        let mut lanes = Vec::new();
        let mut tile = vec![[0.0; LANES]; features];
        for group in members.iter().flat_map(|members| members.chunks(LANES)) {
            tiles::fill(&mut tile, group.len(), |lane| rows.row(group[lane]));
            lanes.extend_from_slice(&tile);
        }
        let filled = members
            .iter()
            .map(|members| members.chunks(LANES).map(<[_]>::len).collect());
        Self {
            features,
            lanes,
            filled: filled.collect(),
        }
    }

    /// The sum of the distances from a row to the rows of each segment.
    fn distance_sums(&self, row: &[f64], sums: &mut [f64]) {
        let mut tiles = self.lanes.chunks_exact(self.features);
        for (sum, filled) in sums.iter_mut().zip(&self.filled) {
            let mut lanes = [0.0; LANES];
            let mut rest = 0.0;
            for (&filled, tile) in filled.iter().zip(&mut tiles) {
                let distances = tiles::squared_distances(tile, row).map(f64::sqrt);
                if filled < LANES {
                    rest = distances[..filled].iter().sum();
                    continue;
                }
                for lane in 0..LANES {
                    lanes[lane] += distances[lane];
                }
            }
            *sum = lanes.iter().sum::<f64>() + rest;
        }
    }
}

fn sizes(rows: &Rows<'_>, labels: &[usize]) -> Result<Vec<usize>, ClusterError> {
    check_labels(labels, rows.count(), SEGMENTS_MAX)?;
    let segments = labels.iter().max().map_or(0, |label| label + 1);
    let mut sizes = vec![0; segments];
    for &label in labels {
        sizes[label] += 1;
    }
    Ok(sizes)
}

fn filled(sizes: &[usize]) -> Vec<usize> {
    (0..sizes.len())
        .filter(|segment| sizes[*segment] > 0)
        .collect()
}

fn middles(rows: &Rows<'_>, labels: &[usize], sizes: &[usize]) -> Vec<f64> {
    let features = rows.features();
    let mut sums = vec![0.0; sizes.len() * features];
    for (index, &label) in labels.iter().enumerate() {
        let sums = &mut sums[label * features..(label + 1) * features];
        for (sum, value) in sums.iter_mut().zip(rows.row(index)) {
            *sum += value;
        }
    }
    for (sums, &size) in sums.chunks_exact_mut(features).zip(sizes) {
        sums.iter_mut().for_each(|sum| *sum /= size.max(1) as f64);
    }
    sums
}

fn scatter(rows: &Rows<'_>, labels: &[usize], middles: &[f64], is_weighted: bool) -> f64 {
    let features = rows.features();
    let square = |(index, label): (usize, &usize)| {
        let weight = if is_weighted { rows.weight(index) } else { 1.0 };
        let middle = &middles[label * features..(label + 1) * features];
        weight * tiles::squared_distance(rows.row(index), middle)
    };
    labels.iter().enumerate().map(square).sum()
}

fn check_labels(labels: &[usize], rows: usize, segments: usize) -> Result<(), ClusterError> {
    if segments > SEGMENTS_MAX {
        return Err(ClusterError::Segments {
            wanted: segments,
            limit: SEGMENTS_MAX,
        });
    }
    if labels.len() != rows {
        let found = labels.len();
        return Err(ClusterError::Length {
            what: "the list of labels",
            found,
            rows,
        });
    }
    match labels.iter().find(|label| **label >= segments) {
        None => Ok(()),
        Some(&label) => Err(ClusterError::Label { label, segments }),
    }
}

fn check_defined(measure: &'static str, sizes: &[usize], rows: usize) -> Result<(), ClusterError> {
    let segments = filled(sizes).len();
    if (2..rows).contains(&segments) {
        return Ok(());
    }
    Err(ClusterError::Undefined {
        measure,
        segments,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{blobs, noise};
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs().max(1e-3),
            "{found} {expected}"
        );
    }

    #[test]
    fn measures_are_those_of_scikit_learn() {
        // scikit-learn 1.9.1: silhouette_score, davies_bouldin_score, calinski_harabasz_score.
        let values = blobs();
        let rows = Rows::new(&values, 3).unwrap();
        let good: Vec<usize> = (0..240).map(|row| row % 3).collect();
        let poor: Vec<usize> = (0..240).map(|row| row / 7 % 4).collect();
        near(
            silhouette(&rows, &good, 1000, 0).unwrap(),
            0.5273115470802906,
        );
        near(davies_bouldin(&rows, &good).unwrap(), 0.7067832955808487);
        near(calinski_harabasz(&rows, &good).unwrap(), 435.2680817652693);
        near(
            silhouette(&rows, &poor, 1000, 0).unwrap(),
            -0.027373110549398186,
        );
        near(davies_bouldin(&rows, &poor).unwrap(), 44.590534370368715);
        near(
            calinski_harabasz(&rows, &poor).unwrap(),
            0.20689977738988163,
        );
        near(adjusted_rand(&good, &poor).unwrap(), -0.010017111744514367);
        let close: Vec<usize> = good
            .iter()
            .enumerate()
            .map(|(row, label)| (label + usize::from(row % 11 == 0)) % 3)
            .collect();
        near(adjusted_rand(&close, &good).unwrap(), 0.7481333732847982);
    }

    #[test]
    fn agreement_ignores_the_numbering() {
        assert_eq!(adjusted_rand(&[0, 0, 1, 2], &[2, 2, 0, 1]).unwrap(), 1.0);
        assert_eq!(adjusted_rand(&[0, 0, 0], &[0, 0, 0]).unwrap(), 1.0);
        assert_eq!(adjusted_rand(&[0], &[5]).unwrap(), 1.0);
        // scikit-learn 1.9.1: adjusted_rand_score([0, 0, 1, 1], [0, 1, 0, 1]) and ([0, 1, 2], [0,
        // 0, 0])
        near(adjusted_rand(&[0, 0, 1, 1], &[0, 1, 0, 1]).unwrap(), -0.5);
        assert_eq!(adjusted_rand(&[0, 1, 2], &[0, 0, 0]).unwrap(), 0.0);
        assert!(adjusted_rand(&[0, 1], &[0]).is_err());
        assert!(adjusted_rand(&[], &[]).is_err());
        assert!(adjusted_rand(&[0, usize::MAX], &[0, 0]).is_err());
    }

    #[test]
    fn a_row_alone_in_its_segment_has_silhouette_zero_and_duplicates_are_no_trouble() {
        // scikit-learn 1.9.1: silhouette_score([[0], [1], [9]], [0, 0, 1])
        let rows = Rows::new(&[0.0, 1.0, 9.0], 1).unwrap();
        near(
            silhouette(&rows, &[0, 0, 1], 10, 0).unwrap(),
            0.587962962962963,
        );
        let same = Rows::new(&[2.0; 4], 1).unwrap();
        assert_eq!(silhouette(&same, &[0, 0, 1, 1], 10, 0).unwrap(), 0.0);
        assert_eq!(davies_bouldin(&same, &[0, 0, 1, 1]).unwrap(), 0.0);
        assert_eq!(calinski_harabasz(&same, &[0, 0, 1, 1]).unwrap(), 1.0);
    }

    #[test]
    fn segments_without_rows_do_not_count() {
        let rows = Rows::new(&[0.0, 1.0, 9.0, 10.0], 1).unwrap();
        let (dense, sparse) = ([0, 0, 1, 1], [1, 1, 4, 4]);
        assert_eq!(
            silhouette(&rows, &dense, 9, 0),
            silhouette(&rows, &sparse, 9, 0)
        );
        assert_eq!(
            davies_bouldin(&rows, &dense),
            davies_bouldin(&rows, &sparse)
        );
        assert_eq!(
            calinski_harabasz(&rows, &dense),
            calinski_harabasz(&rows, &sparse)
        );
    }

    #[test]
    fn one_segment_or_as_many_as_rows_is_an_error() {
        let rows = Rows::new(&[0.0, 1.0, 9.0], 1).unwrap();
        for labels in [[0, 0, 0], [0, 1, 2]] {
            assert!(matches!(
                silhouette(&rows, &labels, 9, 0),
                Err(ClusterError::Undefined { .. })
            ));
            assert!(davies_bouldin(&rows, &labels).is_err());
            assert!(calinski_harabasz(&rows, &labels).is_err());
        }
        assert!(silhouette(&rows, &[0, 1], 9, 0).is_err());
        assert!(inertia(&rows, &[0, 1, 2], 2).is_err());
        assert!(inertia(&rows, &[0, 1, 2], usize::MAX).is_err());
        assert_eq!(inertia(&rows, &[0, 0, 1], 2).unwrap(), 0.5);
    }

    #[test]
    fn the_sampled_silhouette_is_near_the_exact_one() {
        let values = noise(3000, 2);
        let rows = Rows::new(&values, 2).unwrap();
        let labels: Vec<usize> = values
            .chunks(2)
            .map(|row| usize::from(row[0] > 0.5))
            .collect();
        let exact = silhouette(&rows, &labels, 3000, 0).unwrap();
        let sampled = silhouette(&rows, &labels, 1000, 7).unwrap();
        assert!(
            (exact - sampled).abs() < 0.03 && exact != sampled,
            "{exact} {sampled}"
        );
        assert_eq!(sampled, silhouette(&rows, &labels, 1000, 7).unwrap());
    }
}
