//! How much a net computes for a row, known before it does.
//!
//! Sizes alone do not tell: a product of two large tables may make a small one in a long time. Counted are multiplications and
//! numbers touched, from the sizes that were inferred; where an optimizer has taken a value away, from those around it.

use std::collections::HashMap;

use ombud_onnx::{GraphProto, NodeProto};

use super::{OnnxError, wrong};

/// Most multiplications for one row: seconds. A large net for images takes a half of it.
const STEPS_MAX: f64 = (1_u64 << 35) as f64;

/// Refuses a net that takes too long for a row; `shape` tells a value's sizes, where they are known.
pub(super) fn check(
    graph: &GraphProto,
    shape: impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<(), OnnxError> {
    let sizes = Sizes::of(graph, shape);
    let steps: f64 = graph.node.iter().map(|node| sizes.steps(node)).sum();
    if steps > STEPS_MAX {
        return Err(wrong(&format!(
            "a row takes {steps:.0} multiplications, more than the {STEPS_MAX:.0} allowed"
        )));
    }
    Ok(())
}

/// What is known of values, by their names.
struct Sizes<'g> {
    lengths: HashMap<&'g str, f64>,
    /// Of those that are known in full.
    shapes: HashMap<&'g str, Vec<usize>>,
}

impl<'g> Sizes<'g> {
    fn of(graph: &'g GraphProto, shape: impl Fn(&str) -> Option<Vec<usize>>) -> Self {
        let mut known = Sizes {
            lengths: HashMap::new(),
            shapes: HashMap::new(),
        };
        let names = |node: &'g NodeProto| node.input.iter().chain(&node.output);
        for name in graph.node.iter().flat_map(names) {
            if let Some(shape) = shape(name) {
                let length = shape.iter().map(|size| *size as f64).product();
                known.lengths.insert(name, length);
                known.shapes.insert(name, shape);
            }
        }
        known.guess(graph);
        known
    }

    /// A value that was taken away is as long as the longest that it is made of or that is made of it.
    fn guess(&mut self, graph: &'g GraphProto) {
        for node in &graph.node {
            self.raise(&node.output, self.longest(&node.input));
        }
        for node in graph.node.iter().rev() {
            self.raise(&node.input, self.longest(&node.output));
        }
    }

    fn longest(&self, names: &[String]) -> f64 {
        let lengths = names
            .iter()
            .filter_map(|name| self.lengths.get(name.as_str()));
        lengths.copied().fold(1.0, f64::max)
    }

    fn raise(&mut self, names: &'g [String], length: f64) {
        for name in names {
            if !self.shapes.contains_key(name.as_str()) {
                let slot = self.lengths.entry(name).or_insert(1.0);
                *slot = slot.max(length);
            }
        }
    }

    fn length(&self, name: Option<&String>) -> f64 {
        let found = name.and_then(|name| self.lengths.get(name.as_str()));
        found.copied().unwrap_or(1.0)
    }

    /// The numbers of one of the kernels in a table; where its sizes are not known, of all.
    fn kernel(&self, name: Option<&String>) -> f64 {
        match name.and_then(|name| self.shapes.get(name.as_str())) {
            Some(shape) => {
                let rest = shape.iter().skip(1);
                rest.map(|size| *size as f64).product()
            }
            None => self.length(name),
        }
    }

    fn steps(&self, node: &NodeProto) -> f64 {
        let input = |place: usize| self.length(node.input.get(place));
        let output = self.length(node.output.first());
        let touched: f64 = node
            .input
            .iter()
            .chain(&node.output)
            .map(|name| self.length(Some(name)))
            .sum();
        touched
            + match node.op_type.as_str() {
                // Of an n × k and a k × m table: the root of nk · km · nm.
                "MatMul" | "MatMulInteger" | "Gemm" => (input(0) * input(1) * output).sqrt(),
                // Each number is made of one kernel's; the table of kernels begins with how many there are.
                "Conv" | "ConvInteger" => output * self.kernel(node.input.get(1)),
                "AveragePool" | "MaxPool" => output * window(node),
                // Each step of the sequence is multiplied by both tables of weights.
                "LSTM" | "GRU" => {
                    let steps = match node
                        .input
                        .first()
                        .map(|name| self.shapes.get(name.as_str()))
                    {
                        Some(Some(shape)) => {
                            shape.iter().take(2).map(|size| *size as f64).product()
                        }
                        _ => input(0),
                    };
                    steps * (input(1) + input(2))
                }
                _ => 0.0,
            }
    }
}

/// The numbers under the window that moves over the input.
fn window(node: &NodeProto) -> f64 {
    let sizes = node
        .attribute
        .iter()
        .find(|setting| setting.name == "kernel_shape");
    sizes.map_or(1.0, |sizes| {
        sizes.ints.iter().map(|size| *size as f64).product()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ombud_onnx::AttributeProto;

    fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: operator.to_owned(),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        }
    }

    /// The multiplications of one node among values of known sizes, without the numbers it touches.
    fn multiplied(node: NodeProto, shapes: &[(&str, &[usize])]) -> f64 {
        let graph = GraphProto {
            node: vec![node],
            ..GraphProto::default()
        };
        let shape = |name: &str| {
            let found = shapes.iter().find(|(known, _)| *known == name);
            found.map(|(_, shape)| shape.to_vec())
        };
        let sizes = Sizes::of(&graph, shape);
        let node = &graph.node[0];
        let touched = node.input.iter().chain(&node.output);
        let touched: f64 = touched.map(|name| sizes.length(Some(name))).sum();
        sizes.steps(node) - touched
    }

    #[test]
    fn products_convolutions_and_sequences_cost_what_they_multiply() {
        let product = node("MatMul", &["a", "b"], "c");
        let shapes: &[(&str, &[usize])] = &[("a", &[3, 50]), ("b", &[50, 7]), ("c", &[3, 7])];
        assert!((multiplied(product.clone(), shapes) - 1_050.0).abs() < 1e-6);
        // What a fused product gives is not told; it is taken for as long as what it is made of.
        let fused = multiplied(product, &shapes[..2]);
        assert!(fused >= 1_050.0, "{fused}");
        let images = node("Conv", &["x", "w"], "y");
        let shapes: &[(&str, &[usize])] = &[
            ("x", &[1, 3, 8, 8]),
            ("w", &[16, 3, 3, 3]),
            ("y", &[1, 16, 6, 6]),
        ];
        assert_eq!(multiplied(images, shapes), 16.0 * 36.0 * 27.0);
        let series = node("LSTM", &["x", "w", "r"], "y");
        let shapes: &[(&str, &[usize])] = &[
            ("x", &[48, 1, 12]),
            ("w", &[1, 40, 12]),
            ("r", &[1, 40, 10]),
            ("y", &[48, 1, 1, 10]),
        ];
        assert_eq!(multiplied(series, shapes), 48.0 * 880.0);
        let mut pool = node("MaxPool", &["x"], "y");
        pool.attribute.push(AttributeProto {
            name: "kernel_shape".to_owned(),
            ints: vec![3, 3],
            ..AttributeProto::default()
        });
        let shapes: &[(&str, &[usize])] = &[("x", &[1, 1, 9, 9]), ("y", &[1, 1, 7, 7])];
        assert_eq!(multiplied(pool, shapes), 49.0 * 9.0);
    }

    #[test]
    fn a_net_of_large_products_is_refused_by_its_time() {
        let square = |side: usize| {
            let graph = GraphProto {
                node: vec![node("MatMul", &["a", "a"], "b")],
                ..GraphProto::default()
            };
            check(&graph, |_| Some(vec![side, side]))
        };
        assert!(square(3_000).is_ok());
        let refused = square(3_300).unwrap_err().to_string();
        assert!(refused.contains("multiplications"), "{refused}");
    }
}
