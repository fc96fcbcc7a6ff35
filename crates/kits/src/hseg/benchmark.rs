//! Where an organization stands among the others of its domain, from what was really measured.
//!
//! The percentile of a score is the share of the others that are below it, ties counting half, times 100. The others are
//! the newest profiles of the organizations of the same domain in this house. With fewer than [`OTHERS_MIN`] of them there
//! is no percentile: a place among two says more of the other than of oneself.

/// Others that it takes.
pub const OTHERS_MIN: usize = 2;

/// 0 to 100.
///
/// ```
/// use ombud_kits::hseg::benchmark::percentile;
/// assert_eq!(percentile(15.0, &[12.0, 15.0, 18.0, 20.0]), Some(37.5));
/// assert_eq!(percentile(15.0, &[12.0]), None);
/// ```
pub fn percentile(own: f64, others: &[f64]) -> Option<f64> {
    if others.len() < OTHERS_MIN {
        return None;
    }
    let below = others.iter().filter(|other| **other < own).count() as f64;
    let ties = others.iter().filter(|other| **other == own).count() as f64;
    Some(100.0 * (below + ties / 2.0) / others.len() as f64)
}

/// The middle of the others' scores.
pub fn median(others: &[f64]) -> Option<f64> {
    if others.len() < OTHERS_MIN {
        return None;
    }
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    Some((low + high) / 2.0)
}
