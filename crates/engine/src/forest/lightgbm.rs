//! Reads LightGBM's text models (version 4).
//!
//! The format is `key=value` lines in blocks: a header, then one block a tree. Missing types become
//! default directions here: where LightGBM turns a missing value into zero, the direction is the one
//! zero takes. Averaging (random forests) is folded into the leaves; dropped trees (DART) already are.

use std::collections::{BTreeSet, HashMap};

use super::{
    CategorySet, Comparison, FEATURES_MAX, FeatureKind, Forest, ForestDraft, ForestError,
    ImportedForest, Link, NODES_MAX, Node, OUTPUTS_MAX, Place, SetTable, Split, TREES_MAX, Test,
    Tree, check_limit,
};

/// Bits of `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
const MISSING_SHIFT: u8 = 2;

/// Reads a model.
pub(super) fn read(bytes: &[u8]) -> Result<ImportedForest, ForestError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ForestError::Malformed {
        reason: "the text is not UTF-8".to_owned(),
        place: Place::Byte(error.valid_up_to()),
    })?;
    let mut blocks = blocks(text)?;
    let header = Block::default();
    let header = if blocks.is_empty() {
        header
    } else {
        blocks.remove(0)
    };
    let model = Header::of(&header)?;
    check_limit("trees", blocks.len(), TREES_MAX)?;
    let mut reader = Reader {
        model: &model,
        sets: SetTable::default(),
        zero: BTreeSet::new(),
        other: BTreeSet::new(),
    };
    let mut trees = Vec::with_capacity(blocks.len());
    let mut nodes = 0;
    for (index, block) in blocks.iter().enumerate() {
        let tree = reader.tree(block, index)?;
        nodes += tree.nodes.len();
        check_limit("nodes", nodes, NODES_MAX)?;
        trees.push(tree);
    }
    if !trees.len().is_multiple_of(model.outputs) {
        return Err(ForestError::Contradiction {
            reason: "its last round is not complete",
        });
    }
    if model.is_averaged {
        average(&mut trees, model.outputs);
    }
    if !reader.zero.is_disjoint(&reader.other) {
        let hint = "train all rounds with the same zero_as_missing";
        return Err(unsupported(
            "a feature whose zeros are missing only in some splits",
            hint,
        ));
    }
    let draft = ForestDraft {
        features: model.features,
        comparison: Comparison::LessOrEqual,
        link: model.link,
        base_margins: vec![0.0; model.outputs],
        zero_is_missing: reader.zero.into_iter().collect(),
        sets: reader.sets.sets,
        trees,
    };
    Ok(ImportedForest {
        forest: Forest::new(draft)?,
        feature_names: names(&header, model.features),
        feature_kinds: kinds(&header, text, model.features),
    })
}

/// The `key=value` lines of a header or a tree, with the line it begins at.
#[derive(Default)]
struct Block<'a> {
    line: usize,
    fields: HashMap<&'a str, &'a str>,
}

/// Cuts the text before `end of trees` at its `Tree=` lines.
fn blocks(text: &str) -> Result<Vec<Block<'_>>, ForestError> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line.trim()) != Some("tree") {
        return Err(malformed("the first line is not \"tree\"", 1));
    }
    let mut blocks = vec![Block::default()];
    for (index, line) in lines {
        let line = line.trim_end_matches('\r');
        if line == "end of trees" {
            return Ok(blocks);
        }
        if line.starts_with("Tree=") {
            check_limit("trees", blocks.len(), TREES_MAX)?;
            blocks.push(Block {
                line: index + 1,
                fields: HashMap::new(),
            });
        } else if let (Some((key, value)), Some(block)) = (line.split_once('='), blocks.last_mut())
        {
            block.fields.insert(key, value);
        } else if line == "average_output"
            && let Some(block) = blocks.last_mut()
        {
            block.fields.insert(line, "");
        }
    }
    Err(malformed(
        "the line \"end of trees\" is absent: the file is cut off",
        text.lines().count(),
    ))
}

impl<'a> Block<'a> {
    fn text(&self, key: &str) -> Result<&'a str, ForestError> {
        self.fields
            .get(key)
            .copied()
            .ok_or_else(|| self.missing(key))
    }

    fn whole(&self, key: &str) -> Result<usize, ForestError> {
        self.text(key)?
            .trim()
            .parse()
            .map_err(|_| self.missing(key))
    }

    /// A list of exactly `count` numbers.
    fn list<T: std::str::FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, ForestError> {
        let parsed: Result<Vec<T>, _> = self
            .text(key)?
            .split_ascii_whitespace()
            .map(str::parse)
            .collect();
        match parsed {
            Ok(list) if list.len() == count => Ok(list),
            Ok(_) | Err(_) => Err(self.missing(key)),
        }
    }

    /// As [`Block::list`], or zeros if the file does not say.
    fn list_or_zeros(&self, key: &str, count: usize) -> Vec<f64> {
        self.list(key, count).unwrap_or_else(|_| vec![0.0; count])
    }

    fn missing(&self, key: &str) -> ForestError {
        ForestError::Field {
            field: format!("{key} (in the block at line {})", self.line),
        }
    }
}

struct Header {
    features: usize,
    outputs: usize,
    link: Link,
    is_averaged: bool,
}

impl Header {
    fn of(block: &Block<'_>) -> Result<Header, ForestError> {
        let version = block.text("version")?;
        if version.trim() != "v4" {
            return Err(unsupported(
                "a LightGBM model older than version 4",
                "save it again with LightGBM 4",
            ));
        }
        let features = block.whole("max_feature_idx")?.saturating_add(1);
        let outputs = block.whole("num_tree_per_iteration")?;
        check_limit("features", features, FEATURES_MAX)?;
        check_limit("outputs", outputs, OUTPUTS_MAX)?;
        if outputs == 0 {
            return Err(block.missing("num_tree_per_iteration"));
        }
        Ok(Header {
            features,
            outputs,
            link: link(block.fields.get("objective").copied().unwrap_or("custom"))?,
            is_averaged: block.fields.contains_key("average_output"),
        })
    }
}

/// The link of an objective line such as `binary sigmoid:1`.
fn link(objective: &str) -> Result<Link, ForestError> {
    let mut words = objective.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    let options: Vec<&str> = words.collect();
    let sigmoid = options
        .iter()
        .find_map(|option| option.strip_prefix("sigmoid:")?.parse().ok());
    let logistic = Link::Logistic {
        scale: sigmoid.unwrap_or(1.0),
    };
    match name {
        "regression" if options.contains(&"sqrt") => Ok(Link::SignedSquare),
        "custom" | "none" | "regression" | "regression_l1" | "huber" | "fair" | "quantile"
        | "mape" => Ok(Link::Identity),
        "binary" | "multiclassova" => Ok(logistic),
        "cross_entropy" | "xentropy" => Ok(Link::Logistic { scale: 1.0 }),
        "cross_entropy_lambda" | "xentlambda" => Ok(Link::Softplus),
        "multiclass" => Ok(Link::Softmax),
        "poisson" | "gamma" | "tweedie" => Ok(Link::Exp),
        "lambdarank" | "rank_xendcg" => Err(unsupported(
            "a ranking objective",
            "a ranking score has no meaning for one row alone",
        )),
        other => {
            let other: String = other.chars().take(60).collect();
            let hint = "train with one of LightGBM's regression, binary or multiclass objectives";
            Err(unsupported(&format!("objective {other}"), hint))
        }
    }
}

struct Reader<'a> {
    model: &'a Header,
    sets: SetTable,
    /// Features with a split for which zero is missing, and features with a split for which it is not.
    zero: BTreeSet<u32>,
    other: BTreeSet<u32>,
}

impl Reader<'_> {
    /// Inner nodes keep their indices; leaf `i` becomes node `splits + i`.
    fn tree(&mut self, block: &Block<'_>, index: usize) -> Result<Tree, ForestError> {
        let leaves = block.whole("num_leaves")?;
        let longest = block.text("leaf_value")?.len();
        if leaves == 0 || leaves > longest {
            return Err(block.missing("num_leaves"));
        }
        if block
            .fields
            .get("is_linear")
            .is_some_and(|flag| flag.trim() == "1")
        {
            return Err(unsupported("a linear tree", "train with linear_tree=false"));
        }
        let splits = leaves - 1;
        let mut nodes = Vec::with_capacity(splits + leaves);
        if splits > 0 {
            self.splits(block, splits, &mut nodes)?;
        }
        let values: Vec<f64> = block.list("leaf_value", leaves)?;
        let covers = block.list_or_zeros("leaf_count", leaves);
        let leaf = |(value, cover)| Node::Leaf { value, cover };
        nodes.extend(values.into_iter().zip(covers).map(leaf));
        Ok(Tree {
            output: index % self.model.outputs,
            nodes,
        })
    }

    fn splits(
        &mut self,
        block: &Block<'_>,
        count: usize,
        nodes: &mut Vec<Node>,
    ) -> Result<(), ForestError> {
        let features: Vec<u32> = block.list("split_feature", count)?;
        let thresholds: Vec<f64> = block.list("threshold", count)?;
        let decisions: Vec<u8> = block.list("decision_type", count)?;
        let left: Vec<i64> = block.list("left_child", count)?;
        let right: Vec<i64> = block.list("right_child", count)?;
        let gains = block.list_or_zeros("split_gain", count);
        let covers = block.list_or_zeros("internal_count", count);
        let sets = self.sets(block)?;
        for index in 0..count {
            let (test, missing_left) = if decisions[index] & CATEGORICAL != 0 {
                let place = thresholds[index];
                let is_index = place >= 0.0 && place < sets.len() as f64;
                let set = if is_index {
                    sets[place as usize]
                } else {
                    return Err(block.missing("cat_boundaries"));
                };
                (Test::Members(set), false)
            } else {
                let threshold = thresholds[index];
                (
                    Test::Threshold(threshold),
                    self.missing_left(decisions[index], features[index], threshold),
                )
            };
            let child = |child: i64| {
                // Leaves are numbered from -1 downwards, and stand behind the splits here.
                let place = if child >= 0 {
                    Some(child)
                } else {
                    (count as i64 - 1).checked_sub(child)
                };
                let place = place.and_then(|place| u32::try_from(place).ok());
                place.ok_or_else(|| block.missing("left_child"))
            };
            nodes.push(Node::Split(Split {
                feature: features[index],
                test,
                missing_left,
                left: child(left[index])?,
                right: child(right[index])?,
                gain: gains[index],
                cover: covers[index],
            }));
        }
        Ok(())
    }

    /// Where a missing number goes; without a missing type it goes where zero goes.
    fn missing_left(&mut self, decision: u8, feature: u32, threshold: f64) -> bool {
        let zero_is_missing = decision >> MISSING_SHIFT & 3 == 1;
        let seen = if zero_is_missing {
            &mut self.zero
        } else {
            &mut self.other
        };
        seen.insert(feature);
        match decision >> MISSING_SHIFT & 3 {
            0 => 0.0 <= threshold,
            _ => decision & DEFAULT_LEFT != 0,
        }
    }

    /// The tree's category sets, as indices into the forest's.
    fn sets(&mut self, block: &Block<'_>) -> Result<Vec<u32>, ForestError> {
        let count = block.whole("num_cat")?;
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > block.text("cat_boundaries")?.len() {
            return Err(block.missing("num_cat"));
        }
        let bounds: Vec<usize> = block.list("cat_boundaries", count + 1)?;
        let is_ordered = bounds[0] == 0 && bounds.is_sorted();
        if !is_ordered {
            return Err(block.missing("cat_boundaries"));
        }
        let words: Vec<u32> = block.list("cat_threshold", bounds[count])?;
        let set = |ends: &[usize]| CategorySet::from_words(words[ends[0]..ends[1]].to_vec());
        bounds
            .windows(2)
            .map(|ends| self.sets.index(set(ends)))
            .collect()
    }
}

/// A random forest answers the mean over its rounds.
fn average(trees: &mut [Tree], outputs: usize) {
    let rounds = (trees.len() / outputs).max(1) as f64;
    for node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
        if let Node::Leaf { value, .. } = node {
            *value /= rounds;
        }
    }
}

fn names(header: &Block<'_>, features: usize) -> Vec<String> {
    let text = header
        .fields
        .get("feature_names")
        .copied()
        .unwrap_or_default();
    let names: Vec<String> = text.split(' ').map(str::to_owned).collect();
    if names.len() == features {
        names
    } else {
        Vec::new()
    }
}

/// A number's range stands in brackets, a category's codes between colons.
fn kinds(header: &Block<'_>, text: &str, features: usize) -> Vec<FeatureKind> {
    let infos = header
        .fields
        .get("feature_infos")
        .copied()
        .unwrap_or_default();
    let is_category = |info: &str| !info.starts_with('[') && info != "none";
    let categories: Vec<bool> = infos.split(' ').map(is_category).collect();
    if categories.len() != features {
        return Vec::new();
    }
    let tables = pandas_labels(text);
    // The tables are in the order of pandas' category columns; with one unused they cannot be told apart.
    let is_matched = tables.len()
        == categories
            .iter()
            .filter(|&&is_category| is_category)
            .count();
    let mut tables = if is_matched { tables } else { Vec::new() }.into_iter();
    let kind = |is_category: bool| match is_category {
        true => FeatureKind::Category {
            labels: tables.next().unwrap_or_default(),
        },
        false => FeatureKind::Number,
    };
    categories.into_iter().map(kind).collect()
}

/// The last line is `pandas_categorical:` and JSON, as the Python package writes it.
fn pandas_labels(text: &str) -> Vec<Vec<String>> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("pandas_categorical:"));
    let tables: Option<Vec<Vec<serde_json::Value>>> =
        line.and_then(|json| serde_json::from_str(json).ok());
    let label = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        // A table says 1 where Python says 1.0.
        serde_json::Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |x| x.to_string()),
        other => other.to_string(),
    };
    let labels = |table: Vec<serde_json::Value>| table.into_iter().map(label).collect();
    tables.unwrap_or_default().into_iter().map(labels).collect()
}

fn malformed(reason: &str, line: usize) -> ForestError {
    ForestError::Malformed {
        reason: reason.to_owned(),
        place: Place::Line(line),
    }
}

fn unsupported(what: &str, hint: &'static str) -> ForestError {
    ForestError::Unsupported {
        what: what.to_owned(),
        hint,
    }
}
