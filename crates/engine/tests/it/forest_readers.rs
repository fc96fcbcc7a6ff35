//! No bytes make a reader panic, loop or run out of memory, and what it accepts can be run.

use std::fs;
use std::path::Path;

use ombud_engine::forest::{Forest, ForestError, ImportedForest};
use proptest::prelude::*;

type Reader = fn(&[u8]) -> Result<ImportedForest, ForestError>;

const READERS: [Reader; 2] = [Forest::from_xgboost, Forest::from_lightgbm];
const MODELS: [&str; 6] = [
    "xgb-category.ubj",
    "xgb-vector.ubj",
    "xgb-dart.ubj",
    "xgb-binary-json.json",
    "lgb-category.lightgbm.txt",
    "lgb-zero.lightgbm.txt",
];

fn model(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/forest");
    fs::read(folder.join(name)).expect("a golden file")
}

/// What a reader accepts must be sound: run it every way, on a row of odd values.
fn read_and_run(reader: Reader, bytes: &[u8]) {
    let Ok(ImportedForest { forest, .. }) = reader(bytes) else {
        return;
    };
    // A changed digit may ask for a million features: still sound, but slow to run here.
    if forest.features() > 1000 {
        return;
    }
    let odd = [
        f64::NAN,
        0.0,
        -1.5,
        3.0,
        f64::INFINITY,
        1e300,
        f64::NEG_INFINITY,
    ];
    let row: Vec<f64> = odd.into_iter().cycle().take(forest.features()).collect();
    let compiled = forest.compile();
    let mut plain = vec![0.0; forest.outputs()];
    forest.margins_row(&row, &mut plain);
    let mut fast = plain.clone();
    compiled.margins_row(&row, &mut fast);
    let mut batch = vec![0.0; 33 * plain.len()];
    compiled.margins(&row.repeat(33), &mut batch);
    for margins in batch.chunks_exact(plain.len()).chain([fast.as_slice()]) {
        let is_same =
            |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(
            margins.iter().zip(&plain).all(is_same),
            "{margins:?} is not {plain:?}"
        );
    }
    let explainer = forest.explainer();
    explainer.contributions(&row, &mut vec![0.0; explainer.width()]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused_or_read(mut bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0..3) {
        let starts: [&[u8]; 3] = [b"", b"{L\0\0\0\0\0\0\0\x07learner", b"tree\nversion=v4\n"];
        bytes.splice(0..0, starts[start as usize].iter().copied());
        READERS.iter().for_each(|&reader| read_and_run(reader, &bytes));
    }

    #[test]
    fn changed_models_are_refused_or_read(
        name in prop::sample::select(&MODELS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = model(name);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        READERS.iter().for_each(|&reader| read_and_run(reader, &bytes));
    }

    #[test]
    fn changed_digits_are_refused_or_read(
        name in prop::sample::select(&MODELS[3..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..10u8), 1..12),
    ) {
        let mut bytes = model(name);
        let digits: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
        for (place, digit) in changes {
            bytes[digits[place.index(digits.len())]] = b'0' + digit;
        }
        READERS.iter().for_each(|&reader| read_and_run(reader, &bytes));
    }

    #[test]
    fn models_cut_short_are_refused(
        name in prop::sample::select(&MODELS[..]),
        end in any::<prop::sample::Index>(),
    ) {
        let bytes = model(name);
        let bytes = &bytes[..end.index(bytes.len())];
        // LightGBM's text ends with remarks that nobody needs.
        if !bytes.windows(12).any(|line| line == b"end of trees") {
            READERS.iter().for_each(|reader| assert!(reader(bytes).is_err(), "{name}"));
        }
    }
}

fn refusal(reader: Reader, text: &str) -> String {
    let read = reader(text.as_bytes());
    read.expect_err("an unsound model").to_string()
}

#[test]
fn a_model_that_could_answer_nothing_is_refused() {
    let xgboost = String::from_utf8(model("xgb-binary-json.json")).expect("JSON");
    let score = xgboost.find("\"base_score\":\"").expect("a base score") + 14;
    let end = score + xgboost[score..].find('"').expect("its end");
    for wrong in ["NaN", "1E0", "0E0", "-2E0", "inf"] {
        let text = format!("{}{wrong}{}", &xgboost[..score], &xgboost[end..]);
        let refused = refusal(Forest::from_xgboost, &text);
        assert!(refused.contains("base_score"), "{wrong}: {refused}");
    }
    let lightgbm = String::from_utf8(model("lgb-zero.lightgbm.txt")).expect("text");
    let leaves = lightgbm.find("leaf_value=").expect("leaves") + 11;
    let end = leaves + lightgbm[leaves..].find(' ').expect("several");
    let text = format!("{}inf{}", &lightgbm[..leaves], &lightgbm[end..]);
    let refused = refusal(Forest::from_lightgbm, &text);
    assert!(refused.contains("a leaf is no finite number"), "{refused}");
}

/// Written by hand beside a fuzzer that did not find them.
#[test]
fn numbers_that_wrap_and_sets_that_share_their_codes_are_refused() {
    let tree = |targets: &str, more: &str| {
        format!(
            r#"{{"tree_param":{{"size_leaf_vector":"{targets}"}},"left_children":[-1],"right_children":[-1],
            "split_indices":[0],"split_conditions":[0.5],"default_left":[0],"base_weights":[0.5]{more}}}"#
        )
    };
    let model = |second: &str| {
        format!(
            r#"{{"learner":{{"objective":{{"name":"reg:squarederror"}},
            "learner_model_param":{{"num_class":"0","num_target":"2","num_feature":"1","base_score":"0.5"}},
            "gradient_booster":{{"name":"gbtree","model":{{"tree_info":[0,1],"trees":[{},{second}]}}}}}}}}"#,
            tree("1", "")
        )
    };
    assert!(Forest::from_xgboost(model(&tree("1", "")).as_bytes()).is_ok());
    // One more than the first output wraps to nothing, and the tree would be gone.
    let wraps = refusal(
        Forest::from_xgboost,
        &model(&tree("18446744073709551615", "")),
    );
    assert!(wraps.contains("outputs"), "{wraps}");
    // A size below nothing would pay for sets that all have the same codes.
    let shared = r#","categories_nodes":[0,0,0],"categories_segments":[0,0,0],"categories_sizes":[2,2,-2],"categories":[0,1]"#;
    let shared = refusal(Forest::from_xgboost, &model(&tree("1", shared)));
    assert!(shared.contains("size"), "{shared}");
    let more = r#","categories_nodes":[0],"categories_segments":[0],"categories_sizes":[2,-2],"categories":[0,1]"#;
    let more = refusal(Forest::from_xgboost, &model(&tree("1", more)));
    assert!(more.contains("differ in number"), "{more}");

    let lightgbm = "tree\nversion=v4\nmax_feature_idx=0\nnum_tree_per_iteration=1\n\nTree=0\nnum_leaves=2\nnum_cat=0\n\
        leaf_value=1 2\nsplit_feature=0\nthreshold=0\ndecision_type=0\nleft_child=-9223372036854775808\nright_child=-2\n\n\
        end of trees\n";
    let lowest = refusal(Forest::from_lightgbm, lightgbm);
    assert!(lowest.contains("left_child"), "{lowest}");
}

#[test]
fn a_broken_file_is_told_with_its_byte_or_its_line() {
    let refused = refusal(Forest::from_xgboost, "{\"learner\": nul");
    assert!(refused.contains("(at byte "), "{refused}");
    let refused = refusal(Forest::from_lightgbm, "tree\nversion=v4\n");
    assert!(refused.contains("(at line 2)"), "{refused}");
}

#[test]
fn an_empty_file_is_refused() {
    READERS
        .iter()
        .for_each(|reader| assert!(reader(b"").is_err()));
}
