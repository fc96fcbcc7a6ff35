//! `ombud kit hseg` from outside.

use crate::support::Place;

#[test]
fn a_survey_is_the_same_for_a_seed_and_can_be_trained_on() {
    let place = Place::new();
    let words = |file: &'static str, seed: &'static str| {
        [
            "kit",
            "hseg",
            "generate",
            "--records",
            "1500",
            "--seed",
            seed,
            "--out",
            file,
            "--json",
        ]
    };
    let made = place.json(&words("a.csv", "7"));
    place.json(&words("b.csv", "7"));
    place.json(&words("c.csv", "8"));
    assert_eq!(place.read("a.csv"), place.read("b.csv"));
    assert_ne!(place.read("a.csv"), place.read("c.csv"));
    assert_eq!(made["records"], 1500);
    let ceiling = |name: &str| made["ceilings"][name]["value"].as_f64().expect("a number");
    assert!(
        ceiling("bayes") > 0.4 && ceiling("oracle") > ceiling("bayes"),
        "{made}"
    );

    place.write(
        "recipe.toml",
        "[model]\nname = \"follow_up\"\n[data]\nsource = \"csv:a.csv\"\ntarget = \"follow_up_tier\"\nids = [\"response_id\"]\n\
         [features]\ndrop = [\"resigned\", \"complained\", \"text_risk\", \"text_signals\", \"organization\"]\n[train]\nrounds = 20\n",
    );
    let trained = place.json(&["train", "recipe.toml", "--json"]);
    assert!(
        trained["metrics"]["accuracy"].as_f64().expect("a number") > 0.3,
        "{trained}"
    );
}

#[test]
fn a_survey_is_scored_by_the_formula_and_read_by_the_lexicon() {
    let place = Place::new();
    place.write(
        "body.json",
        r#"{"domain": "Business", "survey_responses": {"q1": 1, "q2": 1.5, "q5": 4}, "text_responses": {"q24": "I want to end it"}}"#,
    );
    let scored = place.json(&["kit", "hseg", "score", "body.json", "--json"]);
    // 7 × (3 × 1.25 + 2.5 × 4) / 5.5
    assert_eq!(scored["overall_hseg_score"], 17.5);
    assert_eq!(scored["overall_risk_tier"], "Mixed");
    assert_eq!(scored["category_scores"]["3"], serde_json::Value::Null);
    assert_eq!(scored["lexicon"]["is_crisis"], true);
    place.write("wrong.json", r#"{"survey_responses": {"q1": 5, "q23": 1}}"#);
    place
        .ombud(&["kit", "hseg", "score", "wrong.json"])
        .refused("q1 is 5, and a rating is a number from 1 to 4");
    place
        .ombud(&["kit", "hseg", "generate", "--out", "survey.xlsx"])
        .refused("ends in neither .csv nor .parquet");
}
