//! k-means and Gaussian mixtures.

use crate::prepared::{count, doubles};
use crate::{Measure, serve};
use anyhow::Result;
use ombud_learn::cluster::Rows;
use ombud_learn::cluster::kmeans::{self, KMeansOptions};
use ombud_learn::cluster::mixture::{self, MixtureOptions};
use std::path::Path;

pub fn play(folder: &Path) -> Result<()> {
    let points = doubles(folder, "points.f64")?;
    let segments = count(folder, "segments")?;
    let restarts = count(folder, "restarts")?;
    let rows = Rows::new(&points.values, points.columns)?;
    let kmeans = Measure::new("kmeans", points.rows(), || {
        let options = KMeansOptions {
            restarts,
            ..KMeansOptions::new(segments, 7)
        };
        Ok(kmeans::fit(&rows, &options)?.inertia)
    });
    let mixture = Measure::new("mixture", points.rows(), || {
        let options = MixtureOptions {
            restarts: 1,
            ..MixtureOptions::new(segments, 7)
        };
        Ok(mixture::fit(&rows, &options)?.log_likelihood)
    });
    serve(vec![kmeans, mixture])
}
