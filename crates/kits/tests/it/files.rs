//! Files of answers in the store: one at a time, on SQLite and, where it is to be had, on PostgreSQL.

use ombud_kits::hseg::anonymity::Floor;
use ombud_kits::hseg::keep::campaign::{self, File, Sealed, State};
use ombud_kits::hseg::keep::organization::{self, Organization};
use ombud_kits::hseg::keep::{TABLES, random_id};
use ombud_kits::hseg::survey::Domain;
use ombud_ledger::Tenant;
use ombud_store::{Place, Role, Store};

#[tokio::test]
async fn of_two_files_at_once_the_second_is_looked_at_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = match std::env::var("OMBUD_TEST_POSTGRES") {
        Ok(url) => Place::Postgres(url),
        Err(_) => Place::Sqlite(folder.path().join("kept.db")),
    };
    let store = Store::open(&place).await.expect("a store");
    store.admit(&TABLES).await.expect("tables");
    let tenant: Tenant = format!("files-{}", std::process::id())
        .parse()
        .expect("a tenant");
    let organization = organization(random_id().expect("an id"));
    organization::add(&store, &tenant, &organization)
        .await
        .expect("an organization");
    let sealed: Vec<Sealed> = (0..450)
        .map(|number| Sealed {
            id: random_id().expect("an id"),
            bytes: vec![number as u8; 100],
        })
        .collect();
    let add = async |name: &str, seen: usize| {
        let file = File {
            id: random_id().expect("an id"),
            organization: organization.id,
            name,
            wrapped_key: vec![1],
            sealed: &sealed,
        };
        campaign::add_file(&store, &tenant, file, seen, 7)
            .await
            .expect("an answer")
    };
    // Both saw no other file; that of the one is not of the other.
    let (first, second) = tokio::join!(add("first", 0), add("second", 0));
    assert!(first != second, "one of both: {first}, {second}");
    let kept = campaign::of(&store, &tenant, organization.id)
        .await
        .expect("campaigns");
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].state, kept[0].responded), (State::Closed, 450));
    let responses = campaign::responses(&store, &tenant, kept[0].id, None, 1_000)
        .await
        .expect("responses");
    assert_eq!(responses.len(), 450);
    assert!(add("third", 1).await, "whoever saw it may");
    store.close().await;
}

fn organization(id: ombud_ledger::RecordId) -> Organization {
    Organization {
        id,
        name: format!("Clinic {id}"),
        domain: Domain::Healthcare,
        country: "DE".to_owned(),
        employees: None,
        floor: Floor::default(),
        drill_down: Vec::new(),
        case_role: Role::Operator,
        case_hours: 24,
        noise: None,
        created_us: 7,
    }
}
