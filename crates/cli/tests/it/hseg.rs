//! The kit for psychological safety at work, as its people meet it: respondents, HR, whoever looks at cases, an attacker.

use crate::server::{Reply, Server};
use crate::support::Place;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const CRISIS: &str = "I do not want to live any more, I want to kill myself. zanzibar-marker";

pub struct Office {
    pub place: Place,
    pub server: Server,
    pub admin: String,
}

impl Office {
    pub fn open() -> Self {
        let place = Place::new();
        let server = Server::start(&place, &["--set", "limits.changes_per_minute=0"]);
        let admin = key(&place, "admin", &[]);
        Office {
            place,
            server,
            admin,
        }
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.server.post(path, &self.admin, body).fine()
    }

    pub fn get(&self, path: &str) -> Value {
        self.server.get(path, &self.admin).fine()
    }

    pub fn organization(&self, more: &Value) -> String {
        let mut wish = json!({ "name": "Clinic", "domain": "Healthcare", "country": "DE" });
        for (name, value) in more.as_object().expect("an object") {
            wish[name] = value.clone();
        }
        text(&self.post("/organizations", &wish)["id"])
    }

    pub fn campaign(&self, organization: &str) -> String {
        let wish = json!({ "organization_id": organization, "name": "Spring" });
        text(&self.post("/campaigns", &wish)["id"])
    }

    /// Invitations, as they stand behind the `#` of their links.
    pub fn invitations(&self, campaign: &str, number: usize) -> Vec<String> {
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

    pub fn respond(&self, invitation: &str, said: &str) -> Reply {
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

    /// A CSV file, looked at and confirmed.
    pub fn stored(&self, query: &str, file: &str) -> Reply {
        let preview = self.upload(query, "text/csv", file).fine();
        let confirm = text(&preview["confirm"]);
        self.upload(&format!("{query}&confirm={confirm}"), "text/csv", file)
    }

    pub fn upload(&self, query: &str, kind: &str, file: &str) -> Reply {
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

pub fn key(place: &Place, role: &str, more: &[&str]) -> String {
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

pub fn text(value: &Value) -> String {
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
    // What cannot be taken in is refused alike whether its invitation was used, so that nobody learns that from it.
    for invitation in [&invitations[0], &invitations[7]] {
        let empty = json!({ "invitation": invitation, "survey_responses": {} });
        let headers = [("content-type", "application/json")];
        let refused = office
            .server
            .call("POST", "/survey/responses", &headers, &empty.to_string());
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    assert_eq!(records(), before, "a refusal's moment would tell as much");
    let one_more = office.server.post(
        &format!("/campaigns/{campaign}/invitations"),
        &office.admin,
        &json!({ "number": 1 }),
    );
    assert_eq!(one_more.status, 400, "of one more a case names who it was");
    let told = office.get(&format!("/campaigns/{campaign}"));
    assert_eq!(
        told["responded_at_least"], 5,
        "seven answers are told in steps of the floor"
    );
    // A used invitation and its response stood in one transaction of the log of writes; soon they stand nowhere.
    let hashes = |used: &[String]| -> Vec<[u8; 32]> {
        used.iter()
            .map(|token| Sha256::digest(token.as_bytes()).into())
            .collect()
    };
    let is_anywhere = |hash: &[u8]| {
        let files = office.place.listing();
        files
            .iter()
            .any(|(_, content)| content.windows(32).any(|window| window == hash))
    };
    assert!(
        is_anywhere(&hashes(&invitations[8..])[0]),
        "of one that was not used"
    );
    for hash in hashes(&invitations[..7]) {
        while is_anywhere(&hash) {}
    }
    office.post(&format!("/campaigns/{campaign}/close"), &json!({}));
    assert_eq!(office.respond(&invitations[8], "late").status, 409);
    // Nor is anything left over of a closed campaign.
    for hash in hashes(&invitations) {
        while is_anywhere(&hash) {}
    }
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
    assert_eq!(put("ZZ", own.clone()), 204);
    let shown = office
        .server
        .call("GET", "/help-resources/fr", &[], "")
        .fine();
    let shown = shown["resources"].to_string();
    assert!(shown.contains("112") && shown.contains("7000"), "{shown}");
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
