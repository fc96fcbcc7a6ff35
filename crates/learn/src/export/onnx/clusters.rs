//! Segments: distances to centers or densities of a mixture, and the shares they give.

use ombud_engine::clusters::{Centers, Clusters, Covariance, Mixture};
use ombud_onnx::data_type;

use super::ExportError;
use super::builder::{Builder, Port, Setting};

/// Memberships as doubles, one a segment.
pub(super) fn scores(
    builder: &mut Builder,
    clusters: &Clusters,
    columns: &Port,
) -> Result<Port, ExportError> {
    Ok(match clusters {
        Clusters::Centers(centers) => of_centers(builder, centers, columns),
        Clusters::Mixture(mixture) => of_mixture(builder, mixture, columns),
    })
}

/// The squared distance but for the row's own square, which all segments share: `|c|² − 2·x·c`.
fn of_centers(builder: &mut Builder, centers: &Centers, columns: &Port) -> Port {
    let (segments, features) = (centers.segments(), centers.features());
    let all = centers.centers();
    let turned = (0..features).flat_map(|feature| {
        (0..segments).map(move |segment| 2.0 * all[segment * features + feature])
    });
    let turned = builder.doubles(&[features, segments], &turned.collect::<Vec<_>>());
    let squares: Vec<f64> = all
        .chunks_exact(features)
        .map(|center| center.iter().map(|x| x * x).sum())
        .collect();
    let squares = builder.doubles(&[1, segments], &squares);
    let product = builder.op("MatMul", &[columns, &turned]);
    let closeness = builder.op("Sub", &[&product, &squares]);
    if centers.spread() == 0.0 {
        return best_takes_all(builder, &closeness);
    }
    let temperature = builder.number(2.0 * centers.spread());
    let scaled = builder.op("Div", &[&closeness, &temperature]);
    builder.op_with("Softmax", &[&scaled], vec![("axis", Setting::Int(1))])
}

fn best_takes_all(builder: &mut Builder, closeness: &Port) -> Port {
    let top = builder.reduce("ReduceMax", closeness);
    let is_top = builder.op("Equal", &[closeness, &top]);
    let is_top = builder.cast(&is_top, data_type::DOUBLE);
    let total = builder.reduce("ReduceSum", &is_top);
    builder.op("Div", &[&is_top, &total])
}

/// `ln weight + ln det W − features/2·ln 2π − ½·|W(x − mean)|²` for every segment.
fn of_mixture(builder: &mut Builder, mixture: &Mixture, columns: &Port) -> Port {
    let features = mixture.features();
    let width = mixture.covariance().width(features);
    let parts = mixture
        .means()
        .chunks_exact(features)
        .zip(mixture.whitening().chunks_exact(width));
    let mut squares = Vec::with_capacity(mixture.segments());
    for (mean, whitening) in parts {
        let mean = builder.doubles(&[1, features], mean);
        let offset = builder.op("Sub", &[columns, &mean]);
        let white = match mixture.covariance() {
            Covariance::Diagonal => {
                let factors = builder.doubles(&[1, features], whitening);
                builder.op("Mul", &[&offset, &factors])
            }
            Covariance::Full => {
                let turned = (0..features).flat_map(|row| {
                    (0..features).map(move |column| whitening[column * features + row])
                });
                let turned = builder.doubles(&[features, features], &turned.collect::<Vec<_>>());
                builder.op("MatMul", &[&offset, &turned])
            }
        };
        squares.push(builder.reduce("ReduceSumSquare", &white));
    }
    let squares = builder.concat(&squares);
    let half = builder.number(0.5);
    let halves = builder.op("Mul", &[&squares, &half]);
    let peaks = builder.doubles(&[1, mixture.segments()], &peaks(mixture));
    let scores = builder.op("Sub", &[&peaks, &halves]);
    builder.op_with("Softmax", &[&scores], vec![("axis", Setting::Int(1))])
}

fn peaks(mixture: &Mixture) -> Vec<f64> {
    let features = mixture.features();
    let width = mixture.covariance().width(features);
    let step = if mixture.covariance() == Covariance::Full {
        features + 1
    } else {
        1
    };
    let constant = features as f64 / 2.0 * (2.0 * std::f64::consts::PI).ln();
    let parts = mixture
        .weights()
        .iter()
        .zip(mixture.whitening().chunks_exact(width));
    let log_determinant =
        |whitening: &[f64]| whitening.iter().step_by(step).map(|x| x.ln()).sum::<f64>();
    parts
        .map(|(weight, whitening)| weight.ln() + log_determinant(whitening) - constant)
        .collect()
}
