//! Models that ask other models first: trained, told, moved and served.

use crate::serve::wait_until_served;
use crate::server::Server;
use crate::support::{NOTES, Place, callers, notes};
use serde_json::{Value, json};

/// People who called: what they wrote is read by the stage `notes`, the rest by the model itself.
const CALLERS: &str = "\
[model]
name = \"callers\"
[data]
source = \"csv:data.csv\"
target = \"left\"
subject = \"person_id\"
[[stages]]
bundle = \"models/notes/latest\"
features = { talk = \"probability:talk\", need = \"label\" }
inputs = { text = \"message\" }
[train]
algorithm = \"forest\"
rounds = 20
depth = 3
";

/// A place with the stage and the ensemble.
fn trained() -> Place {
    let place = staged();
    place.train(&callers(500, 2), CALLERS);
    place
}

/// A place with the stage alone.
fn staged() -> Place {
    let place = Place::new();
    place.train(&notes(300, 1), NOTES);
    place
}

fn refusal(change: impl Fn(&str) -> String) -> crate::support::Run {
    let place = staged();
    place.write("data.csv", callers(200, 2));
    place.write("recipe.toml", change(CALLERS));
    let run = place.ombud(&["train", "recipe.toml"]);
    assert!(
        !place.path("models/callers").exists(),
        "nothing was written"
    );
    run
}

#[test]
fn a_model_learns_from_what_another_answers() {
    let place = staged();
    let with = place.train(&callers(500, 2), CALLERS);
    let stages = CALLERS.split_once("[[stages]]").expect("stages");
    let train = stages.1.split_once("[train]").expect("a table").1;
    let without = format!(
        "{}[features]\ndrop = [\"message\"]\n[train]{train}",
        stages.0
    )
    .replace("\"callers\"", "\"deaf\"");
    let without = place.train(&callers(500, 2), &without);
    let accuracy = |report: &Value| report["metrics"]["accuracy"].as_f64().expect("a number");
    assert!(
        accuracy(&with) > accuracy(&without) + 0.1,
        "{} {}",
        accuracy(&with),
        accuracy(&without)
    );
    let told = place.json(&["inspect", "models/callers/latest", "--json"]);
    let stage = &told["manifest"]["ensemble"]["stages"][0];
    let notes = place.json(&["inspect", "models/notes/latest", "--json"]);
    assert_eq!(stage["digest"], notes["digest"]);
    assert_eq!(
        (&stage["name"], &stage["version"]),
        (&json!("notes"), &json!(1))
    );
    let names: Vec<&Value> = told["manifest"]["schema"]["features"]
        .as_array()
        .expect("features")
        .iter()
        .map(|feature| &feature["name"])
        .collect();
    assert_eq!(names, ["hours", "message"], "what a request holds");
    assert_eq!(
        told["manifest"]["ensemble"]["passed_on"],
        json!(["message"])
    );
    let telling: Vec<&Value> = told["importance"]
        .as_array()
        .expect("importance")
        .iter()
        .map(|of| &of["feature"])
        .collect();
    assert!(telling.contains(&&json!("talk")) && !telling.contains(&&json!("message")));
    let shown = place.done(&["inspect", "models/callers/latest"]).stdout;
    assert!(
        shown.contains("asks first") && shown.contains("notes version 1"),
        "{shown}"
    );
    let card = place.read("models/callers/1/card.md");
    assert!(
        card.contains("## What it asks first") && card.contains("probability:talk"),
        "{card}"
    );
}

#[test]
fn an_answer_tells_the_stages_reasons_one_level_down() {
    let place = trained();
    let rows = [
        json!({ "hours": 41.0, "message": "hello, the worried and alone of hello" }),
        json!({ "hours": 41.0 }),
    ];
    let rows = rows.map(|row| row.to_string()).join("\n");
    place.write("new.jsonl", rows);
    let run = place.done(&[
        "predict",
        "models/callers",
        "--data",
        "new.jsonl",
        "--format",
        "jsonl",
        "--explain",
    ]);
    let told: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(told.len(), 2, "{}", run.stdout);
    let reasons = &told[0]["reasons"];
    let features: Vec<&str> = reasons["features"]
        .as_array()
        .expect("features")
        .iter()
        .filter_map(|reason| reason["feature"].as_str())
        .collect();
    assert!(
        features.contains(&"talk") || features.contains(&"need"),
        "{reasons}"
    );
    let below = &reasons["stages"][0];
    assert_eq!(below["stage"], "notes", "{reasons}");
    let word = &below["reasons"]["words"][0]["word"];
    assert!(word == "worried" || word == "alone", "{below}");
    // Who wrote nothing is answered without the stage.
    assert!(told[1]["prediction"].is_string(), "{}", told[1]);
    assert_eq!(told[1]["reasons"]["stages"], Value::Null, "{}", told[1]);
}

#[test]
fn what_a_stage_does_not_have_is_refused_with_the_nearest_that_it_has() {
    refusal(|recipe| recipe.replace("probability:talk", "probability:tlak"))
        .refused("did you mean \"probability:talk\"?");
    refusal(|recipe| recipe.replace("\"label\"", "\"number\"")).refused("has no output \"number\"");
    refusal(|recipe| recipe.replace("text = \"message\"", "txet = \"message\""))
        .refused("did you mean \"text\"?");
    refusal(|recipe| recipe.replace("text = \"message\"", "text = \"mesage\""))
        .refused("did you mean \"message\"?");
    refusal(|recipe| recipe.replace("text = \"message\"", "text = \"left\""))
        .refused("which is the target");
    refusal(|recipe| recipe.replace("talk = \"prob", "hours = \"prob"))
        .refused("a column of the data too");
    refusal(|recipe| recipe.replace("models/notes/latest", "models/nots/latest"))
        .refused("the stage \"models/nots/latest\" cannot be used");
    refusal(|recipe| recipe.replace("[[stages]]", "[stages]")).refused("list of tables");
}

#[test]
fn a_stage_may_be_named_by_name_and_version() {
    let place = staged();
    let recipe = CALLERS.replace("models/notes/latest", "notes@1");
    place.train(&callers(200, 2), &recipe);
    let checked = place.json(&["recipe", "check", "recipe.toml", "--json"]);
    let remarks = checked["remarks"].to_string();
    assert!(
        remarks.contains("notes version 1 answers first"),
        "{remarks}"
    );
}

#[test]
fn a_stage_that_learned_from_the_same_rows_is_warned_of() {
    let place = Place::new();
    let (data, recipe) = (callers(400, 2), CALLERS.replace("text = \"message\"", ""));
    let stage = "[model]\nname = \"notes\"\n[data]\nsource = \"csv:data.csv\"\ntarget = \"left\"\n\
        [features]\nonly = [\"message\"]\nmessage = \"text\"\n[train]\nalgorithm = \"linear\"\n";
    place.train(&data, stage);
    let recipe = recipe.replace("talk = \"probability:talk\", need", "need");
    let trained = place.train(&data, &recipe);
    let warnings = trained["warnings"].to_string();
    assert!(
        warnings.contains("was trained on this very data"),
        "{warnings}"
    );
}

#[test]
fn a_package_finds_its_stages_beside_it_or_says_which_are_missing() {
    let place = trained();
    let packed = place.done(&["package", "models/callers/latest"]);
    assert!(
        packed.stderr.contains("its stage notes version 1"),
        "{}",
        packed.stderr
    );
    let package = "model_packages/callers_1.tar.gz";
    place
        .ombud(&["verify", package])
        .refused("the stage notes version 1");
    place.done(&["verify", package, "--stages", "models"]);
    place.done(&["package", "models/notes/latest"]);
    place.done(&["verify", package]);
    place.write("rows.csv", "person_id,hours,message\nP1,40.0,the letter\n");
    let from_package = place
        .done(&["predict", package, "--data", "rows.csv"])
        .stdout;
    let from_folder = place.done(&["predict", "models/callers/latest", "--data", "rows.csv"]);
    assert_eq!(from_package, from_folder.stdout);
    // Another training of the stage is not the stage that was learned behind.
    place.train(&notes(300, 9), NOTES);
    std::fs::remove_dir_all(place.path("models/notes/1")).expect("there");
    place
        .ombud(&["predict", "models/callers/latest", "--data", "rows.csv"])
        .refused("is not at hand");
    let exported = place.ombud(&[
        "export",
        "model_packages/callers_1.tar.gz",
        "--to",
        "onnx",
        "--out",
        "x.onnx",
    ]);
    exported.refused("asks notes version 1 first");
}

#[test]
fn an_ensemble_is_measured_like_any_other_model() {
    let place = trained();
    place.write("held.csv", callers(200, 5));
    let told = place.json(&[
        "evaluate",
        "models/callers/latest",
        "--data",
        "held.csv",
        "--json",
    ]);
    assert!(
        told["metrics"]["accuracy"].as_f64().expect("a number") > 0.7,
        "{told}"
    );
}

#[test]
fn an_ensemble_is_registered_after_its_stages_served_as_one_and_holds_them() {
    let place = trained();
    let server = Server::start(&place, &[]);
    place
        .ombud(&["deploy", "callers", "models/callers/latest"])
        .refused("callers asks other models first that are not registered: notes version 1");
    place.done(&["register", "models/notes/latest"]);
    place.done(&["deploy", "callers", "models/callers/latest"]);
    wait_until_served(&server);
    let key = server.first_key();
    let input = json!({ "hours": 41.0, "message": "hello, the worried and alone of hello" });
    let told = server.post(
        "/api/v1/models/callers/decide",
        &key,
        &json!({ "input": input }),
    );
    let told = told.fine();
    let stage = &told["explanation"]["stages"][0];
    assert_eq!(stage["stage"], "notes", "{told}");
    let id = told["decision_id"].as_str().expect("an id");
    let shown = place.json(&["audit", "show", id, "--json"]);
    let bundle = place.json(&["inspect", "models/callers/latest", "--json"]);
    let record = &shown["records"][0];
    assert_eq!(record["bundle"], bundle["digest"], "{record}");
    place.write("row.jsonl", input.to_string());
    let alone = place.done(&[
        "predict",
        "models/callers",
        "--data",
        "row.jsonl",
        "--format",
        "jsonl",
    ]);
    let alone: Value = serde_json::from_str(alone.stdout.trim()).expect("JSON");
    assert_eq!(told["prediction"], alone["prediction"]);
    assert_eq!(told["confidence"], alone["confidence"]);
    let admin = place.json(&["keys", "new", "--label", "a", "--role", "admin", "--json"]);
    let admin = format!("Bearer {}", admin["key"].as_str().expect("a key"));
    let headers = [("authorization", admin.as_str())];
    let kept = server.call("DELETE", "/api/v1/models/notes/versions/1", &headers, "");
    assert_eq!(kept.status, 409, "{kept:?}");
    assert!(
        kept.body.contains("is a stage of version 1 of callers"),
        "{kept:?}"
    );
}
