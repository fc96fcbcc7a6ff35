//! Files of answers: shown before they are kept, and telling nobody apart.

use crate::hseg::{Office, text};
use crate::server::{Server, call};
use serde_json::json;

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
    let stored = |file: &str| office.stored(&query, file);
    let rows = |numbers: std::ops::Range<u32>| -> String {
        let department = |number: u32| if number < 16 { "Lab" } else { "Roof" };
        let line = |number: u32| {
            let (q1, q2) = (1 + number % 4, 1 + number / 4 % 4);
            format!("{q1},{q2},{}\n", department(number))
        };
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
    // Of so few ratings other people's answers are alike, so nothing is left out.
    let others = stored(&format!("{names}{}", rows(3..20)));
    assert_eq!(
        (others.status, &others.json()["left_out"]),
        (202, &json!(0)),
        "{others:?}"
    );
}

#[test]
fn a_file_that_is_exported_anew_is_known_by_its_ratings() {
    let office = Office::open();
    let organization = office.organization(&json!({}));
    let query = format!("organization_id={organization}");
    let stored = |file: &str| office.stored(&query, file);
    let questions: Vec<String> = (1..=14).map(|q| format!("q{q}")).collect();
    let file = |people: std::ops::Range<usize>, names: &str, more: &dyn Fn(usize) -> String| {
        let mut file = format!("{}{names}\n", questions.join(","));
        for person in people {
            let ratings = (0..14).map(|q| (1 + (person * (q + 3) + q) % 4).to_string());
            let ratings: Vec<String> = ratings.collect();
            file.push_str(&format!("{}{}\n", ratings.join(","), more(person)));
        }
        file
    };
    let with_texts = |person: usize| format!(",Lab,the {person}th of us");
    let first = file(0..12, ",department,q23", &with_texts);
    assert_eq!(stored(&first).status, 202);
    // One person more, and the columns beside the ratings are gone, or end otherwise.
    let bare = file(0..13, "", &|_| String::new());
    assert_eq!(stored(&bare).status, 409);
    let other_ends = |person: usize| format!(",Laboratory,the {person}th of us .");
    let ended = file(0..13, ",department,q23", &other_ends);
    assert_eq!(stored(&ended).status, 409);
    // What is new is taken in without the rest, so no department is told of twice with a newcomer between.
    let grown = file(0..20, ",department,q23", &with_texts);
    let preview = office.upload(&query, "text/csv", &grown).fine();
    assert_eq!(preview["left_out"], 12, "{preview}");
    let grown = stored(&grown);
    assert_eq!(
        (grown.status, &grown.json()["left_out"]),
        (202, &json!(12)),
        "{grown:?}"
    );
}

/// Answers in the file that is cut off; enough to be written for a while.
const CUT_OFF: usize = 12_000;

#[test]
fn a_file_is_there_whole_or_not_at_all_whenever_the_server_dies() {
    let mut office = Office::open();
    let organization = office.organization(&json!({}));
    let query = format!("organization_id={organization}");
    let line = |number: usize| {
        format!(
            "{},{},Lab,{}\n",
            1 + number % 4,
            1 + number / 4_000,
            "words ".repeat(60)
        )
    };
    let file: String = std::iter::once("q1,q2,department,q23\n".to_owned())
        .chain((0..CUT_OFF).map(line))
        .collect();
    let preview = office.upload(&query, "text/csv", &file).fine();
    let path = format!(
        "/upload/survey-data?{query}&confirm={}",
        text(&preview["confirm"])
    );
    let log = office.place.path("ombud-data/ombud.db-wal");
    let length = || std::fs::metadata(&log).map_or(0, |data| data.len());
    for written_bytes in [1 << 20, 2 << 20, 4 << 20] {
        let (address, before) = (office.server.address.clone(), length());
        let authorization = format!("Bearer {}", office.admin);
        std::thread::scope(|scope| {
            let uploading = scope.spawn(|| {
                let headers = [
                    ("authorization", authorization.as_str()),
                    ("content-type", "text/csv"),
                ];
                // Cut short, mostly.
                drop(call(&address, "POST", &path, &headers, &file));
            });
            while length() < before + written_bytes && !uploading.is_finished() {
                std::thread::yield_now();
            }
            office.server.kill();
        });
        office.server = Server::start(&office.place, &[]);
        let campaigns = office.get(&format!("/campaigns?{query}"))["campaigns"].clone();
        let told = |campaign: &serde_json::Value| {
            let counted = campaign["responded_at_least"].as_u64();
            (campaign["state"] != "open", counted)
        };
        let told: Vec<_> = campaigns
            .as_array()
            .expect("a list")
            .iter()
            .map(told)
            .collect();
        assert!(
            told.is_empty() || told == [(true, Some(CUT_OFF as u64))],
            "{campaigns}"
        );
        if !told.is_empty() {
            return;
        }
    }
    let whole = office.stored(&query, &file);
    assert_eq!(whole.status, 202, "nothing is in its way: {whole:?}");
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
