//! Experiments, runs and their metrics: logged, searched, paged, deleted and brought back.

use crate::house::{House, NOW_US, acme, name, other, version};
use ombud_core::Class;
use ombud_store::FilePath;
use ombud_store::tracking::experiment::NewExperiment;
use ombud_store::tracking::listing::NewListedVersion;
use ombud_store::tracking::logged_model::{NewLoggedModel, path_here};
use ombud_store::tracking::metric::ModelPoint;
use ombud_store::tracking::run::{DatasetInput, NewRun, Output, RunChange};
use ombud_store::tracking::{Pair, Point, Run, SearchQuery, View};

promises! {
    there_is_a_default_experiment_from_the_start,
    an_experiment_goes_and_comes_back_with_its_runs,
    a_point_told_twice_is_one_and_the_latest_is_found,
    what_is_no_number_stays_what_it_is,
    a_param_is_written_once_and_a_tag_as_often_as_one_likes,
    a_batch_is_written_whole_or_not_at_all,
    runs_are_found_by_what_hangs_on_them,
    runs_come_in_the_order_that_was_asked_for_page_by_page,
    a_page_begins_where_the_last_one_ended_whatever_comes_meanwhile,
    a_wrong_filter_is_told_and_none_reaches_the_database,
    a_run_remembers_its_data_sets_and_models,
    a_logged_model_is_found_by_its_metrics,
    the_registry_is_one_list_for_both_worlds,
    files_of_a_listed_version_are_held,
    names_that_the_house_may_not_have_are_kept_for_clients,
    another_tenant_sees_no_run_and_no_model,
}

const NOW_MS: i64 = NOW_US / 1_000;

fn point(key: &str, value: f64, step: i64) -> Point {
    Point {
        key: key.to_owned(),
        value,
        step,
        logged_ms: NOW_MS,
    }
}

async fn begin(house: &House, run_name: &str, started_ms: i64) -> Run {
    let new = NewRun {
        experiment: 0,
        name: run_name.to_owned(),
        user: "ana".to_owned(),
        started_ms,
        ..NewRun::default()
    };
    house.store.create_run(&acme(), new).await.unwrap()
}

async fn log(house: &House, run: &Run, metrics: &[Point], params: &[Pair], tags: &[Pair]) {
    house
        .store
        .log_batch(&acme(), &run.id, metrics, params, tags)
        .await
        .unwrap();
}

fn asking(filter: &str, order_by: &[&str], rows_max: usize) -> SearchQuery {
    SearchQuery {
        filter: filter.to_owned(),
        order_by: order_by.iter().map(|text| (*text).to_owned()).collect(),
        rows_max,
        page_token: String::new(),
    }
}

/// The names of the runs that a search finds, in its order.
async fn found(house: &House, filter: &str, order_by: &[&str]) -> Vec<String> {
    let query = asking(filter, order_by, 100);
    let (runs, _) = house
        .store
        .search_runs(&acme(), &[0], View::Active, &query)
        .await
        .unwrap_or_else(|error| panic!("{filter} {order_by:?}: {error}"));
    runs.into_iter().map(|run| run.name).collect()
}

async fn there_is_a_default_experiment_from_the_start(house: &House) {
    let first = house.store.experiment(&acme(), 0).await.unwrap();
    assert_eq!(first.name, "Default");
    assert_eq!(first.location, "mlflow-artifacts:/0");
    let new = NewExperiment {
        name: "claims".to_owned(),
        tags: vec![Pair::new("team", "desk")],
        ..NewExperiment::default()
    };
    let number = house
        .store
        .create_experiment(&acme(), new.clone(), NOW_MS)
        .await
        .unwrap();
    let again = house.store.create_experiment(&acme(), new, NOW_MS).await;
    assert_eq!(
        again.unwrap_err().to_string(),
        "the experiment claims exists already"
    );
    let query = asking("tags.team = 'desk' and name ILIKE 'CLA%'", &[], 10);
    let (found, _) = house
        .store
        .search_experiments(&acme(), View::All, &query)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].number, number);
    assert_eq!(found[0].tags, [Pair::new("team", "desk")]);
}

async fn an_experiment_goes_and_comes_back_with_its_runs(house: &House) {
    let (kept, gone) = (
        begin(house, "kept", NOW_MS).await,
        begin(house, "gone", NOW_MS).await,
    );
    let store = &house.store;
    store
        .delete_run(&acme(), &gone.id, true, NOW_MS)
        .await
        .unwrap();
    store
        .delete_experiment(&acme(), 0, true, NOW_MS + 1)
        .await
        .unwrap();
    assert!(found(house, "", &[]).await.is_empty());
    let refused = store
        .log_point(&acme(), &kept.id, point("a", 1.0, 0))
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Invalid);
    store
        .delete_experiment(&acme(), 0, false, NOW_MS + 2)
        .await
        .unwrap();
    assert_eq!(
        found(house, "", &[]).await,
        ["kept"],
        "what was deleted before stays so"
    );
}

async fn a_point_told_twice_is_one_and_the_latest_is_found(house: &House) {
    let run = begin(house, "a", NOW_MS).await;
    for said in [
        point("loss", 3.0, 0),
        point("loss", 1.0, 2),
        point("loss", 2.0, 1),
        point("loss", 1.0, 2),
    ] {
        house.store.log_point(&acme(), &run.id, said).await.unwrap();
    }
    let history = house
        .store
        .metric_history(&acme(), &run.id, "loss", 0, 100)
        .await
        .unwrap();
    let values: Vec<f64> = history.iter().map(|point| point.value).collect();
    assert_eq!(values, [3.0, 2.0, 1.0]);
    let latest = house.store.run(&acme(), &run.id).await.unwrap().metrics;
    assert_eq!(latest, [point("loss", 1.0, 2)]);
}

async fn what_is_no_number_stays_what_it_is(house: &House) {
    let run = begin(house, "a", NOW_MS).await;
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e-300];
    for (step, value) in values.into_iter().enumerate() {
        let said = point("x", value, step as i64);
        house.store.log_point(&acme(), &run.id, said).await.unwrap();
    }
    let history = house
        .store
        .metric_history(&acme(), &run.id, "x", 0, 100)
        .await
        .unwrap();
    assert!(history[0].value.is_nan());
    let rest: Vec<f64> = history[1..].iter().map(|point| point.value).collect();
    assert_eq!(rest, [f64::INFINITY, f64::NEG_INFINITY, 0.0, 1e-300]);
    log(house, &run, &[point("y", f64::NAN, 0)], &[], &[]).await;
    assert!(
        found(house, "metrics.y < 1", &[]).await.is_empty(),
        "what is no number is not less than one"
    );
    log(house, &run, &[point("z", f64::INFINITY, 0)], &[], &[]).await;
    assert_eq!(found(house, "metrics.z > 1e300", &[]).await, ["a"]);
}

async fn a_param_is_written_once_and_a_tag_as_often_as_one_likes(house: &House) {
    let run = begin(house, "a", NOW_MS).await;
    let depth = |value: &str| vec![Pair::new("depth", value)];
    log(house, &run, &[], &depth("3"), &depth("3")).await;
    log(house, &run, &[], &depth("3"), &depth("4")).await;
    let refused = house
        .store
        .log_batch(&acme(), &run.id, &[], &depth("5"), &[])
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Invalid);
    assert!(
        refused
            .to_string()
            .contains("already logged with value='3'"),
        "{refused}"
    );
    log(house, &run, &[], &[], &[Pair::new("mlflow.runName", "b")]).await;
    let kept = house.store.run(&acme(), &run.id).await.unwrap();
    assert_eq!(kept.params, depth("3"));
    assert_eq!(kept.name, "b", "the tag is the name");
    assert!(kept.tags.contains(&Pair::new("depth", "4")));
    let long = "ä".repeat(7_000);
    log(house, &run, &[], &[Pair::new("long", long)], &[]).await;
    let kept = house.store.run(&acme(), &run.id).await.unwrap();
    assert_eq!(kept.params[1].value.chars().count(), 6_000, "cut");
}

async fn a_batch_is_written_whole_or_not_at_all(house: &House) {
    let run = begin(house, "a", NOW_MS).await;
    let points: Vec<Point> = (0..1_000)
        .map(|step| point("loss", step as f64, step))
        .collect();
    log(house, &run, &points, &[Pair::new("a", "1")], &[]).await;
    let wrong = house
        .store
        .log_batch(
            &acme(),
            &run.id,
            &[point("other", 1.0, 0)],
            &[Pair::new("a", "2")],
            &[],
        )
        .await;
    assert!(wrong.is_err());
    let kept = house.store.run(&acme(), &run.id).await.unwrap();
    assert_eq!(kept.metrics, [point("loss", 999.0, 999)]);
    let history = house
        .store
        .metric_history(&acme(), &run.id, "loss", 990, 100)
        .await
        .unwrap();
    assert_eq!(history.len(), 10);
}

/// Three runs with metrics, params and tags to tell them apart.
async fn three(house: &House) {
    for (place, title) in ["first", "second", "third"].into_iter().enumerate() {
        let run = begin(house, title, NOW_MS + place as i64).await;
        // 0.7, 0.8 and 0.9 as they are written, which sums of tenths are not.
        let auc = (7 + place) as f64 / 10.0;
        let mut tags = vec![Pair::new("desk", format!("North_{place}"))];
        if place == 2 {
            tags.push(Pair::new("a key with 'signs'", "x"));
        }
        log(
            house,
            &run,
            &[point("auc", auc, 0)],
            &[Pair::new("depth", place.to_string())],
            &tags,
        )
        .await;
    }
}

async fn runs_are_found_by_what_hangs_on_them(house: &House) {
    three(house).await;
    for (filter, names) in [
        ("metrics.auc > 0.75", vec!["third", "second"]),
        ("metrics.auc >= 0.8 and params.depth = '1'", vec!["second"]),
        ("params.depth != '1'", vec!["third", "first"]),
        ("params.depth in ('0', '2')", vec!["third", "first"]),
        ("params.depth not in ('0', '2')", vec!["second"]),
        ("tags.desk LIKE 'North%'", vec!["third", "second", "first"]),
        ("tags.desk LIKE 'north%'", vec![]),
        ("tags.desk ILIKE 'north%1'", vec!["second"]),
        ("tags.desk LIKE 'North\\%'", vec![]),
        ("tags.`a key with 'signs'` = 'x'", vec!["third"]),
        ("tags.`a key with 'signs'` IS NULL", vec!["second", "first"]),
        (
            "tags.desk IS NOT NULL and params.depth = '0'",
            vec!["first"],
        ),
        ("run_name = 'second'", vec!["second"]),
        (
            "attributes.status = 'RUNNING' and attributes.user_id = 'ana'",
            vec!["third", "second", "first"],
        ),
        ("status = 'FINISHED'", vec![]),
        ("tags.mlflow.runName = 'first'", vec!["first"]),
        ("tags.desk = 'x'' or ''1'' = ''1'", vec![]),
    ] {
        assert_eq!(found(house, filter, &[]).await, names, "{filter}");
    }
    let filter = format!("start_time > {NOW_MS}");
    assert_eq!(found(house, &filter, &[]).await, ["third", "second"]);
    assert_eq!(found(house, "end_time > 0", &[]).await, [""; 0]);
}

async fn runs_come_in_the_order_that_was_asked_for_page_by_page(house: &House) {
    three(house).await;
    let run = begin(house, "fourth", NOW_MS + 9).await;
    log(house, &run, &[point("loss", f64::NAN, 0)], &[], &[]).await;
    let run = begin(house, "fifth", NOW_MS + 10).await;
    log(house, &run, &[point("loss", 1.0, 0)], &[], &[]).await;
    for (order, names) in [
        (
            "metrics.auc DESC",
            vec!["third", "second", "first", "fifth", "fourth"],
        ),
        (
            "metrics.auc",
            vec!["first", "second", "third", "fifth", "fourth"],
        ),
        (
            "params.depth DESC",
            vec!["third", "second", "first", "fifth", "fourth"],
        ),
        (
            "start_time ASC",
            vec!["first", "second", "third", "fourth", "fifth"],
        ),
        (
            "attributes.run_name",
            vec!["fifth", "first", "fourth", "second", "third"],
        ),
    ] {
        let orders = [order, "start_time DESC"];
        assert_eq!(found(house, "", &orders).await, names, "{order}");
        let mut query = asking("", &orders, 2);
        let mut paged = Vec::new();
        loop {
            let (runs, next) = house
                .store
                .search_runs(&acme(), &[0], View::Active, &query)
                .await
                .unwrap();
            assert!(runs.len() <= 2);
            paged.extend(runs.into_iter().map(|run| run.name));
            match next {
                Some(next) => query.page_token = next,
                None => break,
            }
        }
        assert_eq!(paged, names, "{order}, by pages of two");
    }
    assert_eq!(
        found(house, "", &["metrics.loss", "start_time"]).await,
        ["fifth", "fourth", "first", "second", "third"],
        "numbers, then what is none, then what is absent"
    );
}

async fn a_page_begins_where_the_last_one_ended_whatever_comes_meanwhile(house: &House) {
    three(house).await;
    let mut query = asking("", &["start_time DESC"], 2);
    let (_, next) = house
        .store
        .search_runs(&acme(), &[0], View::Active, &query)
        .await
        .unwrap();
    begin(house, "newer", NOW_MS + 99).await;
    query.page_token = next.unwrap();
    let (runs, next) = house
        .store
        .search_runs(&acme(), &[0], View::Active, &query)
        .await
        .unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["first"]);
    assert_eq!(next, None);
    query.filter = "params.depth = '1'".to_owned();
    let refused = house
        .store
        .search_runs(&acme(), &[0], View::Active, &query)
        .await;
    assert_eq!(
        refused.unwrap_err().class(),
        Class::Invalid,
        "a token belongs to its question"
    );
}

async fn a_wrong_filter_is_told_and_none_reaches_the_database(house: &House) {
    for (filter, words) in [
        ("metrics.auc > 'x'", "is a number"),
        ("params.depth = 3", "is a text"),
        ("statsu = 'FINISHED'", "is it `status`?"),
        ("dataset.nme = 'x'", "is it `name`?"),
        ("metrics.auc LIKE 'x'", "is a number"),
    ] {
        let refused = house
            .store
            .search_runs(&acme(), &[0], View::Active, &asking(filter, &[], 1))
            .await
            .unwrap_err();
        assert_eq!(refused.class(), Class::Invalid, "{filter}");
        assert!(refused.to_string().contains(words), "{filter}: {refused}");
    }
    let query = asking("", &["statsu"], 1);
    let refused = house
        .store
        .search_runs(&acme(), &[0], View::Active, &query)
        .await;
    assert!(refused.unwrap_err().to_string().contains("`status`"));
}

async fn a_run_remembers_its_data_sets_and_models(house: &House) {
    let run = begin(house, "a", NOW_MS).await;
    let input = DatasetInput {
        name: "claims".to_owned(),
        digest: "1f".to_owned(),
        context: "training".to_owned(),
        document: "{\"dataset\": {}}".to_owned(),
    };
    let store = &house.store;
    let models = vec!["m-1".to_owned()];
    for _ in 0..2 {
        store
            .log_inputs(&acme(), &run.id, vec![input.clone()], models.clone())
            .await
            .unwrap();
    }
    let output = Output {
        model: "m-2".to_owned(),
        step: 7,
    };
    store
        .log_outputs(&acme(), &run.id, vec![output.clone()])
        .await
        .unwrap();
    let change = RunChange {
        status: Some("FINISHED".to_owned()),
        ended_ms: Some(NOW_MS + 5),
        name: None,
    };
    store.update_run(&acme(), &run.id, change).await.unwrap();
    let kept = store.run(&acme(), &run.id).await.unwrap();
    assert_eq!(kept.datasets, [input.document]);
    assert_eq!(kept.inputs, models);
    assert_eq!(kept.outputs, [output]);
    assert_eq!(kept.ended_ms, Some(NOW_MS + 5));
    assert_eq!(
        found(
            house,
            "datasets.name = 'claims' and dataset.context = 'training'",
            &[]
        )
        .await,
        ["a"]
    );
}

async fn a_logged_model_is_found_by_its_metrics(house: &House) {
    let store = &house.store;
    let run = begin(house, "a", NOW_MS).await;
    let new = NewLoggedModel {
        name: "forest".to_owned(),
        source_run: Some(run.id.clone()),
        params: vec![Pair::new("depth", "3")],
        ..NewLoggedModel::default()
    };
    let model = store
        .create_logged_model(&acme(), new, NOW_MS)
        .await
        .unwrap();
    assert!(model.id.starts_with("m-") && model.id.len() == 34);
    assert_eq!(
        path_here(&model.artifact_uri),
        Some(format!("0/models/{}/artifacts", model.id).as_str())
    );
    let said = ModelPoint {
        point: point("auc", 0.9, 1),
        model: model.id.clone(),
        dataset_name: "claims".to_owned(),
        dataset_digest: "1f".to_owned(),
    };
    store
        .log_model_points(&acme(), &run.id, &[said])
        .await
        .unwrap();
    store
        .set_model_tags(&acme(), &model.id, &[Pair::new("team", "desk")])
        .await
        .unwrap();
    let done = store
        .finish_logged_model(&acme(), &model.id, "LOGGED_MODEL_READY", NOW_MS + 1)
        .await
        .unwrap();
    assert_eq!(done.metrics[0].0.point.value, 0.9);
    let filter =
        "metrics.auc > 0.8 and tags.team = 'desk' and name = 'forest' and params.depth = '3'";
    let query = asking(filter, &["metrics.auc DESC"], 10);
    let (found, _) = store
        .search_logged_models(&acme(), &[0], &query)
        .await
        .unwrap();
    assert_eq!(found, [done]);
    store
        .delete_logged_model(&acme(), &model.id, NOW_MS)
        .await
        .unwrap();
    assert!(store.logged_model(&acme(), &model.id).await.is_err());
}

async fn the_registry_is_one_list_for_both_worlds(house: &House) {
    let store = &house.store;
    house.register(&acme(), "claims", 1).await;
    let listed = store.listed(&acme(), "claims").await.unwrap();
    assert_eq!(listed.model, name("claims"));
    let new = NewListedVersion {
        source: "mlflow-artifacts:/0/r/artifacts/model".to_owned(),
        user: "key:desk".to_owned(),
        tags: vec![Pair::new("stage", "tried")],
        files: FilePath::new("0/r/artifacts/model").ok(),
        ..NewListedVersion::default()
    };
    let second = store
        .list_version(&acme(), &name("claims"), new, NOW_US)
        .await
        .unwrap();
    assert_eq!(second, version(2), "one series of numbers");
    assert_eq!(house.register(&acme(), "claims", 3).await, version(3));
    let all = store
        .listed_versions(&acme(), &name("claims"))
        .await
        .unwrap();
    let seen: Vec<(u32, bool)> = all
        .iter()
        .map(|one| (one.version.get(), one.has_bundle))
        .collect();
    assert_eq!(seen, [(3, true), (2, false), (1, true)]);
    let query = asking(
        "name = 'claims' and tags.stage = 'tried'",
        &["version_number"],
        10,
    );
    let (found, _) = store.search_versions(&acme(), &query).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].version, second);
    let exists = store
        .list_model(&acme(), "claims", "", &[], NOW_US)
        .await
        .unwrap_err();
    assert_eq!(exists.class(), Class::Conflict);
    store
        .unlist_version(&acme(), &name("claims"), second)
        .await
        .unwrap();
    let freed = FilePath::new("0/r/artifacts/model/MLmodel").unwrap();
    store.refuse_put(&acme(), &freed).await.unwrap();
    assert!(store.unlist_model(&acme(), &name("claims")).await.is_err());
}

async fn files_of_a_listed_version_are_held(house: &House) {
    let store = &house.store;
    store
        .list_model(&acme(), "claims", "", &[], NOW_US)
        .await
        .unwrap();
    let new = NewListedVersion {
        source: "mlflow-artifacts:/0/r/artifacts/mödel".to_owned(),
        files: FilePath::new("0/r/artifacts/mödel").ok(),
        ..NewListedVersion::default()
    };
    store
        .list_version(&acme(), &name("claims"), new, NOW_US)
        .await
        .unwrap();
    // A path, whether a file may be put there, whether what is there may be removed.
    for (path, may_put, may_remove) in [
        ("0/r/artifacts/mödel/MLmodel", false, false),
        ("0/r/artifacts/mödel/code/a.py", false, false),
        ("0/r/artifacts/mödel", false, false),
        ("0/r/artifacts/model_2/MLmodel", true, true),
        ("0/r/artifacts/mödel2", true, true),
        ("0/r/artifacts", true, false),
        ("0", true, false),
        ("0/r/art", true, true),
    ] {
        let path = FilePath::new(path).unwrap();
        let (put, removed) = (
            store.refuse_put(&acme(), &path).await,
            store.refuse_removal(&acme(), &path).await,
        );
        let seen = (put.is_ok(), removed.is_ok());
        assert_eq!(seen, (may_put, may_remove), "{path:?}");
        store.refuse_removal(&other(), &path).await.unwrap();
    }
    let held = FilePath::new("0/r/artifacts/mödel/MLmodel").unwrap();
    let refused = store.refuse_put(&acme(), &held).await.unwrap_err();
    assert_eq!(refused.class(), Class::Conflict);
    assert_eq!(
        refused.to_string(),
        "\"0/r/artifacts/mödel/MLmodel\" belongs to version 1 of the registered model claims, whose files stay as they \
         were registered"
    );
}

async fn names_that_the_house_may_not_have_are_kept_for_clients(house: &House) {
    let store = &house.store;
    for (listed, model) in [
        ("Iris Model", "iris_model"),
        ("iris model", "iris_model_2"),
        ("1st", "model_1st"),
        ("ö", "model"),
        ("churn", "churn"),
    ] {
        let made = store
            .list_model(&acme(), listed, "", &[], NOW_US)
            .await
            .unwrap_or_else(|error| panic!("{listed}: {error}"));
        assert!(
            made.model.as_str().starts_with(model.trim_end_matches('_')),
            "{listed}: {}",
            made.model
        );
        assert_eq!(store.listed(&acme(), listed).await.unwrap().name, listed);
    }
    store
        .rename_listed(&acme(), &name("churn"), "leaves", NOW_US)
        .await
        .unwrap();
    assert_eq!(
        store.listed_model(&acme(), "leaves").await.unwrap(),
        name("churn")
    );
    // As clients ask, who want no prompts.
    let filter = "name LIKE 'Iris%' and tag.`mlflow.prompt.is_prompt` != 'true'";
    let query = asking(filter, &["name DESC"], 10);
    let (found, _) = store.search_listed(&acme(), &query).await.unwrap();
    assert_eq!(found.len(), 1);
    // A model of the house may have the name that a client gave to another.
    store
        .rename_listed(&acme(), &name("churn"), "taken", NOW_US)
        .await
        .unwrap();
    assert_eq!(house.register(&acme(), "taken", 9).await, version(1));
}

async fn another_tenant_sees_no_run_and_no_model(house: &House) {
    three(house).await;
    let store = &house.store;
    let (mine, _) = store
        .search_runs(&acme(), &[0], View::All, &asking("", &[], 10))
        .await
        .unwrap();
    let (theirs, _) = store
        .search_runs(&other(), &[0], View::All, &asking("", &[], 10))
        .await
        .unwrap();
    assert_eq!((mine.len(), theirs.len()), (3, 0));
    let refused = store.run(&other(), &mine[0].id).await.unwrap_err();
    assert_eq!(refused.class(), Class::NotFound);
    for refused in [
        store
            .log_point(&other(), &mine[0].id, point("a", 1.0, 0))
            .await,
        store.delete_run(&other(), &mine[0].id, true, NOW_MS).await,
        store.delete_run_tag(&other(), &mine[0].id, "desk").await,
    ] {
        assert_eq!(refused.unwrap_err().class(), Class::NotFound);
    }
    store
        .list_model(&acme(), "claims", "", &[], NOW_US)
        .await
        .unwrap();
    assert!(store.listed(&other(), "claims").await.is_err());
    store
        .list_model(&other(), "claims", "", &[], NOW_US)
        .await
        .unwrap();
}
