//! The plain walk: one row, one tree, one node at a time.
//!
//! This is the meaning of a forest. It is slow and obvious on purpose; every fast path is tested to be
//! bit-equal to it, and forests that no fast path can hold fall back to it.

use super::{Comparison, Forest, Node, Span, Split, Test};

/// LightGBM's `kZeroThreshold`: numbers this close to zero are zero.
pub(super) const ZERO_MAX: f64 = 1e-35_f32 as f64;

impl Forest {
    /// Margins of row-major `rows`, by the plain walk.
    ///
    /// # Panics
    /// When the lengths do not fit [`Forest::features`] and [`Forest::outputs`].
    pub fn margins(&self, rows: &[f64], out: &mut [f64]) {
        let count = super::compiled::row_count(rows, self.features, out, self.outputs());
        for index in 0..count {
            let row = &rows[index * self.features..][..self.features];
            self.margins_row(row, &mut out[index * self.outputs()..][..self.outputs()]);
        }
    }

    /// Margins of one row, by the plain walk.
    ///
    /// # Panics
    /// As [`Forest::margins`].
    pub fn margins_row(&self, row: &[f64], out: &mut [f64]) {
        assert_eq!(row.len(), self.features);
        out.copy_from_slice(&self.base_margins);
        for &tree in &self.trees {
            let sum = &mut out[tree.output as usize];
            let value = self.leaf_value(tree, row);
            *sum = match self.comparison {
                Comparison::Less => f64::from(*sum as f32 + value as f32),
                Comparison::LessOrEqual => *sum + value,
            };
        }
    }

    fn leaf_value(&self, tree: Span, row: &[f64]) -> f64 {
        let nodes = self.nodes_of(tree);
        let mut index = 0;
        loop {
            match nodes[index] {
                Node::Leaf { value, .. } => return value,
                Node::Split(split) if self.goes_left(&split, row) => index = split.left as usize,
                Node::Split(split) => index = split.right as usize,
            }
        }
    }

    /// Where a row goes at a split.
    #[inline]
    pub(super) fn goes_left(&self, split: &Split, row: &[f64]) -> bool {
        let x = row[split.feature as usize];
        if x.is_nan() {
            return split.missing_left;
        }
        match split.test {
            Test::Members(set) => {
                let category = self.comparison.category(x);
                let set = &self.sets[set as usize];
                self.comparison
                    .member_goes_left(category.is_some_and(|code| set.contains(code)))
            }
            Test::Threshold(_)
                if self.zero_counts_as_missing(split.feature as usize) && x.abs() <= ZERO_MAX =>
            {
                split.missing_left
            }
            Test::Threshold(threshold) => match self.comparison {
                Comparison::Less => (x as f32) < threshold as f32,
                Comparison::LessOrEqual => x <= threshold,
            },
        }
    }
}
