//! How good a model is, told so that nobody is impressed by accident: with its interval, beside the simplest answers, and
//! below what is possible at all.

use ombud_learn::math::share_interval;
use ombud_learn::random::Random;
use std::collections::BTreeMap;

const LEVEL: f64 = 0.95;
const REPLICATES: usize = 1_000;

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

/// A number that something else reaches or that nothing can pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Beside {
    pub name: &'static str,
    pub measured: Measured,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub model: &'static str,
    /// What is measured, on whom.
    pub what: &'static str,
    pub rows: usize,
    pub measured: Measured,
    /// What simpler answers reach.
    pub baselines: Vec<Beside>,
    /// What cannot be passed.
    pub ceilings: Vec<Beside>,
}

impl Measured {
    /// A share of independent rows (Wilson).
    pub fn share(hits: usize, rows: usize) -> Measured {
        let (lower, upper) = share_interval(hits as f64, rows as f64, LEVEL);
        Measured {
            value: hits as f64 / rows.max(1) as f64,
            lower,
            upper,
        }
    }

    /// A mean over rows that come in clusters, such as people of an organization: whole clusters are drawn again.
    pub fn clustered(rows: impl IntoIterator<Item = (usize, f64)>, seed: u64) -> Measured {
        let mut clusters: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for (cluster, value) in rows {
            let sums = clusters.entry(cluster).or_default();
            sums.0 += value;
            sums.1 += 1.0;
        }
        let clusters: Vec<(f64, f64)> = clusters.into_values().collect();
        let mean = |of: &mut dyn Iterator<Item = (f64, f64)>| {
            let (sum, count) = of.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
            sum / f64::max(count, 1.0)
        };
        let mut random = Random::new(seed);
        let mut drawn: Vec<f64> = (0..REPLICATES)
            .map(|_| mean(&mut (0..clusters.len()).map(|_| clusters[random.below(clusters.len())])))
            .collect();
        drawn.sort_by(f64::total_cmp);
        Measured {
            value: mean(&mut clusters.iter().copied()),
            lower: drawn[REPLICATES * 25 / 1_000],
            upper: drawn[REPLICATES * 975 / 1_000 - 1],
        }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.3} [{:.3}, {:.3}]",
            self.value, self.lower, self.upper
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_over_clusters_is_wider_when_clusters_differ() {
        let rows = |spread: bool| {
            (0..1_000).map(move |row| {
                (
                    row / 50,
                    f64::from(u8::from(if spread {
                        row / 50 % 2 == 0
                    } else {
                        row % 2 == 0
                    })),
                )
            })
        };
        let (even, uneven) = (
            Measured::clustered(rows(false), 1),
            Measured::clustered(rows(true), 1),
        );
        assert_eq!((even.value, uneven.value), (0.5, 0.5));
        assert!(uneven.upper - uneven.lower > 10.0 * (even.upper - even.lower));
    }
}
