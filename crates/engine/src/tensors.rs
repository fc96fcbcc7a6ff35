//! Reads and writes named tensors as one safetensors buffer with a JSON note in its header.
//!
//! The vectorizer and the linear model store themselves the same way, so the checks that keep a
//! hostile file from hurting us live here once: a size cap, a known format and version, known
//! element types, and lengths that agree. What the tensors mean is the caller's business.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest buffer that is read. A full 2²² × 64 single-precision model fits.
pub(crate) const STORED_BYTES_MAX: usize = 1 << 30;

/// The one key of the header's metadata; its value is the JSON note.
const NOTE: &str = "ombud";

/// Why a buffer is not what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    #[error("stored model of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("not a safetensors buffer: {reason}")]
    Container { reason: String },
    #[error("the header's note is missing or wrong: {reason}")]
    Note { reason: String },
    #[error("stored as {found} version {version}, expected {expected} version 1")]
    Format {
        found: String,
        version: u32,
        expected: &'static str,
    },
    #[error("tensor {name:?} is missing")]
    Missing { name: String },
    #[error("tensor {name:?} is wrong: {reason}")]
    Tensor { name: String, reason: String },
    #[error("the parts do not fit together: {reason}")]
    Inconsistent { reason: String },
}

/// The header's note: which format this is, and what only that format knows.
#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note<T> {
    pub format: String,
    pub version: u32,
    pub about: T,
}

/// One tensor on its way out, already in little-endian bytes.
pub(crate) struct Outgoing {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Outgoing {
    pub fn bytes(values: &[u8]) -> Self {
        Self {
            dtype: Dtype::U8,
            shape: vec![values.len()],
            bytes: values.to_vec(),
        }
    }

    pub fn u32(values: &[u32]) -> Self {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self {
            dtype: Dtype::U32,
            shape: vec![values.len()],
            bytes,
        }
    }

    pub fn f32(values: &[f32], shape: Vec<usize>) -> Self {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self {
            dtype: Dtype::F32,
            shape,
            bytes,
        }
    }

    pub fn f64(values: &[f64], shape: Vec<usize>) -> Self {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self {
            dtype: Dtype::F64,
            shape,
            bytes,
        }
    }
}

impl View for &Outgoing {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Equal content gives equal bytes: the note is one key, and safetensors orders the tensors.
pub(crate) fn write<T: Serialize>(
    format: &'static str,
    about: T,
    tensors: &[(String, Outgoing)],
) -> Result<Vec<u8>, StoredError> {
    let note = Note {
        format: format.to_owned(),
        version: 1,
        about,
    };
    let note = serde_json::to_string(&note).map_err(|error| StoredError::Note {
        reason: error.to_string(),
    })?;
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    safetensors::serialize(tensors, Some(HashMap::from([(NOTE.to_owned(), note)]))).map_err(
        |error| StoredError::Container {
            reason: error.to_string(),
        },
    )
}

/// A checked buffer, opened for reading its tensors by name.
pub(crate) struct Incoming<'a> {
    tensors: SafeTensors<'a>,
}

impl<'a> Incoming<'a> {
    pub fn open<T: DeserializeOwned>(
        bytes: &'a [u8],
        format: &'static str,
    ) -> Result<(Self, T), StoredError> {
        if bytes.len() > STORED_BYTES_MAX {
            return Err(StoredError::TooLarge {
                bytes: bytes.len(),
                limit: STORED_BYTES_MAX,
            });
        }
        let container = |error: safetensors::SafeTensorError| StoredError::Container {
            reason: error.to_string(),
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(container)?;
        let note = metadata.metadata().as_ref().and_then(|map| map.get(NOTE));
        let note = note.ok_or_else(|| StoredError::Note {
            reason: "no note".to_owned(),
        })?;
        let note: Note<T> = serde_json::from_str(note).map_err(|error| StoredError::Note {
            reason: error.to_string(),
        })?;
        if note.format != format || note.version != 1 {
            let (found, version) = (note.format, note.version);
            return Err(StoredError::Format {
                found,
                version,
                expected: format,
            });
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
        Ok((Self { tensors }, note.about))
    }

    pub fn bytes(&self, name: &str) -> Result<&'a [u8], StoredError> {
        Ok(self.typed(name, Dtype::U8)?.data())
    }

    pub fn u32(&self, name: &str) -> Result<Vec<u32>, StoredError> {
        let tensor = self.typed(name, Dtype::U32)?;
        let (numbers, _) = tensor.data().as_chunks::<4>();
        Ok(numbers
            .iter()
            .map(|&bytes| u32::from_le_bytes(bytes))
            .collect())
    }

    pub fn f32(&self, name: &str) -> Result<Vec<f32>, StoredError> {
        let tensor = self.typed(name, Dtype::F32)?;
        let (numbers, _) = tensor.data().as_chunks::<4>();
        let values = numbers
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect::<Vec<_>>();
        finite(name, values.iter().all(|value| value.is_finite()))?;
        Ok(values)
    }

    pub fn f64(&self, name: &str) -> Result<Vec<f64>, StoredError> {
        let tensor = self.typed(name, Dtype::F64)?;
        let (numbers, _) = tensor.data().as_chunks::<8>();
        let values = numbers
            .iter()
            .map(|&bytes| f64::from_le_bytes(bytes))
            .collect::<Vec<_>>();
        finite(name, values.iter().all(|value| value.is_finite()))?;
        Ok(values)
    }

    /// Refuses tensors that nobody asks for, so that a file cannot carry stowaways.
    pub fn expect_count(&self, count: usize) -> Result<(), StoredError> {
        if self.tensors.len() == count {
            return Ok(());
        }
        let reason = format!("{} tensors instead of {count}", self.tensors.len());
        Err(StoredError::Inconsistent { reason })
    }

    fn typed(&self, name: &str, dtype: Dtype) -> Result<TensorView<'a>, StoredError> {
        let missing = |_| StoredError::Missing {
            name: name.to_owned(),
        };
        let tensor = self.tensors.tensor(name).map_err(missing)?;
        if tensor.dtype() == dtype {
            return Ok(tensor);
        }
        let reason = format!("element type {:?} instead of {dtype:?}", tensor.dtype());
        Err(StoredError::Tensor {
            name: name.to_owned(),
            reason,
        })
    }
}

fn finite(name: &str, is_finite: bool) -> Result<(), StoredError> {
    if is_finite {
        return Ok(());
    }
    let reason = "holds a number that is not finite".to_owned();
    Err(StoredError::Tensor {
        name: name.to_owned(),
        reason,
    })
}
