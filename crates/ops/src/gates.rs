//! Judges a version's gates again from what was measured, before it is put to work.
//!
//! Pure: a manifest comes from outside, and its `passed` is a claim. The measured value and the limit beside it decide; what
//! they cannot decide counts as not passed.

use ombud_core::manifest::GateResult;

/// The gates as their numbers have them.
pub fn judged(gates: Vec<GateResult>) -> Vec<GateResult> {
    let judge = |mut gate: GateResult| {
        gate.passed = gate.passed && is_within(gate.measured, &gate.limit);
        gate
    };
    gates.into_iter().map(judge).collect()
}

/// Whether a measurement is within a limit as training writes it: `>= 0.85`, `<= 0.05`, `0.1 to 0.2`, or `none`.
fn is_within(measured: Option<f64>, limit: &str) -> bool {
    let Some(measured) = measured.filter(|measured| measured.is_finite()) else {
        return false;
    };
    if limit == "none" {
        return true;
    }
    if let Some(least) = limit.strip_prefix(">= ") {
        return number(least).is_some_and(|least| measured >= least);
    }
    if let Some(most) = limit.strip_prefix("<= ") {
        return number(most).is_some_and(|most| measured <= most);
    }
    let Some((least, most)) = limit.split_once(" to ") else {
        return false;
    };
    number(least).is_some_and(|least| measured >= least)
        && number(most).is_some_and(|most| measured <= most)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| !number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(passed: bool, measured: Option<f64>, limit: &str) -> GateResult {
        GateResult {
            name: "accuracy".to_owned(),
            passed,
            measured,
            limit: limit.to_owned(),
            note: String::new(),
        }
    }

    #[test]
    fn the_numbers_decide_and_not_what_the_manifest_claims() {
        for (measured, limit, passes) in [
            (Some(0.9), ">= 0.85", true),
            (Some(0.8), ">= 0.85", false),
            (Some(0.04), "<= 0.05", true),
            (Some(0.06), "<= 0.05", false),
            (Some(0.15), "0.1 to 0.2", true),
            (Some(0.25), "0.1 to 0.2", false),
            (Some(0.1), "none", true),
            (None, ">= 0.85", false),
            (None, "none", false),
            (Some(0.9), "more than enough", false),
            (Some(0.9), ">= NaN", false),
            (Some(f64::INFINITY), ">= 0.85", false),
        ] {
            let judged = judged(vec![gate(true, measured, limit)]);
            assert_eq!(judged[0].passed, passes, "{measured:?} {limit}");
        }
        let failed = judged(vec![gate(false, Some(0.9), ">= 0.85")]);
        assert!(!failed[0].passed, "nobody passes what training failed");
    }
}
