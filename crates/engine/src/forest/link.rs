//! What a forest's margins mean: the function between a margin and a probability, rate or value.
//!
//! Kept with the forest because the objective implies it and every format stores it in its own words.
//! Calibration, which comes after, belongs to the caller.

/// The objective's own step from margins to predictions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Link {
    /// The margin is the prediction.
    Identity,
    /// `1 / (1 + exp(-scale × margin))`, each output on its own.
    Logistic { scale: f64 },
    /// Probabilities over all outputs.
    Softmax,
    /// `exp(margin)`: counts, gamma and Tweedie means.
    Exp,
    /// 1 if the margin is positive, else 0 (hinge loss).
    Step,
    /// `margin × |margin|`: the inverse of LightGBM's `reg_sqrt`.
    SignedSquare,
    /// `ln(1 + exp(margin))`: LightGBM's `cross_entropy_lambda`.
    Softplus,
}

impl Link {
    /// Turns one row's margins into predictions, in place.
    pub fn apply(self, margins: &mut [f64]) {
        match self {
            Link::Identity => {}
            Link::Softmax => softmax(margins),
            Link::Logistic { scale } => each(margins, |x| 1.0 / (1.0 + (-scale * x).exp())),
            Link::Exp => each(margins, f64::exp),
            Link::Step => each(margins, |x| f64::from(u8::from(x > 0.0))),
            Link::SignedSquare => each(margins, |x| x * x.abs()),
            Link::Softplus => each(margins, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        }
    }
}

fn each(margins: &mut [f64], function: impl Fn(f64) -> f64) {
    margins
        .iter_mut()
        .for_each(|margin| *margin = function(*margin));
}

/// Shifted by the greatest margin, so that nothing overflows.
fn softmax(margins: &mut [f64]) {
    let greatest = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    each(margins, |x| (x - greatest).exp());
    let sum: f64 = margins.iter().sum();
    each(margins, |x| x / sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied<const N: usize>(link: Link, mut margins: [f64; N]) -> [f64; N] {
        link.apply(&mut margins);
        margins
    }

    #[test]
    fn a_softmax_survives_large_margins() {
        assert_eq!(applied(Link::Softmax, [1000.0, 1000.0]), [0.5, 0.5]);
    }

    #[test]
    fn a_logistic_link_knows_its_scale() {
        // scipy 1.16: expit(1.5 * 0.4) = 0.6456563062257954
        let [p] = applied(Link::Logistic { scale: 1.5 }, [0.4]);
        assert!((p - 0.645_656_306_225_795_4).abs() < 1e-15);
    }

    #[test]
    fn a_softplus_neither_overflows_nor_loses_small_values() {
        let [large, small] = applied(Link::Softplus, [800.0, -40.0]);
        assert_eq!(large, 800.0);
        assert!((small / (-40.0_f64).exp() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_other_links_are_what_they_say() {
        assert_eq!(applied(Link::Identity, [-2.0]), [-2.0]);
        assert_eq!(applied(Link::Exp, [0.0]), [1.0]);
        assert_eq!(applied(Link::Step, [0.0, 0.1]), [0.0, 1.0]);
        assert_eq!(applied(Link::SignedSquare, [-3.0]), [-9.0]);
    }
}
