//! The table of operators: a domain and a name become a kernel, or are refused.
//!
//! One line an operator; what it does is in the module its function comes from.

use std::collections::BTreeSet;

use ombud_onnx::{GraphProto, NodeProto};

use super::attributes::{Attributes, vector};
use super::graph::{Kernel, Versions};
use super::tensor::{Fault, Tensor};
use crate::shown;

use super::{
    OnnxError, algebra, elementwise, encode, ensemble, linear, reduce, scale, scan, shape, svm,
    text,
};

/// An operator ready to run, and the names it takes from around its inner graph.
pub(super) struct Built {
    pub kernel: Kernel,
    pub captured: Vec<String>,
}

/// Why an operator cannot be built.
pub(super) enum BuildError {
    Fault(Fault),
    /// A node of an inner graph.
    Inner(OnnxError),
}

impl From<Fault> for BuildError {
    fn from(fault: Fault) -> Self {
        BuildError::Fault(fault)
    }
}

type Builder = fn(Attributes<'_>, Versions) -> Result<Kernel, Fault>;

/// Whether the domain is that of the core operators.
pub(super) fn is_core(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Refuses a graph that holds operators nobody here knows, naming them all.
pub(super) fn refuse_unknown(graph: &GraphProto) -> Result<(), OnnxError> {
    let mut names = BTreeSet::new();
    collect_unknown(graph, &mut names);
    if names.is_empty() {
        return Ok(());
    }
    let names = names.into_iter().collect();
    Err(OnnxError::UnknownOperators { names })
}

/// Whether a graph holds operators of classical models, which no net has.
#[cfg(feature = "neural-onnx")]
pub(super) fn is_classical(graph: &GraphProto) -> bool {
    graph
        .node
        .iter()
        .any(|node| !is_core(&node.domain) && find(&node.domain, &node.op_type).is_some())
}

/// The kernel of a node.
pub(super) fn build(node: &NodeProto, versions: Versions) -> Result<Built, BuildError> {
    if is_core(&node.domain) && node.op_type == "Scan" {
        return scan::build(Attributes(node), versions);
    }
    let builder = find(&node.domain, &node.op_type)
        .ok_or_else(|| Fault::new("the operator is not known here"))?;
    let kernel = builder(Attributes(node), versions)?;
    Ok(Built {
        kernel,
        captured: Vec::new(),
    })
}

/// The value of a `Constant` node.
pub(super) fn constant(node: Attributes<'_>) -> Result<Tensor, Fault> {
    if let Some(tensor) = node.tensor("value")? {
        return Ok(tensor);
    }
    if let Some(number) = node.float("value_float")? {
        return vector(vec![number]).reshaped(Vec::new());
    }
    if let Some(number) = node.int("value_int")? {
        return vector(vec![number]).reshaped(Vec::new());
    }
    if let Some(text) = node.text("value_string")? {
        return vector(vec![text]).reshaped(Vec::new());
    }
    if node.has("value_floats") {
        return Ok(vector(node.floats("value_floats")?.to_vec()));
    }
    if node.has("value_ints") {
        return Ok(vector(node.ints("value_ints")?.to_vec()));
    }
    if node.has("value_strings") {
        return Ok(vector(node.texts("value_strings")?));
    }
    Err(Fault::new("it holds no value that is read here"))
}

fn collect_unknown(graph: &GraphProto, names: &mut BTreeSet<String>) {
    for node in &graph.node {
        let is_known = (is_core(&node.domain) && matches!(&node.op_type[..], "Constant" | "Scan"))
            || find(&node.domain, &node.op_type).is_some();
        if !is_known {
            let domain = if is_core(&node.domain) {
                ""
            } else {
                &node.domain
            };
            let dot = if domain.is_empty() { "" } else { "." };
            names.insert(shown::name(&format!("{domain}{dot}{}", node.op_type)));
        }
        node.attribute
            .iter()
            .filter_map(|attribute| attribute.g.as_ref())
            .for_each(|inner| collect_unknown(inner, names));
    }
}

fn find(domain: &str, operator: &str) -> Option<Builder> {
    match domain {
        "" | "ai.onnx" => core(operator),
        "ai.onnx.ml" => ml(operator),
        "com.microsoft" => microsoft(operator),
        _ => None,
    }
}

fn core(operator: &str) -> Option<Builder> {
    Some(match operator {
        "Abs" => elementwise::abs,
        "Add" => elementwise::add,
        "And" => elementwise::and,
        "ArgMax" => reduce::arg_max,
        "ArgMin" => reduce::arg_min,
        "Cast" => elementwise::cast,
        "Ceil" => elementwise::ceil,
        "Clip" => elementwise::clip,
        "Compress" => shape::compress,
        "Concat" => shape::concat,
        "ConstantOfShape" => shape::constant_of_shape,
        "CumSum" => reduce::cum_sum,
        "Div" => elementwise::div,
        "Dropout" => shape::dropout,
        "Equal" => elementwise::equal,
        "Erf" => elementwise::erf,
        "Exp" => elementwise::exp,
        "Expand" => shape::expand,
        "Flatten" => shape::flatten,
        "Floor" => elementwise::floor,
        "Gather" => shape::gather,
        "GatherElements" => shape::gather_elements,
        "Gemm" => algebra::gemm,
        "Greater" => elementwise::greater,
        "GreaterOrEqual" => elementwise::greater_or_equal,
        "Identity" => shape::identity,
        "IsInf" => elementwise::is_inf,
        "IsNaN" => elementwise::is_nan,
        "Less" => elementwise::less,
        "LessOrEqual" => elementwise::less_or_equal,
        "Log" => elementwise::log,
        "LogSoftmax" => reduce::log_softmax,
        "LpNormalization" => reduce::lp_normalization,
        "MatMul" => algebra::mat_mul,
        "Max" => elementwise::max,
        "Mean" => elementwise::mean,
        "Min" => elementwise::min,
        "Mod" => elementwise::modulo,
        "Mul" => elementwise::mul,
        "Neg" => elementwise::neg,
        "NonZero" => shape::non_zero,
        "Not" => elementwise::not,
        "Or" => elementwise::or,
        "Pow" => elementwise::pow,
        "Reciprocal" => elementwise::reciprocal,
        "ReduceL1" => reduce::l1,
        "ReduceL2" => reduce::l2,
        "ReduceLogSum" => reduce::log_sum,
        "ReduceLogSumExp" => reduce::log_sum_exp,
        "ReduceMax" => reduce::max,
        "ReduceMean" => reduce::mean,
        "ReduceMin" => reduce::min,
        "ReduceProd" => reduce::product,
        "ReduceSum" => reduce::sum,
        "ReduceSumSquare" => reduce::sum_square,
        "Relu" => elementwise::relu,
        "Reshape" => shape::reshape,
        "Round" => elementwise::round,
        "Shape" => shape::shape,
        "Sigmoid" => elementwise::sigmoid,
        "Sign" => elementwise::sign,
        "Slice" => shape::slice,
        "Softmax" => reduce::softmax,
        "Softplus" => elementwise::softplus,
        "Split" => shape::split,
        "Sqrt" => elementwise::sqrt,
        "Squeeze" => shape::squeeze,
        "StringConcat" => text::string_concat,
        "StringNormalizer" => text::string_normalizer,
        "Sub" => elementwise::sub,
        "Sum" => elementwise::sum,
        "Tanh" => elementwise::tanh,
        "TfIdfVectorizer" => text::tf_idf_vectorizer,
        "Tile" => shape::tile,
        "TopK" => reduce::top_k,
        "Transpose" => shape::transpose,
        "Unsqueeze" => shape::unsqueeze,
        "Where" => elementwise::choose,
        "Xor" => elementwise::xor,
        _ => return None,
    })
}

fn ml(operator: &str) -> Option<Builder> {
    Some(match operator {
        "ArrayFeatureExtractor" => shape::array_feature_extractor,
        "Binarizer" => scale::binarizer,
        "CategoryMapper" => encode::category_mapper,
        "FeatureVectorizer" => scale::feature_vectorizer,
        "Imputer" => scale::imputer,
        "LabelEncoder" => encode::label_encoder,
        "LinearClassifier" => linear::classifier,
        "LinearRegressor" => linear::regressor,
        "Normalizer" => scale::normalizer,
        "OneHotEncoder" => encode::one_hot_encoder,
        "SVMClassifier" => svm::classifier,
        "SVMRegressor" => svm::regressor,
        "Scaler" => scale::scaler,
        "TreeEnsemble" => ensemble::ensemble,
        "TreeEnsembleClassifier" => ensemble::classifier,
        "TreeEnsembleRegressor" => ensemble::regressor,
        "ZipMap" => encode::zip_map,
        _ => return None,
    })
}

fn microsoft(operator: &str) -> Option<Builder> {
    Some(match operator {
        "CDist" => algebra::c_dist,
        "Tokenizer" => text::tokenizer,
        _ => return None,
    })
}
