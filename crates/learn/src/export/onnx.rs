//! Writes a model as one ONNX graph that Python's onnxruntime answers with as we do.
//!
//! Everything travels: encoding, text, weights, link, calibration, thresholds. The graph takes one tensor per feature of
//! the schema, of as many rows as one likes, and needs no custom operators (the tokenizer is one of those that every
//! onnxruntime carries, `com.microsoft.Tokenizer`).
//!
//! | feature | input | missing is |
//! | --- | --- | --- |
//! | number | double, rows × 1 | NaN |
//! | ordinal, category | string, rows × 1 | the empty text, or any value that is not in the schema |
//! | text | string, rows × 1 | nothing but white space |
//! | sequence | double, rows × steps | NaN |
//!
//! | outputs of | are |
//! | --- | --- |
//! | classes | `label` (string, rows), `probabilities` (float, rows × classes) |
//! | labels | `labels` (bool, rows × labels), `probabilities` (float) |
//! | segments | `label` (string, rows), `memberships` (float, rows × segments) |
//! | a number | `value` (double, rows × 1) |
//!
//! Names of classes, labels and segments are in the file's metadata. Intervals and label sets stay behind.

mod answer;
mod builder;
mod clusters;
mod columns;
mod forest;
mod letters;
mod linear;
mod text;

use ombud_core::Schema;
use ombud_core::task::Outputs;
use ombud_engine::answering::Answering;
use ombud_engine::calibration::{Calibrator, Method};
use ombud_engine::clusters::Clusters;
use ombud_engine::encoding::{Block, Parts};
use ombud_engine::forest::Forest;
use ombud_engine::linear::Linear;
use ombud_onnx::Message;

use builder::Builder;

/// Most numbers in one file: protocol buffers end at two gigabytes.
const BYTES_MAX: usize = (1 << 31) - (1 << 20);

/// The parts of a model that its graph is made of.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub name: &'a str,
    pub schema: &'a Schema,
    pub blocks: &'a [Block],
    /// The vectorizers and text stages that blocks name.
    pub parts: &'a Parts,
    pub body: Body<'a>,
    pub answering: &'a Answering,
    pub outputs: &'a Outputs,
}

/// The weights.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    Forest(&'a Forest),
    Linear {
        linear: &'a Linear,
        /// Whether exactly one class is true.
        is_exclusive: bool,
    },
    Clusters(&'a Clusters),
}

/// Why a model cannot leave as ONNX.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// No operator that onnxruntime carries says this.
    #[error("{what} cannot be written as ONNX")]
    Unsupported { what: String, hint: &'static str },
    #[error("the parts of the model do not belong together: {reason}")]
    Contradiction { reason: String },
    #[error("the file would have {bytes} bytes, more than the {limit} that ONNX holds")]
    TooLarge { bytes: usize, limit: usize },
}

/// Inputs keep their features' names, and a graph has each name once.
fn refuse_twice_named(source: &Source<'_>) -> Result<(), ExportError> {
    let outputs: &[&str] = match source.outputs {
        Outputs::Number { .. } => &["value"],
        Outputs::Classes { .. } => &["label", "probabilities"],
        Outputs::Segments { .. } => &["label", "memberships"],
        Outputs::Labels { .. } => &["labels", "probabilities"],
    };
    let mut features = source.schema.features().iter();
    match features.find(|feature| outputs.contains(&feature.name.as_str())) {
        Some(feature) => Err(ExportError::Unsupported {
            what: format!("a feature called {:?}, as an output is,", feature.name),
            hint: "give the column another name and train again",
        }),
        None => Ok(()),
    }
}

/// The file's bytes.
///
/// # Errors
/// When ONNX has no words for a part, or the parts do not fit one another.
pub fn write(source: &Source<'_>) -> Result<Vec<u8>, ExportError> {
    refuse_twice_named(source)?;
    let mut builder = Builder::default();
    let scores = match source.body {
        Body::Forest(forest) => {
            let columns = columns::dense(&mut builder, source)?;
            forest::scores(&mut builder, forest, &columns, sums(source.answering))?
        }
        Body::Linear {
            linear,
            is_exclusive,
        } => linear::scores(&mut builder, source, linear, is_exclusive)?,
        Body::Clusters(clusters) => {
            let columns = columns::dense(&mut builder, source)?;
            clusters::scores(&mut builder, clusters, &columns)?
        }
    };
    answer::finish(&mut builder, source, &scores)?;
    let model = builder.model(source.name);
    let bytes = model.encoded_len();
    if bytes > BYTES_MAX {
        return Err(ExportError::TooLarge {
            bytes,
            limit: BYTES_MAX,
        });
    }
    Ok(model.encode_to_vec())
}

/// An isotonic curve may rise from one training row's score to the next: there the last digit of a sum is seen.
fn sums(answering: &Answering) -> forest::Sums {
    let method = answering.calibrator.as_ref().map(Calibrator::method);
    match method {
        Some(Method::Isotonic { .. }) => forest::Sums::TreeByTree,
        _ => forest::Sums::AnyOrder,
    }
}

fn contradiction(reason: impl Into<String>) -> ExportError {
    ExportError::Contradiction {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_core::Kind;
    use ombud_core::field_path::FieldPath;
    use ombud_core::schema::{Columns, Feature, Missing};
    use ombud_engine::linear::{Link, Weights};
    use ombud_engine::text::{Fitted, Hashing, Terms, TextOptions, Vectorizer, Vocabulary};
    use std::sync::Arc;

    fn refusal(options: TextOptions, terms: Terms) -> String {
        let feature = Feature {
            name: "note".into(),
            path: FieldPath::top("note"),
            kind: Kind::Text,
            missing: Missing::Allowed,
        };
        let schema = Schema::new(vec![feature], Columns::default()).unwrap();
        let count = terms.features();
        let vectorizer = Vectorizer::new(options, vec![Fitted { terms, idf: None }]).unwrap();
        let mut parts = Parts::default();
        parts.vectorizers.insert("v".into(), Arc::new(vectorizer));
        let linear = Linear::new(
            count,
            Weights::Single(vec![1.0; count]),
            vec![0.0],
            Link::Logistic,
        );
        let source = Source {
            name: "text",
            schema: &schema,
            blocks: &[Block::Text {
                feature: 0,
                vectorizer: "v".into(),
            }],
            parts: &parts,
            body: Body::Linear {
                linear: &linear.unwrap(),
                is_exclusive: true,
            },
            answering: &Answering::default(),
            outputs: &Outputs::Classes {
                names: vec!["no".into(), "yes".into()],
            },
        };
        match write(&source).unwrap_err() {
            ExportError::Unsupported { what, hint } => format!("{what}: {hint}"),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn text_that_onnx_has_no_words_for_is_refused_with_the_cure() {
        let plain = TextOptions {
            idf: false,
            ..TextOptions::default()
        };
        let hashing = Hashing {
            bits: 4,
            signed: false,
        };
        let hashed = TextOptions {
            hashing: Some(hashing),
            ..plain.clone()
        };
        assert_eq!(
            refusal(hashed, Terms::Hashed(hashing)),
            "text by hash: train the text with a vocabulary (no hashing)"
        );
        let folded = TextOptions {
            strip_accents: true,
            ..plain
        };
        let terms = Terms::Listed(Vocabulary::new(["calm"]).unwrap());
        assert_eq!(
            refusal(folded, terms),
            "taking accents off (strip_accents): train the text without it"
        );
    }
}
