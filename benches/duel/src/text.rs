//! TF-IDF and logistic regression on texts: learning, and one document at a time.

use crate::prepared::{codes, count, texts};
use crate::{Measure, serve};
use anyhow::Result;
use ombud_engine::text::{DocumentLimit, GramRange, Scratch, SparseVector, TextOptions};
use ombud_learn::logistic::{Logistic, LogisticOptions, Rows, Targets};
use ombud_learn::vocabulary;
use std::ops::ControlFlow;
use std::path::Path;

/// Documents asked about one at a time.
const SINGLE_DOCUMENTS: usize = 2_000;

pub fn play(folder: &Path) -> Result<()> {
    let documents = texts(folder, "texts.json")?;
    let classes = codes(folder, "classes.u32")?;
    let count = count(folder, "classes")?;
    let options = TextOptions {
        word_grams: GramRange {
            shortest: 1,
            longest: 2,
        },
        min_df: DocumentLimit::Count(2),
        sublinear: true,
        ..TextOptions::default()
    };
    let vectorizer = vocabulary::fit(&options, &documents)?;
    let rows = vocabulary::transform(&vectorizer, &documents);
    let logistic = Logistic::new(LogisticOptions::default())?;
    let train = || {
        logistic.train(
            Rows::Sparse(&rows),
            Targets::Classes {
                classes: &classes,
                count,
            },
            None,
            &mut |_, _| ControlFlow::Continue(()),
        )
    };
    let model = train()?.model;
    let vectorize = Measure::new("vectorize", documents.len(), || {
        let vectorizer = vocabulary::fit(&options, &documents)?;
        Ok(vocabulary::transform(&vectorizer, &documents).entries() as f64)
    });
    let learn = Measure::new("learn", documents.len(), || Ok(train()?.objective));
    let single = Measure::new("single", SINGLE_DOCUMENTS, || {
        let (mut scratch, mut row) = (Scratch::default(), SparseVector::default());
        let mut margins = Vec::new();
        let mut sum = 0.0;
        for document in documents.iter().take(SINGLE_DOCUMENTS) {
            vectorizer.transform(document, &mut scratch, &mut row);
            model.start(&mut margins);
            model.add_sparse(0, &row, &mut margins)?;
            model.apply_link(&mut margins);
            sum += margins.iter().copied().fold(0.0, f64::max);
        }
        Ok(sum)
    });
    serve(vec![vectorize, learn, single])
}
