//! Segments as bytes: a safetensors file whose one metadata entry says in JSON what the tensors
//! are.
//!
//! Reading is bounded and checks everything: format and version, method, the exact set of tensors,
//! their type and shape, and then what the constructors demand. Arbitrary bytes give an error,
//! never a panic. Writing the same model twice gives the same bytes, so a bundle's digest means
//! something.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{Centers, Clusters, ClustersError, Covariance, Mixture};
use super::{PARAMETERS_MAX, check_length, check_shape};

/// The largest file read: three of the largest tensors and room for the header.
pub const BYTES_MAX: usize = 3 * 8 * PARAMETERS_MAX + (1 << 20);
/// The metadata key the header is under.
const KEY: &str = "ombud.clusters";
/// The format this code writes and reads.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    method: Method,
    segments: usize,
    features: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    Kmeans,
    MixtureFull,
    MixtureDiagonal,
}

/// A tensor before writing: name, shape, numbers.
type Part<'model> = (&'static str, Vec<usize>, &'model [f64]);

impl Clusters {
    /// The model as a safetensors file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ClustersError> {
        let header = Header {
            version: VERSION,
            method: self.method(),
            segments: self.segments(),
            features: self.features(),
        };
        let json = serde_json::to_string(&header).map_err(unreadable)?;
        let (segments, features) = (self.segments(), self.features());
        match self {
            Self::Centers(centers) => {
                let spread = [centers.spread()];
                let parts = [
                    ("centers", vec![segments, features], centers.centers()),
                    ("population", vec![features], centers.population()),
                    ("spread", vec![1], &spread[..]),
                ];
                write(&parts, json)
            }
            Self::Mixture(mixture) => {
                let width = mixture.covariance().width(features);
                let parts = [
                    ("means", vec![segments, features], mixture.means()),
                    ("weights", vec![segments], mixture.weights()),
                    ("whitening", vec![segments, width], mixture.whitening()),
                ];
                write(&parts, json)
            }
        }
    }

    /// Reads what [`Clusters::to_bytes`] wrote; anything else is an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClustersError> {
        if bytes.len() > BYTES_MAX {
            return Err(ClustersError::TooLarge {
                found: bytes.len(),
                limit: BYTES_MAX,
            });
        }
        let header = read_header(bytes)?;
        check_shape(header.segments, header.features)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        check_length("the list of tensors", tensors.len(), 3)?;
        let (segments, features) = (header.segments, header.features);
        let covariance = match header.method {
            Method::Kmeans => return read_centers(&tensors, segments, features),
            Method::MixtureFull => Covariance::Full,
            Method::MixtureDiagonal => Covariance::Diagonal,
        };
        let weights = read(&tensors, "weights", &[segments])?;
        let means = read(&tensors, "means", &[segments, features])?;
        let whitening = read(
            &tensors,
            "whitening",
            &[segments, covariance.width(features)],
        )?;
        Ok(Self::Mixture(Mixture::new(
            covariance, features, weights, means, whitening,
        )?))
    }

    fn method(&self) -> Method {
        match self {
            Self::Centers(_) => Method::Kmeans,
            Self::Mixture(mixture) => match mixture.covariance() {
                Covariance::Full => Method::MixtureFull,
                Covariance::Diagonal => Method::MixtureDiagonal,
            },
        }
    }
}

fn write(parts: &[Part<'_>], json: String) -> Result<Vec<u8>, ClustersError> {
    let bytes: Vec<Vec<u8>> = parts
        .iter()
        .map(|(_, _, values)| {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .collect();
    let views = parts.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F64, shape.clone(), bytes).map_err(unreadable)?;
        Ok((*name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, ClustersError>>()?;
    let metadata = HashMap::from([(KEY.to_owned(), json)]);
    safetensors::serialize(views, Some(metadata)).map_err(unreadable)
}

fn read_header(bytes: &[u8]) -> Result<Header, ClustersError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    let json = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(KEY));
    let json = json.ok_or_else(|| unreadable("it does not say that it holds segments"))?;
    let header: Header = serde_json::from_str(json).map_err(unreadable)?;
    if header.version != VERSION {
        let found = header.version;
        return Err(unreadable(format!(
            "its format is version {found}, this program reads {VERSION}"
        )));
    }
    Ok(header)
}

fn read_centers(
    tensors: &SafeTensors<'_>,
    segments: usize,
    features: usize,
) -> Result<Clusters, ClustersError> {
    let centers = read(tensors, "centers", &[segments, features])?;
    let population = read(tensors, "population", &[features])?;
    let spread = read(tensors, "spread", &[1])?;
    Ok(Clusters::Centers(Centers::new(
        features, centers, spread[0], population,
    )?))
}

fn read(
    tensors: &SafeTensors<'_>,
    name: &'static str,
    shape: &[usize],
) -> Result<Vec<f64>, ClustersError> {
    let view = tensors.tensor(name).map_err(unreadable)?;
    if view.dtype() != Dtype::F64 || view.shape() != shape {
        let (dtype, found) = (view.dtype(), view.shape());
        return Err(unreadable(format!(
            "{name} is {dtype:?} {found:?}, expected F64 {shape:?}"
        )));
    }
    let words = view.data().as_chunks::<8>().0;
    let values: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
    check_length(name, values.len(), shape.iter().product())?;
    Ok(values)
}

fn unreadable(cause: impl std::fmt::Display) -> ClustersError {
    ClustersError::File {
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back_equal() {
        for clusters in samples::all() {
            let bytes = clusters.to_bytes().unwrap();
            assert_eq!(Clusters::from_bytes(&bytes).unwrap(), clusters);
            assert_eq!(clusters.to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn files_of_version_1_are_read_and_written_unchanged() {
        let golden: [&[u8]; 3] = [
            include_bytes!("../../tests/golden/1/clusters-kmeans.safetensors"),
            include_bytes!("../../tests/golden/1/clusters-mixture-full.safetensors"),
            include_bytes!("../../tests/golden/1/clusters-mixture-diagonal.safetensors"),
        ];
        for (golden, clusters) in golden.iter().zip(samples::all()) {
            assert_eq!(Clusters::from_bytes(golden).unwrap(), clusters);
            assert_eq!(clusters.to_bytes().unwrap(), *golden);
        }
    }

    #[test]
    fn another_version_or_an_unknown_key_is_refused() {
        let bytes = samples::centers().to_bytes().unwrap();
        for (from, to) in [("version\\\":1", "version\\\":2"), ("features", "featurez")] {
            let changed = replace(&bytes, from, to);
            assert!(matches!(
                Clusters::from_bytes(&changed),
                Err(ClustersError::File { .. })
            ));
        }
        let renamed = replace(&bytes, "\"spread\"", "\"spreed\"");
        assert!(Clusters::from_bytes(&renamed).is_err());
        let mixed = replace(&bytes, "kmeans", "kmeanz");
        assert!(Clusters::from_bytes(&mixed).is_err());
    }

    #[test]
    fn a_file_cut_short_at_any_byte_is_refused() {
        for clusters in samples::all() {
            let bytes = clusters.to_bytes().unwrap();
            assert!((0..bytes.len()).all(|end| Clusters::from_bytes(&bytes[..end]).is_err()));
        }
    }

    fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        let at = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut changed = bytes.to_vec();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        changed
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Clusters::from_bytes(&bytes).is_err());
        }

        #[test]
        fn a_changed_byte_never_panics_and_what_is_read_still_answers(
            at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            for clusters in samples::all() {
                let mut bytes = clusters.to_bytes().unwrap();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                let Ok(read) = Clusters::from_bytes(&bytes) else { continue };
                let mut out = vec![0.0; read.segments()];
                let row = vec![0.5; read.features()];
                read.memberships_row(&row, &mut out).unwrap();
                prop_assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
        }
    }
}
