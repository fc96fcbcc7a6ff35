//! The demonstration and everything that can be asked of it: forecasts, profiles, groups, noise, the report.

use crate::hseg::{CRISIS, text};
use crate::server::Server;
use crate::support::Place;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn the_open_demonstration_needs_no_key_says_so_and_stays_on_this_machine() {
    let place = Place::new();
    let server = Server::start(&place, &["--open-demo"]);
    let asked = json!({ "domain": "Business", "survey_responses": { "q1": 2.5 } }).to_string();
    let reply = server.call(
        "POST",
        "/predict/individual",
        &[("content-type", "application/json")],
        &asked,
    );
    assert_eq!(
        reply.status, 404,
        "let in, and no model is there yet: {reply:?}"
    );
    assert!(
        text(&reply.json()["hint"]).contains("ombud kit hseg demo"),
        "{reply:?}"
    );
    let changing = server.call(
        "POST",
        "/organizations",
        &[("content-type", "application/json")],
        "{}",
    );
    assert_eq!(
        changing.status, 403,
        "whoever has no key may look and ask, and nothing else"
    );
    drop(server);
    assert!(place.read("serve.log").contains("Never for real data"));
    place
        .ombud(&[
            "serve",
            "--open-demo",
            "--listen",
            "0.0.0.0:0",
            "--plain-http-beyond-loopback",
        ])
        .refused("open_demo");
}

/// What every other promise needs: models. So one test trains them and then keeps the promises one by one.
#[test]
fn the_demonstration_shows_the_whole_kit() {
    let place = Place::new();
    let shown = place.done(&[
        "kit",
        "hseg",
        "demo",
        "--folder",
        "demo",
        "--records",
        "9000",
        "--organizations",
        "700",
    ]);
    for word in [
        "hseg-individual",
        "hseg-text",
        "hseg-organization",
        "North Clinic",
        "curl",
    ] {
        assert!(shown.stdout.contains(word), "{word}: {}", shown.stdout);
    }
    place
        .ombud(&["kit", "hseg", "demo", "--folder", "demo"])
        .refused("holds a house already");
    let server = Server::start(&place, &["--open-demo", "--folder", "demo"]);
    todays_call_is_answered(&server);
    no_forecast_takes_an_idempotency_key(&server);
    a_negated_fear_is_no_crisis_and_a_crisis_opens_a_case(&server);
    a_batch_is_answered_in_its_order(&server);
    let organizations = server.call("GET", "/organizations", &[], "").fine();
    let organizations = organizations["organizations"]
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(organizations.len(), 3);
    for organization in &organizations {
        profiles_and_benchmarks_are_real(&server, &text(&organization["id"]));
        no_question_tells_of_a_small_group(&server, &text(&organization["id"]));
    }
    a_budget_of_noise_is_spent_and_then_refuses(&place, &server);
    records_of_respondents_have_no_address(&place, &server);
    a_report_is_one_file(&place);
}

fn ask(server: &Server, path: &str, body: &Value) -> Value {
    server
        .call(
            "POST",
            path,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
        .fine()
}

/// A retry would be another forecast and perhaps another case, and whoever sends a key believes otherwise.
fn no_forecast_takes_an_idempotency_key(server: &Server) {
    let one = json!({ "domain": "Business", "survey_responses": { "q1": 3 } });
    for (path, body) in [
        ("/predict/individual", one.clone()),
        ("/predict/batch/individual", json!({ "responses": [one] })),
        ("/predict/communication_risk", json!({ "text": "fine" })),
    ] {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "once"),
        ];
        let refused = server.call("POST", path, &headers, &body.to_string());
        assert_eq!(refused.status, 400, "{path}: {refused:?}");
        assert!(refused.body.contains("Idempotency-Key"), "{refused:?}");
    }
}

fn todays_call_is_answered(server: &Server) {
    let ratings: serde_json::Map<String, Value> = (1..=22)
        .map(|q| (format!("q{q}"), json!(if q % 2 == 0 { 3.0 } else { 2.5 })))
        .collect();
    let body = json!({
        "domain": "Business", "survey_responses": ratings,
        "demographics": { "age_range": "25-34", "gender_identity": "Woman", "position_level": "Mid" },
    });
    let told = ask(server, "/predict/individual", &body);
    // The categories are 2.75, 2.6667, 2.8333, 2.75, 2.75, 2.75, so the score is 7 × 41.2083 / 15.
    assert_eq!(told["overall_hseg_score"], 19.23, "{told}");
    assert_eq!(told["overall_risk_tier"], "Mixed");
    assert_eq!(told["category_scores"]["1"], 2.75);
    let confidence = told["confidence_score"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&confidence));
    assert!(
        told["forecast"]["probabilities"]
            .as_object()
            .is_some_and(|all| all.len() == 5)
    );
    assert_eq!(told["text_risk"], Value::Null);
    let factors = told["contributing_factors"].as_array().expect("a list");
    assert!(factors.iter().any(|it| it["of"] == "forecast"), "{told}");
    for factor in factors {
        let title = factor["title"].as_str().expect("words for a reader");
        assert!(!title.contains('_') && title.len() > 2, "{factor}");
    }
    assert!(
        !told["recommendations"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
}

fn a_negated_fear_is_no_crisis_and_a_crisis_opens_a_case(server: &Server) {
    let said = |text: &str| {
        let body = json!({ "domain": "Business", "survey_responses": { "q1": 3 }, "text_responses": { "q24": text }, "country": "US" });
        ask(server, "/predict/individual", &body)
    };
    let calm = said("I am not afraid to speak up, people listen here");
    assert_eq!(calm["crisis"]["detected"], false, "{calm}");
    assert_eq!(calm["crisis"]["resources"], json!([]));
    let heavy = said(CRISIS);
    assert_eq!(heavy["crisis"]["detected"], true, "{heavy}");
    assert!(
        heavy["crisis"]["resources"].to_string().contains("988"),
        "{heavy}"
    );
    assert!(heavy["crisis"]["case_id"].is_string());
    assert!(heavy["text_risk"]["agrees"].is_boolean());
    let told = ask(
        server,
        "/predict/communication_risk",
        &json!({ "text": CRISIS }),
    );
    assert_eq!(told["crisis"]["detected"], true);
    assert!(
        told["text_risk"]["category_signals"]
            .as_object()
            .is_some_and(|all| all.len() == 6)
    );
}

fn a_batch_is_answered_in_its_order(server: &Server) {
    let one = |rating: f64| json!({ "domain": "University", "survey_responses": { "q1": rating, "q5": rating } });
    let told = ask(
        server,
        "/predict/batch/individual",
        &json!({ "responses": [one(1.0), one(4.0), one(2.0)] }),
    );
    let tiers: Vec<String> = told["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| text(&it["overall_risk_tier"]))
        .collect();
    assert_eq!(tiers, ["Crisis", "Thriving", "At_Risk"]);
    let wrong = json!({ "responses": [one(1.0), one(5.0)] }).to_string();
    let refused = server.call(
        "POST",
        "/predict/batch/individual",
        &[("content-type", "application/json")],
        &wrong,
    );
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.json()["errors"][0]["path"],
        "responses.1.survey_responses.q1"
    );
    let predictions: Vec<Value> = vec![told["results"][0].clone(); 5];
    let group = ask(
        server,
        "/predict/organizational",
        &json!({ "domain": "University", "individual_predictions": predictions }),
    );
    assert_eq!(group["overall_risk_tier"], "Crisis");
    let few =
        json!({ "domain": "University", "individual_predictions": predictions[..4] }).to_string();
    let refused = server.call(
        "POST",
        "/predict/organizational",
        &[("content-type", "application/json")],
        &few,
    );
    assert_eq!(refused.status, 400, "four are too few: {refused:?}");
}

fn profiles_and_benchmarks_are_real(server: &Server, id: &str) {
    let profile = server
        .call("GET", &format!("/organizations/{id}/risk-profile"), &[], "")
        .fine();
    assert_eq!(profile["trend"].as_array().map(Vec::len), Some(2));
    assert_eq!(profile["benchmark"]["others"], 2);
    assert!(profile["benchmark"]["percentile"].is_number());
    let asked = ask(
        server,
        "/predict/organizational",
        &json!({ "organization_id": id }),
    );
    assert_eq!(
        asked["overall_hseg_score"],
        profile["trend"][1]["overall_hseg_score"]
    );
    assert!(asked["forecast"]["tier"].is_string());
}

/// Asks everything that may be asked and computes with the answers; a group of fewer than five is never told, directly or as
/// a difference, and asking twice gives the same.
fn no_question_tells_of_a_small_group(server: &Server, id: &str) {
    let ask = |filters: &str| {
        server
            .call(
                "GET",
                &format!("/analytics/dashboard/{id}?{filters}"),
                &[],
                "",
            )
            .fine()
    };
    let whole = ask("");
    let people = |view: &Value| view["group"]["respondents_at_least"].as_u64();
    let all = people(&whole).expect("everybody may be told of");
    let rows = whole["heat_map"]["rows"].as_array().expect("rows");
    let departments: BTreeSet<String> = rows.iter().map(|row| text(&row["value"])).collect();
    assert!(departments.len() >= 2, "{whole}");
    let mut by_department = 0;
    for department in &departments {
        let named = department.replace(' ', "%20").replace('&', "%26");
        let view = ask(&format!("department={named}"));
        assert_eq!(
            view["group"],
            ask(&format!("department={named}"))["group"],
            "asking again gives nothing new"
        );
        let told = people(&view).expect("a row of the heat map may be told of");
        assert!(told >= 5 && told % 5 == 0, "{view}");
        by_department += told;
        let mut by_level = 0;
        for level in ["Entry", "Mid", "Senior", "Executive"] {
            let part = ask(&format!("department={named}&position_level={level}"));
            if let Some(told) = people(&part) {
                assert!(told >= 5 && told % 5 == 0, "{part}");
                by_level += told;
            }
        }
        assert!(
            by_level <= told,
            "levels add up to no more than their department: {by_level} of {told}"
        );
    }
    assert!(by_department <= all);
    for band in whole["tiers"].as_array().expect("tiers") {
        let told = band["people_at_least"].as_u64().expect("a number");
        assert!(told == 0 || told >= 5, "{band}");
    }
    let path = format!("/analytics/dashboard/{id}?gender_identity=Woman");
    let refused = server.call("GET", &path, &[], "");
    assert_eq!(
        refused.status, 400,
        "only the drill-down can be asked for: {refused:?}"
    );
    // Where some departments are told only together, one that nobody has is told of like one of them.
    let path = format!("/analytics/dashboard/{id}?department=Nowhere");
    let nowhere = server.call("GET", &path, &[], "");
    assert!(
        nowhere.status == 400 || nowhere.json()["group"] == Value::Null,
        "{nowhere:?}"
    );
}

/// Uploads sixty answers, which differ by how the eighth question is rated; how the job ended.
fn processed(server: &Server, admin: &str, organization: &str, eighth: u8) -> Value {
    let mut file = "q1,q5,q8,q11,q15,q19,department\n".to_owned();
    for row in 0..60 {
        let rating = 1 + row % 4;
        file.push_str(&format!(
            "{rating},{rating},{eighth},3,{rating},4,Ward {}\n",
            row % 3
        ));
    }
    let authorization = format!("Bearer {admin}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "text/csv"),
    ];
    let path = format!("/upload/survey-data?organization_id={organization}");
    let confirm = text(&server.call("POST", &path, &headers, &file).fine()["confirm"]);
    let stored = server
        .call(
            "POST",
            &format!("{path}&confirm={confirm}"),
            &headers,
            &file,
        )
        .fine();
    let campaign = text(&stored["campaign_id"]);
    let patience = std::time::Instant::now();
    loop {
        let told = server.get(&format!("/campaigns/{campaign}"), admin).fine();
        let is_over = matches!(told["job"]["state"].as_str(), Some("succeeded" | "failed"));
        if is_over {
            return told;
        }
        assert!(patience.elapsed().as_secs() < 60, "{told}");
        std::thread::yield_now();
    }
}

fn a_budget_of_noise_is_spent_and_then_refuses(place: &Place, server: &Server) {
    let words = [
        "keys", "new", "--label", "n", "--role", "admin", "--folder", "demo", "--json",
    ];
    let admin = text(&place.json(&words)["key"]);
    let wish = json!({
        "name": "Noisy", "domain": "Business", "drill_down": ["department"],
        "noise": { "epsilon_total": 10.0, "epsilon_per_campaign": 6.0 },
    });
    let id = text(&server.post("/organizations", &admin, &wish).fine()["id"]);
    let first = processed(server, &admin, &id, 2);
    assert_eq!(first["state"], "processed", "{first}");
    let view = server
        .get(&format!("/analytics/dashboard/{id}"), &admin)
        .fine();
    assert_eq!(view["noise_epsilon"], 6.0);
    assert_eq!(
        view["themes"],
        json!([]),
        "what carries no noise is not told beside what does"
    );
    assert_eq!(view["organization"]["noise"]["epsilon_spent"], 6.0);
    let second = processed(server, &admin, &id, 3);
    assert_eq!(second["state"], "closed", "{second}");
    assert!(
        text(&second["job"]["message"]).contains("privacy budget"),
        "{second}"
    );
}

fn records_of_respondents_have_no_address(place: &Place, server: &Server) {
    let auditor = text(
        &place.json(&[
            "keys", "new", "--label", "a", "--role", "auditor", "--folder", "demo", "--json",
        ])["key"],
    );
    let (mut decisions, mut of_people) = (0, 0);
    let page = server
        .get("/api/v1/audit/records?limit=200&kind=decision", &auditor)
        .fine();
    for record in page["records"].as_array().expect("records") {
        assert_eq!(record.get("ip"), None, "{record}");
        assert_eq!(record.get("user_agent"), None, "{record}");
        decisions += 1;
        let model = text(&record["model"]);
        of_people += usize::from(!["hseg-organization", "hseg-turnover"].contains(&model.as_str()));
    }
    // Two for each of six campaigns; what is left are the calls of this test, and nothing of the 2,400 respondents.
    assert!(decisions > 10);
    assert!(of_people < 60, "{of_people} records of single people");
}

fn a_report_is_one_file(place: &Place) {
    place.done(&[
        "kit",
        "hseg",
        "report",
        "--folder",
        "demo",
        "--org",
        "North Clinic",
        "--out",
        "report.html",
    ]);
    let page = place.read("report.html");
    for wanted in [
        "<svg",
        "North Clinic",
        "How this was made",
        "What can be done",
        "Intensive Care",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    for outside in ["http://", "https://", "<script", "src="] {
        assert!(!page.contains(outside), "the page loads nothing: {outside}");
    }
    let word = |word: &str| page.to_lowercase().contains(word);
    for clinical in ["diagnosed", "disorder", "symptom", "mentally ill"] {
        assert!(!word(clinical), "{clinical}");
    }
    place
        .ombud(&[
            "kit", "hseg", "report", "--folder", "demo", "--org", "Nowhere", "--out", "r.html",
        ])
        .refused("there is no organization");
}
