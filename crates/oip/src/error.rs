//! Why a request of the protocol cannot be understood.

use ombud_core::Class;

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("the request cannot be read: {0}")]
    Json(String),
    #[error("the table cannot be read: {0}")]
    Csv(String),
    #[error("the body is a JSON object")]
    NoObject,
    #[error("the request has no inputs")]
    NoInputs,
    #[error("the request has no rows")]
    NoRows,
    #[error("the header Inference-Header-Content-Length says {came}, the body has {length} bytes")]
    HeaderLength { came: usize, length: usize },
    #[error(
        "{0:?} is no datatype: one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES"
    )]
    Datatype(String),
    #[error("the shape of {tensor:?} is {shape:?}, which is {expected} elements; {came} came")]
    Elements {
        tensor: String,
        shape: Vec<u64>,
        expected: u64,
        came: u64,
    },
    #[error("the shape of {tensor:?} is beyond what can be counted")]
    Shape { tensor: String },
    #[error("the data of {tensor:?} does not fit {datatype}: {reason}")]
    Data {
        tensor: String,
        datatype: &'static str,
        reason: String,
    },
    #[error("{tensor:?} has neither `data` nor `parameters.binary_data_size`")]
    NoData { tensor: String },
    #[error("the binary data of {tensor:?} should have {expected} bytes, {came} are left")]
    BinaryShort {
        tensor: String,
        expected: usize,
        came: usize,
    },
    #[error("{0} bytes are left after the last binary tensor")]
    BinaryLeft(usize),
    #[error("binary data has {came} parts for {inputs} inputs; all of them have it or none")]
    RawParts { came: usize, inputs: usize },
    #[error("{tensor:?} is of {datatype}, which JSON cannot carry; send it as binary data")]
    BinaryOnly {
        tensor: String,
        datatype: &'static str,
    },
    #[error("{tensor:?} came twice")]
    Twice { tensor: String },
    #[error("the model takes no input {came:?}; it takes {allowed}{}", near(.nearest))]
    UnknownInput {
        came: String,
        allowed: String,
        nearest: Option<String>,
    },
    #[error("the model gives no output {came:?}; it gives {allowed}")]
    UnknownOutput { came: String, allowed: String },
    #[error("{tensor:?} has {came} rows, others have {rows}")]
    RowCount {
        tensor: String,
        came: u64,
        rows: u64,
    },
    #[error("{tensor:?} needs the shape {expected}, {came:?} came")]
    Width {
        tensor: String,
        expected: String,
        came: Vec<u64>,
    },
    #[error("{0} is no content type that is read here: np, pd, str, base64 or datetime")]
    ContentType(String),
    #[error("{parameter} is {came}, which is not {allowed}")]
    Parameter {
        parameter: String,
        came: String,
        allowed: &'static str,
    },
    #[error("classification ranks `probabilities`, not {0:?}")]
    Classification(String),
    #[error("no parameter is called {came:?}; is it {nearest:?}?")]
    UnknownParameter { came: String, nearest: String },
    #[error("{one} and {other} name different people in row {row}")]
    Subjects {
        one: String,
        other: String,
        /// From 0.
        row: usize,
    },
    #[error("{tensor:?} names a region of shared memory; send its bytes in the request")]
    SharedMemory { tensor: String },
    #[error("a raw request needs a model with one input; this one has {0}")]
    RawInputs(usize),
    #[error("{rows} rows at once; at most {rows_max} (`limits.rows_max`)")]
    TooManyRows { rows: u64, rows_max: u64 },
}

/// What the functions of this room give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whose mistake it was.
    pub fn class(&self) -> Class {
        match self {
            Error::TooManyRows { .. } => Class::TooLarge,
            Error::Json(_)
            | Error::Csv(_)
            | Error::NoObject
            | Error::NoInputs
            | Error::NoRows
            | Error::HeaderLength { .. }
            | Error::Datatype(_)
            | Error::Elements { .. }
            | Error::Shape { .. }
            | Error::Data { .. }
            | Error::NoData { .. }
            | Error::BinaryShort { .. }
            | Error::BinaryLeft(_)
            | Error::RawParts { .. }
            | Error::BinaryOnly { .. }
            | Error::Twice { .. }
            | Error::UnknownInput { .. }
            | Error::UnknownOutput { .. }
            | Error::RowCount { .. }
            | Error::Width { .. }
            | Error::ContentType(_)
            | Error::Parameter { .. }
            | Error::Classification(_)
            | Error::UnknownParameter { .. }
            | Error::Subjects { .. }
            | Error::SharedMemory { .. }
            | Error::RawInputs(_) => Class::Invalid,
        }
    }
}

fn near(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!("; is it {name:?}?"))
        .unwrap_or_default()
}
