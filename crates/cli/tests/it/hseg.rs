//! The kit for psychological safety at work, as its people meet it: respondents, HR, whoever looks at cases, an attacker.

use crate::server::{Reply, Server};
use crate::support::Place;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CRISIS: &str = "I do not want to live any more, I want to kill myself. zanzibar-marker";

struct Office {
    place: Place,
    server: Server,
    admin: String,
}

impl Office {
    fn open() -> Self {
        let place = Place::new();
        let server = Server::start(&place, &["--set", "limits.changes_per_minute=0"]);
        let admin = key(&place, "admin", &[]);
        Office {
            place,
            server,
            admin,
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.server.post(path, &self.admin, body).fine()
    }

    fn get(&self, path: &str) -> Value {
        self.server.get(path, &self.admin).fine()
    }

    fn organization(&self, more: &Value) -> String {
        let mut wish = json!({ "name": "Clinic", "domain": "Healthcare", "country": "DE" });
        for (name, value) in more.as_object().expect("an object") {
            wish[name] = value.clone();
        }
        text(&self.post("/organizations", &wish)["id"])
    }

    fn campaign(&self, organization: &str) -> String {
        let wish = json!({ "organization_id": organization, "name": "Spring" });
        text(&self.post("/campaigns", &wish)["id"])
    }

    /// Invitations, as they stand behind the `#` of their links.
    fn invitations(&self, campaign: &str, number: usize) -> Vec<String> {
        let made = self.post(
            &format!("/campaigns/{campaign}/invitations"),
            &json!({ "number": number }),
        );
        let links = made["links"].as_array().expect("links").iter();
        // It can be mailed as it is.
        let front = format!("http://{}/survey?domain=", self.server.address);
        links
            .map(|link| {
                let link = text(link);
                let (page, invitation) = link.split_once('#').expect("a part behind #");
                assert!(page.starts_with(&front), "{page}");
                invitation.to_owned()
            })
            .collect()
    }

    fn respond(&self, invitation: &str, said: &str) -> Reply {
        let body = json!({
            "invitation": invitation,
            "survey_responses": { "q1": 2.5, "q5": 3 },
            "text_responses": { "q24": said },
            "demographics": { "department": "Nursing", "education_level": "Masters", "ethnicity": ["Asian", "White"] },
        });
        let headers = [("content-type", "application/json")];
        self.server
            .call("POST", "/survey/responses", &headers, &body.to_string())
    }

    fn upload(&self, query: &str, kind: &str, file: &str) -> Reply {
        let authorization = format!("Bearer {}", self.admin);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", kind),
        ];
        self.server.call(
            "POST",
            &format!("/upload/survey-data?{query}"),
            &headers,
            file,
        )
    }
}

fn key(place: &Place, role: &str, more: &[&str]) -> String {
    let mut words = vec![
        "keys",
        "new",
        "--label",
        "test",
        "--role",
        role,
        "--folder",
        "ombud-data",
        "--json",
    ];
    words.extend(more);
    text(&place.json(&words)["key"])
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

#[test]
fn an_invitation_lets_somebody_answer_once_and_leaves_no_trace_of_who_it_was() {
    let office = Office::open();
    let campaign = office.campaign(&office.organization(&json!({})));
    let invitations = office.invitations(&campaign, 9);
    assert_eq!(
        office.respond(&invitations[0], "fine").status,
        409,
        "a draft takes no answers"
    );
    office.post(&format!("/campaigns/{campaign}/open"), &json!({}));
    let records = || {
        office.get("/api/v1/audit/records?limit=500")["records"]
            .as_array()
            .expect("records")
            .len()
    };
    let before = records();
    for (place, invitation) in invitations.iter().take(7).enumerate() {
        let taken = office.respond(invitation, &format!("zanzibar-marker {place}"));
        assert_eq!(taken.status, 201, "{taken:?}");
    }
    assert_eq!(
        records(),
        before,
        "a respondent's answer leaves no record, so no record has its time or address"
    );
    let again = office.respond(&invitations[0], "once more");
    let unknown = office.respond("hseg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "who");
    let words = |reply: &Reply| (reply.status, text(&reply.json()["detail"]));
    assert_eq!(
        words(&again),
        words(&unknown),
        "used and unknown are told alike"
    );
    assert_eq!(again.status, 409);
    let tail = office.get("/api/v1/audit/records?limit=500");
    let refused: Vec<&Value> = tail["records"]
        .as_array()
        .expect("records")
        .iter()
        .filter(|record| record.to_string().contains("/survey/responses"))
        .collect();
    assert!(!refused.is_empty(), "refusals are on record: {tail}");
    for record in refused {
        let from = (&record["ip"], &record["user_agent"], &record["principal"]);
        assert_eq!(from, (&Value::Null, &Value::Null, &Value::Null), "{record}");
        assert_eq!(record["request_id"], "withheld", "{record}");
    }
    let told = office.get(&format!("/campaigns/{campaign}"));
    assert_eq!(
        told["responded_at_least"], 5,
        "seven answers are told in steps of the floor"
    );
    office.post(&format!("/campaigns/{campaign}/close"), &json!({}));
    assert_eq!(office.respond(&invitations[8], "late").status, 409);
    let Office { place, server, .. } = office;
    drop(server);
    // Neither an invitation nor what somebody wrote is anywhere in clear: database, write-ahead log, server's log.
    let secrets = invitations
        .iter()
        .map(String::as_str)
        .chain(["zanzibar-marker"]);
    for secret in secrets {
        for (path, content) in place.listing() {
            let is_there = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!is_there, "{} holds {secret}", path.display());
        }
    }
    assert!(
        !place.read("serve.log").contains("127.0.0.1:"),
        "the log has no respondent's address"
    );
}

#[test]
fn whoever_writes_of_danger_is_shown_help_at_once_and_a_person_must_look() {
    let office = Office::open();
    let organization = office.organization(&json!({ "case_hours": 2 }));
    let campaign = office.campaign(&organization);
    office.post(&format!("/campaigns/{campaign}/open"), &json!({}));
    let path = format!("/campaigns/{campaign}/invitations");
    let few = office
        .server
        .post(&path, &office.admin, &json!({ "number": 4 }));
    assert_eq!(
        few.status, 400,
        "a case among four people names one of them"
    );
    let invitations = office.invitations(&campaign, 5);
    let calm = office
        .respond(&invitations[0], "I am not afraid to speak up here")
        .fine();
    assert_eq!(calm["resources"], json!([]));
    let heavy = office.respond(&invitations[1], CRISIS).fine();
    let help = heavy["resources"].as_array().expect("a list");
    assert!(
        help.iter()
            .any(|one| text(&one["contact"]).contains("116 123")
                || text(&one["contact"]).contains("0800")),
        "{heavy}"
    );

    let cases = office.get("/review-cases");
    assert_eq!(cases["waiting"], 1);
    let case = &cases["cases"][0];
    assert_eq!(
        (&case["state"], &case["role"]),
        (&json!("waiting"), &json!("operator"))
    );
    assert_eq!(case["campaign_id"], json!(campaign));
    assert!(
        case["reasons"]
            .as_array()
            .is_some_and(|reasons| !reasons.is_empty()),
        "{case}"
    );
    assert!(
        !cases.to_string().contains("zanzibar"),
        "a case never quotes"
    );
    assert!(
        text(&case["opened_at"]).ends_with(":00:00.000000Z"),
        "a case tells the hour, not the moment: {case}"
    );

    let path = format!("/review-cases/{}", text(&case["id"]));
    let operator = key(&office.place, "operator", &[]);
    let auditor = key(&office.place, "auditor", &[]);
    let early = office.server.post(
        &format!("{path}/close"),
        &operator,
        &json!({ "note": "done" }),
    );
    assert_eq!(
        early.status, 409,
        "nobody closes what nobody took up: {early:?}"
    );
    let other = office
        .server
        .post(&format!("{path}/acknowledge"), &auditor, &json!({}));
    assert_eq!(other.status, 403, "the case names operators: {other:?}");
    let taken = office
        .server
        .post(&format!("{path}/acknowledge"), &operator, &json!({}))
        .fine();
    assert_eq!(taken["state"], "acknowledged");
    assert!(text(&taken["acknowledged_by"]).starts_with("key:"));
    assert_eq!(
        office
            .server
            .post(&format!("{path}/acknowledge"), &operator, &json!({}))
            .status,
        409
    );
    let closed = office.server.post(
        &format!("{path}/close"),
        &operator,
        &json!({ "note": "a message to all staff with whom to call" }),
    );
    assert_eq!(closed.fine()["state"], "closed");
    assert_eq!(office.get("/review-cases")["cases"], json!([]));
}

#[test]
fn help_can_be_replaced_for_a_country() {
    let office = Office::open();
    let put = |country: &str, resources: Value| {
        let authorization = format!("Bearer {}", office.admin);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let body = json!({ "resources": resources }).to_string();
        office
            .server
            .call(
                "PUT",
                &format!("/help-resources/{country}"),
                &headers,
                &body,
            )
            .status
    };
    let own = json!([{ "name": "Our ombudsperson", "contact": "7000", "hours": "always" }]);
    assert_eq!(put("DE", own.clone()), 204);
    assert_eq!(put("DE", json!([])), 400, "nobody is left without help");
    let shown = office
        .server
        .call("GET", "/help-resources/de", &[], "")
        .fine();
    assert_eq!(shown["is_reviewed"], true);
    assert_eq!(shown["resources"][0], own[0]);
    assert!(
        shown["resources"].to_string().contains("112"),
        "nobody can take the emergency number away: {shown}"
    );
    let blank = json!([{ "name": " ", "contact": "7000", "hours": "" }]);
    assert_eq!(put("DE", blank), 400, "an empty line is no help");
}

#[test]
fn whoever_only_writes_is_heard_at_once() {
    let office = Office::open();
    let campaign = office.campaign(&office.organization(&json!({})));
    let invitations = office.invitations(&campaign, 5);
    office.post(&format!("/campaigns/{campaign}/open"), &json!({}));
    let body = json!({
        "invitation": invitations[0], "survey_responses": {},
        "text_responses": { "q24": "I want to die, I cannot rate statements." },
    });
    let headers = [("content-type", "application/json")];
    let body = body.to_string();
    let taken = office
        .server
        .call("POST", "/survey/responses", &headers, &body);
    assert_eq!(taken.status, 201, "{taken:?}");
    assert_ne!(taken.json()["resources"], json!([]), "help is shown");
    let cases = office.get("/review-cases");
    assert_eq!(cases["waiting"], 1, "{cases}");
    assert_eq!(cases["cases"][0]["urgency"], "urgent");
}

#[test]
fn an_upload_is_shown_row_by_row_before_anything_is_stored() {
    let office = Office::open();
    let organization = office.organization(&json!({}));
    let query = format!("organization_id={organization}");
    let more = "2,2,Lab,Man\n3,2,Lab,Man\n4,2,Lab,Woman\n";
    let file = format!(
        "Q1,Question 2,Dept,Gender\n2.5,3,Nursing,Woman\n9,3,Nursing,Womn\n1,1,Lab,Man\n{more}"
    );
    let file = file.as_str();
    let preview = office.upload(&query, "text/csv", file).fine();
    assert_eq!(preview["is_stored"], false);
    assert_eq!(preview["preview"]["mapping"]["q2"], "Question 2");
    assert_eq!(preview["preview"]["problem_rows"], 1);
    let problem = &preview["preview"]["problems"][1];
    assert_eq!(
        (&problem["row"], &problem["field"], &problem["nearest"]),
        (&json!(2), &json!("gender_identity"), &json!("Woman"))
    );
    assert_eq!(
        preview.get("confirm"),
        None,
        "what cannot be read is not stored by the way"
    );
    let list = || office.get(&format!("/campaigns?{query}"))["campaigns"].clone();
    assert_eq!(
        list(),
        json!([]),
        "nothing is stored before somebody said so"
    );

    let skipping = format!("{query}&skip_problems=true");
    let preview = office.upload(&skipping, "text/csv", file).fine();
    let confirm = text(&preview["confirm"]);
    let other = office.upload(
        &format!("{skipping}&confirm={confirm}"),
        "text/csv",
        &file.replace("2.5", "1.5"),
    );
    assert_eq!(other.status, 409, "another file than was shown: {other:?}");
    let stored = office.upload(
        &format!("{skipping}&confirm={confirm}&name=Paper"),
        "text/csv",
        file,
    );
    assert_eq!(stored.status, 202, "{stored:?}");
    assert_eq!(stored.json()["preview"]["readable_rows"], 5);
    let campaigns = list();
    assert_eq!(
        (&campaigns[0]["name"], &campaigns[0]["state"]),
        (&json!("Paper"), &json!("closed"))
    );
    assert_eq!(
        campaigns[0]["responded_at_least"], 5,
        "in steps of the floor"
    );
    let again = format!("{skipping}&confirm={confirm}&name=Again");
    let again = office.upload(&again, "text/csv", file);
    assert_eq!(again.status, 409, "the same file twice: {again:?}");
}

#[test]
fn a_file_of_everything_so_far_tells_nobody_apart() {
    let office = Office::open();
    let organization = office.organization(&json!({}));
    let query = format!("organization_id={organization}");
    let stored = |file: &str| {
        let preview = office.upload(&query, "text/csv", file).fine();
        let confirm = text(&preview["confirm"]);
        office.upload(&format!("{query}&confirm={confirm}"), "text/csv", file)
    };
    let rows = |numbers: std::ops::Range<u32>| -> String {
        let line = |number: u32| format!("{},{},Lab\n", 1 + number % 4, 1 + number / 4);
        numbers.map(line).collect()
    };
    let names = "q1,q2,department\n";
    let few = stored(&format!("{names}{}", rows(0..4)));
    assert_eq!(few.status, 409, "four answers: {few:?}");
    assert_eq!(stored(&format!("{names}{}", rows(0..6))).status, 202);
    let one_more = stored(&format!("{names}{}", rows(0..7)));
    assert_eq!(
        one_more.status, 409,
        "the seventh is told apart: {one_more:?}"
    );
    let one_less = stored(&format!("{names}{}", rows(0..5)));
    assert_eq!(
        one_less.status, 409,
        "the sixth is told apart: {one_less:?}"
    );
    assert_eq!(stored(&format!("{names}{}", rows(6..12))).status, 202);
    let both_and_one = stored(&format!("{names}{}", rows(0..13)));
    assert_eq!(
        both_and_one.status, 409,
        "of both files together: {both_and_one:?}"
    );
    let many_more = stored(&format!("{names}{}", rows(3..16)));
    assert_eq!(many_more.status, 409, "four are new: {many_more:?}");
}

#[test]
fn a_file_may_be_json_or_a_form() {
    let office = Office::open();
    let query = format!("organization_id={}", office.organization(&json!({})));
    let rows =
        json!([{ "survey_responses": { "q1": 2 }, "demographics": { "department": "Lab" } }]);
    let preview = office
        .upload(&query, "application/json", &rows.to_string())
        .fine();
    assert_eq!(preview["preview"]["readable_rows"], 1);
    let form = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\nq1\n3\n\r\n--x--\r\n";
    let preview = office
        .upload(&query, "multipart/form-data; boundary=x", form)
        .fine();
    assert_eq!(preview["preview"]["readable_rows"], 1);
    for (kind, file) in [
        ("text/csv", "q1,q1\n1,2\n"),
        ("text/csv", "q1\n"),
        ("application/json", "[]"),
    ] {
        let refused = office.upload(&query, kind, file);
        assert_eq!(refused.status, 400, "{file:?}: {refused:?}");
    }
    let broken = office.upload(&query, "application/json", "[{");
    assert_eq!(broken.status, 400, "{broken:?}");
}

#[test]
fn another_tenant_finds_nothing_of_an_organization() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let admin = key(&place, "admin", &[]);
    let wish = json!({ "name": "Clinic", "domain": "Healthcare" });
    let id = text(&server.post("/organizations", &admin, &wish).fine()["id"]);
    let wish = json!({ "organization_id": id, "name": "Spring" });
    let campaign = text(&server.post("/campaigns", &admin, &wish).fine()["id"]);
    let other = key(&place, "admin", &["--set", "server.tenant=other"]);
    assert_eq!(
        server.get("/organizations", &other).fine()["organizations"],
        json!([])
    );
    for path in [
        format!("/organizations/{id}"),
        format!("/organizations/{id}/risk-profile"),
        format!("/analytics/dashboard/{id}"),
        format!("/campaigns?organization_id={id}"),
        format!("/campaigns/{campaign}"),
    ] {
        assert_eq!(server.get(&path, &other).status, 404, "{path}");
    }
    for path in ["open", "close", "process", "invitations"] {
        let reply = server.post(
            &format!("/campaigns/{campaign}/{path}"),
            &other,
            &json!({ "number": 1 }),
        );
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
    }
    let wish = json!({ "organization_id": id, "name": "theirs" });
    assert_eq!(server.post("/campaigns", &other, &wish).status, 404);
    assert_eq!(
        server.get(&format!("/organizations/{id}"), &admin).status,
        200
    );
}

#[test]
fn every_route_of_the_kit_lets_in_exactly_the_roles_that_its_description_names() {
    let place = Place::new();
    let server = Server::start(&place, &["--set", "limits.changes_per_minute=0"]);
    let document = server.call("GET", "/openapi.json", &[], "").fine();
    let mut walked = 0;
    let roles = ["viewer", "caller", "operator", "auditor", "admin"];
    let keys: Vec<(&str, String)> = roles
        .iter()
        .map(|role| (*role, key(&place, role, &[])))
        .collect();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if operation["tags"] != json!(["hseg"]) {
                continue;
            }
            walked += 1;
            let at = path
                .replace("{id}", "019aa4b6-4500-7fff-bfff-ffffffffffff")
                .replace("{org_id}", "019aa4b6-4500-7fff-bfff-ffffffffffff")
                .replace("{country}", "DE");
            let said = operation["description"].as_str().unwrap_or_default();
            let is_public = operation["security"] == json!([{}]);
            let named = |role: &str| {
                is_public
                    || said.contains("any role")
                    || said.contains(&format!("({role}"))
                    || said.contains(&format!(" {role}"))
            };
            for (role, key) in &keys {
                let authorization = format!("Bearer {key}");
                let headers = [
                    ("authorization", authorization.as_str()),
                    ("content-type", "application/json"),
                ];
                let reply = server.call(&method.to_uppercase(), &at, &headers, "{}");
                let is_about_rights = reply.status == 403 && reply.body.contains("needs the right");
                assert_eq!(
                    is_about_rights,
                    !named(role),
                    "{method} {path} as {role}: {said:?} {reply:?}"
                );
            }
            let stranger = server.call(
                &method.to_uppercase(),
                &at,
                &[("content-type", "application/json")],
                "{}",
            );
            assert_eq!(
                stranger.status == 401,
                !is_public,
                "{method} {path}: {stranger:?}"
            );
        }
    }
    assert!(
        walked >= 28,
        "only {walked} routes of the kit are described"
    );
}

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
