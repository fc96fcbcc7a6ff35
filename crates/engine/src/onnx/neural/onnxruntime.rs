//! Nets run by an onnxruntime that is installed on the machine, instead of by `rten`.
//!
//! The library is neither linked nor fetched: the program that embeds this room names it once, before a net is opened.
//! Whatever bounds a net has been checked by then, one row at a time and with every size known, as for `rten`. A session
//! takes one call at a time, so a net keeps as many as were ever asked at once.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ombud_onnx::{GraphProto, TensorProto};
use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor};

use super::{Table, wrong};
use crate::onnx::OnnxError;
use crate::onnx::tensor::{Data, Tensor};

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// Loads the library at `path`; nets opened from now on are run by it.
pub(in crate::onnx) fn load(path: &Path) -> Result<(), OnnxError> {
    let refused = |error: &dyn std::fmt::Display| OnnxError::Library {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    if ENVIRONMENT.get().is_some() {
        return Err(refused(&"an onnxruntime is loaded already"));
    }
    let builder = ort::init_from(path).map_err(|error| refused(&error))?;
    let builder = builder.with_name("ombud").with_telemetry(false);
    let environment = builder.build().map_err(|error| refused(&error))?;
    ENVIRONMENT
        .set(environment)
        .map_err(|_| refused(&"an onnxruntime is loaded already"))
}

/// A net as onnxruntime holds it.
pub(super) struct Sessions {
    environment: &'static Environment,
    bytes: Vec<u8>,
    free: Mutex<Vec<Session>>,
}

impl Sessions {
    /// `None` where no library was loaded.
    pub(super) fn open(graph: &GraphProto, bytes: Vec<u8>) -> Result<Option<Sessions>, OnnxError> {
        let Some(environment) = ENVIRONMENT.get() else {
            return Ok(None);
        };
        refuse_other_files(graph)?;
        let sessions = Sessions {
            environment,
            bytes,
            free: Mutex::new(Vec::new()),
        };
        sessions.give_back(sessions.session()?);
        Ok(Some(sessions))
    }

    /// What one row comes to, an output each.
    pub(super) fn run_row(
        &self,
        inputs: &[Tensor],
        shapes: &[Vec<usize>],
        row: usize,
        rows: usize,
    ) -> Result<Vec<Table>, OnnxError> {
        let given = inputs
            .iter()
            .zip(shapes)
            .map(|(tensor, shape)| part(tensor, shape, row, rows))
            .collect::<Result<Vec<_>, _>>()?;
        let taken = self.lock().pop();
        let mut session = match taken {
            Some(session) => session,
            None => self.session()?,
        };
        // A session that failed is not asked again.
        let outputs = session
            .run(given.as_slice())
            .map_err(|error| failed(&error))?;
        let tables = outputs.values().map(|value| table(&value)).collect();
        drop(outputs);
        self.give_back(session);
        tables
    }

    /// Threads come from above, one row or request each.
    fn session(&self) -> Result<Session, OnnxError> {
        let told = |error: &dyn std::fmt::Display| wrong(&error.to_string());
        let builder = Session::builder(self.environment).map_err(|error| told(&error))?;
        let mut builder = builder
            .with_intra_threads(1)
            .map_err(|error| told(&error))?;
        builder
            .commit_from_memory(&self.bytes)
            .map_err(|error| told(&error))
    }

    fn give_back(&self, session: Session) {
        self.lock().push(session);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// A model is one file: it must not make the library open another.
fn refuse_other_files(graph: &GraphProto) -> Result<(), OnnxError> {
    let is_elsewhere =
        |tensor: &TensorProto| tensor.data_location != 0 || !tensor.external_data.is_empty();
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let mut constants = attributes.filter_map(|attribute| attribute.t.as_ref());
    if graph.initializer.iter().any(is_elsewhere) || constants.any(is_elsewhere) {
        return Err(wrong("its numbers lie in another file"));
    }
    Ok(())
}

fn part<'a>(
    tensor: &Tensor,
    shape: &[usize],
    row: usize,
    rows: usize,
) -> Result<SessionInputValue<'a>, OnnxError> {
    let width = tensor.len() / rows.max(1);
    let places = row * width..(row + 1) * width;
    if width != shape.iter().product::<usize>() {
        return Err(wrong("a row does not fit its input"));
    }
    let shape = shape.to_vec();
    let value: Result<SessionInputValue<'a>, ort::Error> = match tensor.data() {
        Data::Float(values) => {
            OrtTensor::from_array((shape, values[places].to_vec())).map(Into::into)
        }
        Data::Double(values) => {
            OrtTensor::from_array((shape, values[places].to_vec())).map(Into::into)
        }
        Data::Int32(values) => {
            OrtTensor::from_array((shape, values[places].to_vec())).map(Into::into)
        }
        Data::Int64(values) => {
            OrtTensor::from_array((shape, values[places].to_vec())).map(Into::into)
        }
        Data::Bool(values) => {
            OrtTensor::from_array((shape, values[places].to_vec())).map(Into::into)
        }
        Data::Text(_) => return Err(wrong("a net takes numbers only")),
    };
    value.map_err(|error| failed(&error))
}

fn table(value: &DynValue) -> Result<Table, OnnxError> {
    if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
        return Ok(Table::Float(values.to_vec()));
    }
    if let Ok((_, values)) = value.try_extract_tensor::<f64>() {
        return Ok(Table::Float(values.iter().map(|x| *x as f32).collect()));
    }
    if let Ok((_, values)) = value.try_extract_tensor::<i64>() {
        return Ok(Table::Whole(values.to_vec()));
    }
    if let Ok((_, values)) = value.try_extract_tensor::<i32>() {
        return Ok(Table::Whole(values.iter().map(|x| i64::from(*x)).collect()));
    }
    if let Ok((_, values)) = value.try_extract_tensor::<bool>() {
        return Ok(Table::Whole(values.iter().map(|x| i64::from(*x)).collect()));
    }
    Err(wrong(
        "an output is neither a table of numbers nor of labels",
    ))
}

fn failed(error: &ort::Error) -> OnnxError {
    OnnxError::Run {
        node: String::new(),
        operator: "net".to_owned(),
        reason: error.to_string(),
    }
}
