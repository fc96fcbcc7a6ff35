//! `[[stages]]`: the models that the new one asks first.
//!
//! Whether the bundles exist and answer what is wanted is judged by [`crate::stages`], with the bundles at hand.

use super::reading::{Found, Section};
use ombud_core::ensemble::{STAGES_MAX, StageOutput};
use std::collections::BTreeMap;

/// A stage as a recipe wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSpec {
    /// A path, or `name@version` among the models of the output folder.
    pub bundle: String,
    /// What of its answer becomes which feature, by the feature's name.
    pub features: BTreeMap<String, StageOutput>,
    /// Its features that are columns of another name, by its own name of them.
    pub inputs: BTreeMap<String, String>,
    /// Whether a row may lack what the stage takes.
    pub missing: bool,
}

const EXAMPLE: &str = "features = { text_risk = \"probability:high\" }";

pub(super) fn read(root: &Section<'_>) -> Vec<StageSpec> {
    let Some(found) = root.get(&["stages"]) else {
        return Vec::new();
    };
    let Some(array) = found.value.as_array() else {
        let what = "is a table; allowed is a list of tables";
        let hint = Some("write `[[stages]]` with two brackets".to_owned());
        root.mistake(found.line, "stages", what, hint);
        return Vec::new();
    };
    if array.len() > STAGES_MAX {
        let what = format!(
            "has {} stages; at most {STAGES_MAX} are allowed",
            array.len()
        );
        root.mistake(found.line, "stages", what, None);
    }
    let stages = array.iter().filter_map(|item| {
        let line = super::reading::line_of(root.text_of_document(), &item.span());
        let value = item.get_ref();
        read_stage(root.as_section("stages", Found { line, value })?)
    });
    stages.collect()
}

fn read_stage(section: Section<'_>) -> Option<StageSpec> {
    let bundle = section.text(&["bundle"]);
    let bundle = section.require("bundle", bundle, "bundle = \"models/text_risk/latest\"");
    let features = section.section("features");
    let is_empty = features
        .as_ref()
        .is_some_and(|named| named.rest().is_empty());
    let features = section.require("features", features.map(read_outputs), EXAMPLE);
    if is_empty {
        let hint = Some(format!("write `{EXAMPLE}`"));
        section.mistake(
            section.line(),
            "features",
            "names nothing of the stage's answer",
            hint,
        );
    }
    let inputs = section.section("inputs").map(read_inputs);
    let missing = section.flag(&["missing"]).unwrap_or(true);
    section.finish();
    Some(StageSpec {
        bundle: bundle?,
        features: features?,
        inputs: inputs.unwrap_or_default(),
        missing,
    })
}

fn read_outputs(section: Section<'_>) -> BTreeMap<String, StageOutput> {
    let mut outputs = BTreeMap::new();
    for (name, found) in section.rest() {
        let Some(text) = found.value.as_str() else {
            section.wrong_type::<()>(&name, found, "an output in quotes, such as \"label\"");
            continue;
        };
        match text.parse::<StageOutput>() {
            Ok(output) => drop(outputs.insert(name, output)),
            Err(error) => {
                let near = error.nearest.as_ref();
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                section.mistake(found.line, &name, format!("is wrong: {error}"), hint);
            }
        }
    }
    outputs
}

fn read_inputs(section: Section<'_>) -> BTreeMap<String, String> {
    let mut inputs = BTreeMap::new();
    for (name, found) in section.rest() {
        match found.value.as_str() {
            Some(column) => drop(inputs.insert(name, column.to_owned())),
            None => drop(section.wrong_type::<()>(&name, found, "a column in quotes")),
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::super::Recipe;
    use super::*;

    const HEAD: &str = "[model]\nname = \"a\"\n[data]\nsource = \"csv:a.csv\"\ntarget = \"t\"\n";

    fn refusal(stages: &str) -> String {
        let wrong = Recipe::parse("r.toml", &format!("{HEAD}{stages}")).unwrap_err();
        format!("{wrong}; {}", wrong.hint().unwrap_or_default())
    }

    #[test]
    fn a_stage_is_read_with_what_it_gives_and_takes() {
        let text = format!(
            "{HEAD}[[stages]]\nbundle = \"models/text/latest\"\nfeatures = {{ risk = \"probability:high\", level = \"label\" }}\n\
             inputs = {{ text = \"note\" }}\nmissing = false\n"
        );
        let recipe = Recipe::parse("r.toml", &text).unwrap();
        let stage = &recipe.stages[0];
        assert_eq!(
            stage.features["risk"],
            StageOutput::Probability("high".into())
        );
        assert_eq!(stage.features["level"], StageOutput::Label);
        assert_eq!(stage.inputs["text"], "note");
        assert!(!stage.missing);
    }

    #[test]
    fn wrong_words_are_refused_with_their_line_and_the_nearest_right_one() {
        let said = refusal("[[stages]]\nbundle = \"b\"\nfeatures = { risk = \"lable\" }\n");
        assert!(
            said.contains("line 8") && said.contains("did you mean `label`?"),
            "{said}"
        );
        let said = refusal("[[stages]]\nbundel = \"b\"\nfeatures = { risk = \"label\" }\n");
        assert!(
            said.contains("`stages.bundle`") || said.contains("bundel"),
            "{said}"
        );
        let said = refusal("[stages]\nbundle = \"b\"\n");
        assert!(said.contains("`[[stages]]` with two brackets"), "{said}");
        assert!(refusal("[[stages]]\nbundle = \"b\"\n").contains("features"));
    }
}
