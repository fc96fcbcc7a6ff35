//! Every fast way of evaluating a forest gives the bits of the plain walk, for any forest and any row.

use ombud_engine::forest::{
    CategorySet, Comparison, Evaluator, Forest, ForestDraft, ForestError, Link, Node, Split, Test,
    Tree,
};
use proptest::prelude::*;

/// Thresholds and values that meet often, and those that are easily got wrong.
const AWKWARD: [f64; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    0.100_000_001,
    1e-36,
    1e300,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MIN_POSITIVE,
    16_777_217.0,
];

/// What a random forest looks like.
#[derive(Clone, Debug)]
struct Shape {
    seed: u64,
    comparison: Comparison,
    features: usize,
    outputs: usize,
    trees: usize,
    depth: usize,
    /// Per mille: how often a node above the depth splits, and how often by category.
    splits: u64,
    categories: u64,
    codes: u32,
    /// How many different thresholds a feature has.
    thresholds: u64,
}

/// SplitMix64: enough to shape trees.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    fn value(&mut self, shape: &Shape) -> f64 {
        match self.below(10) {
            0 => AWKWARD[self.below(AWKWARD.len() as u64) as usize],
            _ => self.below(shape.thresholds) as f64 / 7.0 - 3.0,
        }
    }

    fn cell(&mut self, shape: &Shape) -> f64 {
        match self.below(10) {
            0 => f64::NAN,
            1..4 => self.below(u64::from(shape.codes) + 3) as f64 - 1.5,
            _ => self.value(shape),
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let small = (
        any::<u64>(),
        any::<bool>(),
        1..6usize,
        1..4usize,
        0..40usize,
        0..13usize,
    );
    let chances = (
        0..1000u64,
        prop_oneof![Just(0), 0..400u64],
        1..400u32,
        1..900u64,
    );
    (small, chances).prop_map(|(small, (splits, categories, codes, thresholds))| {
        let (seed, less, features, outputs, trees, depth) = small;
        let comparison = if less {
            Comparison::Less
        } else {
            Comparison::LessOrEqual
        };
        let splits = 500 + splits / 2;
        Shape {
            seed,
            comparison,
            features,
            outputs,
            trees,
            depth,
            splits,
            categories,
            codes,
            thresholds,
        }
    })
}

fn forest(shape: &Shape) -> Forest {
    Forest::new(draft(shape)).expect("a sound forest")
}

fn draft(shape: &Shape) -> ForestDraft {
    let mut dice = Dice(shape.seed);
    let sets: Vec<CategorySet> = (0..8)
        .map(|_| {
            let count = dice.below(u64::from(shape.codes)) + 1;
            let codes: Vec<u32> = (0..count)
                .map(|_| dice.below(u64::from(shape.codes)) as u32)
                .collect();
            CategorySet::new(codes).expect("small codes")
        })
        .collect();
    let trees = (0..shape.trees)
        .map(|_| {
            let mut nodes = Vec::new();
            grow(shape, &mut dice, 0, sets.len(), &mut nodes);
            Tree {
                output: dice.below(shape.outputs as u64) as usize,
                nodes,
            }
        })
        .collect();
    let zero_is_missing = match shape.comparison {
        Comparison::LessOrEqual if dice.chance(300) => vec![0],
        _ => vec![],
    };
    ForestDraft {
        features: shape.features,
        comparison: shape.comparison,
        link: Link::Identity,
        base_margins: (0..shape.outputs)
            .map(|output| output as f64 * 0.3 + 0.1)
            .collect(),
        zero_is_missing,
        sets,
        trees,
    }
}

/// Grows a subtree and returns its place and its weight.
fn grow(
    shape: &Shape,
    dice: &mut Dice,
    depth: usize,
    sets: usize,
    nodes: &mut Vec<Node>,
) -> (u32, f64) {
    let place = nodes.len() as u32;
    if depth == shape.depth || !dice.chance(shape.splits) {
        let cover = 1.0 + dice.below(50) as f64;
        nodes.push(Node::Leaf {
            value: dice.below(2000) as f64 / 1000.0 - 1.0,
            cover,
        });
        return (place, cover);
    }
    nodes.push(Node::Leaf {
        value: 0.0,
        cover: 0.0,
    });
    let test = match dice.chance(shape.categories) {
        true => Test::Members(dice.below(sets as u64) as u32),
        false => Test::Threshold(dice.value(shape)),
    };
    let feature = dice.below(shape.features as u64) as u32;
    let missing_left = dice.chance(500);
    let (left, left_cover) = grow(shape, dice, depth + 1, sets, nodes);
    let (right, right_cover) = grow(shape, dice, depth + 1, sets, nodes);
    let cover = left_cover + right_cover;
    let split = Split {
        feature,
        test,
        missing_left,
        left,
        right,
        gain: 1.0,
        cover,
    };
    nodes[place as usize] = Node::Split(split);
    (place, cover)
}

fn rows(shape: &Shape, count: usize) -> Vec<f64> {
    let mut dice = Dice(shape.seed ^ 0xabcd);
    (0..count * shape.features)
        .map(|_| dice.cell(shape))
        .collect()
}

fn bits(margins: &[f64]) -> Vec<u64> {
    margins.iter().map(|margin| margin.to_bits()).collect()
}

/// Shapley values by enumerating all sets of known features, and the expected margin.
fn shapley(draft: &ForestDraft, row: &[f64], output: usize) -> Vec<f64> {
    let count = draft.features;
    let trees = draft.trees.iter().filter(|tree| tree.output == output);
    let trees: Vec<&Tree> = trees.collect();
    let game: Vec<f64> = (0..1usize << count)
        .map(|known| {
            let values = trees
                .iter()
                .map(|tree| expected_value(draft, tree, 0, row, known));
            values.sum::<f64>()
        })
        .collect();
    let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
    let mut values = vec![0.0; count + 1];
    for (feature, value) in values[..count].iter_mut().enumerate() {
        for known in (0..1usize << count).filter(|known| known >> feature & 1 == 0) {
            let size = known.count_ones() as usize;
            let weight = factorial(size) * factorial(count - size - 1) / factorial(count);
            *value += weight * (game[known | 1 << feature] - game[known]);
        }
    }
    let base = draft.base_margins[output];
    values[count] = game[0]
        + if draft.comparison == Comparison::Less {
            f64::from(base as f32)
        } else {
            base
        };
    values
}

/// The mean of the leaves that a row may reach when only some features are known.
fn expected_value(draft: &ForestDraft, tree: &Tree, node: usize, row: &[f64], known: usize) -> f64 {
    let is_single = draft.comparison == Comparison::Less;
    let rounded = |x: f64| if is_single { f64::from(x as f32) } else { x };
    let cover = |node: u32| match tree.nodes[node as usize] {
        Node::Leaf { cover, .. } => cover,
        Node::Split(split) => split.cover,
    };
    let split = match tree.nodes[node] {
        Node::Leaf { value, .. } => return rounded(value),
        Node::Split(split) => split,
    };
    let below = |node: u32| expected_value(draft, tree, node as usize, row, known);
    if known >> split.feature & 1 == 0 {
        let (left, right) = (cover(split.left), cover(split.right));
        return (left * below(split.left) + right * below(split.right)) / split.cover;
    }
    let Test::Threshold(threshold) = split.test else {
        panic!("numbers only")
    };
    let x = rounded(row[split.feature as usize]);
    let goes_left = match draft.comparison {
        _ if x.is_nan() => split.missing_left,
        Comparison::Less => x < rounded(threshold),
        Comparison::LessOrEqual => x <= threshold,
    };
    if goes_left {
        below(split.left)
    } else {
        below(split.right)
    }
}

fn check_paths(shape: &Shape, count: usize) {
    let forest = forest(shape);
    let rows = rows(shape, count);
    let mut plain = vec![0.0; count * shape.outputs];
    forest.margins(&rows, &mut plain);
    for evaluator in [Evaluator::Fastest, Evaluator::Avx2, Evaluator::Portable] {
        let compiled = forest.compile().with_evaluator(evaluator);
        let mut batch = vec![0.0; plain.len()];
        compiled.margins(&rows, &mut batch);
        assert_eq!(bits(&batch), bits(&plain), "{evaluator:?} in a batch");
        let mut parallel = vec![0.0; plain.len()];
        compiled.margins_parallel(&rows, &mut parallel);
        assert_eq!(bits(&parallel), bits(&plain), "{evaluator:?} in parallel");
        let mut single = vec![0.0; plain.len()];
        let row_pairs = rows
            .chunks_exact(shape.features)
            .zip(single.chunks_mut(shape.outputs));
        row_pairs.for_each(|(row, out)| compiled.margins_row(row, out));
        assert_eq!(bits(&single), bits(&plain), "{evaluator:?} row by row");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn every_path_gives_the_bits_of_the_plain_walk(shape in shapes(), count in 0..300usize) {
        check_paths(&shape, count);
    }

    #[test]
    fn many_shallow_trees_over_many_features_give_them_too(
        shape in shapes(), features in 10..90usize, trees in 60..200usize, depth in 1..8usize,
    ) {
        let splits = shape.splits.max(800);
        check_paths(&Shape { features, trees, depth, splits, ..shape }, 9);
    }

    #[test]
    fn contributions_are_shapley_values_by_their_definition(mut shape in shapes()) {
        (shape.trees, shape.categories) = (shape.trees.min(3), 0);
        let draft = ForestDraft { zero_is_missing: vec![], ..draft(&shape) };
        let explainer = Forest::new(draft.clone()).expect("sound").explainer();
        let row = rows(&shape, 1);
        let mut parts = vec![0.0; explainer.width()];
        explainer.contributions(&row, &mut parts);
        for (output, parts) in parts.chunks_exact(shape.features + 1).enumerate() {
            for (part, expected) in parts.iter().zip(shapley(&draft, &row, output)) {
                prop_assert!((part - expected).abs() < 1e-9, "{part} is not {expected}");
            }
        }
    }

    #[test]
    fn contributions_to_one_output_are_those_to_all(shape in shapes()) {
        let explainer = forest(&shape).explainer();
        let row = rows(&shape, 1);
        let mut all = vec![0.0; explainer.width()];
        explainer.contributions(&row, &mut all);
        for (output, expected) in all.chunks_exact(shape.features + 1).enumerate() {
            let mut alone = vec![f64::NAN; shape.features + 1];
            explainer.contributions_to(output, &row, &mut alone);
            prop_assert_eq!(bits(&alone), bits(expected));
        }
    }

    #[test]
    fn contributions_sum_to_the_margin(mut shape in shapes()) {
        shape.trees = shape.trees.min(4);
        let forest = forest(&shape);
        let explainer = forest.explainer();
        let rows = rows(&shape, 5);
        let mut parts = vec![0.0; 5 * explainer.width()];
        explainer.contributions(&rows, &mut parts);
        let mut margins = vec![0.0; 5 * shape.outputs];
        forest.margins(&rows, &mut margins);
        for (parts, margin) in parts.chunks_exact(shape.features + 1).zip(&margins) {
            let sum: f64 = parts.iter().sum();
            prop_assert!((sum - margin).abs() < 1e-5, "{sum} is not {margin}");
        }
    }
}

#[test]
fn many_thresholds_a_feature_are_split_into_groups_and_stay_equal() {
    for (depth, trees, seed) in [(6, 60, 1), (12, 8, 2), (11, 30, 3)] {
        for comparison in [Comparison::Less, Comparison::LessOrEqual] {
            let shape = Shape {
                seed,
                comparison,
                features: 3,
                outputs: 2,
                trees,
                depth,
                splits: 1000,
                categories: 5,
                codes: 2000,
                thresholds: 100_000,
            };
            check_paths(&shape, 70);
        }
    }
}

/// More than eight features on a path need more than one chunk of quadrature points.
#[test]
fn contributions_of_a_deep_tree_are_shapley_values_too() {
    let shape = Shape {
        seed: 5,
        comparison: Comparison::LessOrEqual,
        features: 11,
        outputs: 1,
        trees: 1,
        depth: 11,
        splits: 1000,
        categories: 0,
        codes: 2,
        thresholds: 40,
    };
    let draft = ForestDraft {
        zero_is_missing: vec![],
        ..draft(&shape)
    };
    let explainer = Forest::new(draft.clone()).expect("sound").explainer();
    let row = rows(&shape, 1);
    let mut parts = vec![0.0; explainer.width()];
    explainer.contributions(&row, &mut parts);
    for (part, expected) in parts.iter().zip(shapley(&draft, &row, 0)) {
        assert!((part - expected).abs() < 1e-9, "{part} is not {expected}");
    }
}

#[test]
fn a_forest_without_trees_or_features_answers_its_base() {
    let draft = ForestDraft {
        features: 0,
        comparison: Comparison::Less,
        link: Link::Identity,
        base_margins: vec![0.5, -1.0],
        zero_is_missing: vec![],
        sets: vec![],
        trees: vec![Tree {
            output: 1,
            nodes: vec![Node::Leaf {
                value: 2.0,
                cover: 1.0,
            }],
        }],
    };
    let forest = Forest::new(draft).expect("sound");
    for count in [1, 40] {
        let mut out = vec![0.0; 2 * count];
        forest.compile().margins(&[], &mut out);
        assert_eq!(out, [0.5, 1.0].repeat(count));
        let mut parts = vec![0.0; 2 * count];
        forest.explainer().contributions(&[], &mut parts);
        assert_eq!(parts, [0.5, 1.0].repeat(count));
    }
}

#[test]
fn nodes_that_are_no_tree_are_refused() {
    let split = |left, right| {
        let test = Test::Threshold(0.0);
        let split = Split {
            feature: 0,
            test,
            missing_left: true,
            left,
            right,
            gain: 0.0,
            cover: 1.0,
        };
        Node::Split(split)
    };
    let leaf = Node::Leaf {
        value: 1.0,
        cover: 1.0,
    };
    let refused = |nodes: Vec<Node>, output| {
        let draft = ForestDraft {
            features: 1,
            comparison: Comparison::Less,
            link: Link::Identity,
            base_margins: vec![0.0],
            zero_is_missing: vec![],
            sets: vec![],
            trees: vec![Tree { output, nodes }],
        };
        Forest::new(draft).expect_err("no tree")
    };
    for nodes in [
        vec![],
        vec![split(0, 1), leaf],
        vec![split(1, 1), leaf],
        vec![split(1, 9), leaf],
        vec![split(1, 2), split(0, 2), leaf],
    ] {
        let error = refused(nodes, 0);
        assert!(
            matches!(error, ForestError::BrokenTree { tree: 0, .. }),
            "{error}"
        );
    }
    assert!(matches!(
        refused(vec![leaf], 1),
        ForestError::BrokenTree { .. }
    ));
}
