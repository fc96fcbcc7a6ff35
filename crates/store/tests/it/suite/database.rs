//! Opening, migrating, refusing; what happens when the database cannot be used.

use crate::house::{House, NOW_US, acme, ana};
use ombud_core::Class;
use ombud_store::migrations::Status;
use ombud_store::{Error, Guest, Place, Store, cells};

promises! {
    opening_twice_changes_nothing,
    many_who_start_at_once_migrate_once,
    a_newer_schema_is_refused_clearly,
    a_closed_store_is_unavailable_and_not_wrong,
    the_ledger_lives_in_the_same_database,
    a_guest_keeps_tables_of_its_own,
}

async fn opening_twice_changes_nothing(house: &House) {
    house
        .store
        .add_person(&acme(), ana(), NOW_US)
        .await
        .unwrap();
    let again = Store::open(&house.place).await.unwrap();
    assert_eq!(again.people(&acme()).await.unwrap().len(), 1);
    let status = Store::status(&house.place).await.unwrap();
    assert!(status.is_current() && status.known > 0);
}

async fn many_who_start_at_once_migrate_once(house: &House) {
    let fresh = house.another_place().await;
    assert_eq!(Store::status(&fresh).await.unwrap().found, 0);
    let open = || Store::open(&fresh);
    let (a, b, c, d) = tokio::join!(open(), open(), open(), open());
    for store in [a, b, c, d] {
        store.unwrap().ping().await.unwrap();
    }
    assert!(Store::status(&fresh).await.unwrap().is_current());
}

async fn a_newer_schema_is_refused_clearly(house: &House) {
    house
        .execute("insert into store_migrations (number) values (99)")
        .await;
    let Status { found, known } = Store::status(&house.place).await.unwrap();
    assert_eq!(found, 99);
    let refused = Store::open(&house.place).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("the database's tables are of version 99; this program knows up to {known}")
    );
    assert_eq!(refused.class(), Class::Unsupported);
}

async fn a_closed_store_is_unavailable_and_not_wrong(house: &House) {
    house.store.close().await;
    let refused = house
        .store
        .add_person(&acme(), ana(), NOW_US)
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Unavailable);
    assert!(refused.retry_after_ms().is_some());
}

async fn the_ledger_lives_in_the_same_database(house: &House) {
    use ombud_ledger::seal::Secret;
    let options = ombud_ledger::Options {
        database: house.place.for_ledger(),
        lane: ombud_ledger::LaneName::new("r1").unwrap(),
        master: std::sync::Arc::new(ombud_ledger::LocalMasterKey::new(&Secret::new([7; 32]))),
        signer: None,
        checkpoint_folder: None,
        observer: None,
    };
    let ledger = tokio::task::spawn_blocking(|| ombud_ledger::Ledger::open(options))
        .await
        .unwrap()
        .unwrap();
    for place in 0..20 {
        let entry =
            ombud_ledger::Entry::new(crate::house::id(), ombud_ledger::Kind::Settings, NOW_US);
        let acme = acme();
        let (appended, added) = tokio::join!(ledger.append(&acme, entry), async {
            let mut person = ana();
            person.login = format!("p{place}");
            house.store.add_person(&acme, person, NOW_US).await
        });
        appended.unwrap();
        added.unwrap();
    }
    tokio::task::spawn_blocking(move || ledger.close())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_place_is_read_from_a_url() {
    assert_eq!(
        Place::parse("sqlite:data/ombud.sqlite").unwrap(),
        Place::Sqlite("data/ombud.sqlite".into())
    );
    assert_eq!(
        Place::parse("sqlite:///var/ombud.sqlite").unwrap(),
        Place::Sqlite("/var/ombud.sqlite".into())
    );
    assert_eq!(
        Place::parse("ombud.sqlite").unwrap(),
        Place::Sqlite("ombud.sqlite".into())
    );
    let url = "postgres://ombud:secret@db/ombud";
    let place = Place::parse(url).unwrap();
    assert_eq!(place, Place::Postgres(url.to_owned()));
    assert_eq!(
        format!("{place:?}"),
        "postgres://…@db/ombud",
        "a password does not print"
    );
    let refused = Place::parse("mysql://me:secret@db/x").unwrap_err();
    assert!(
        matches!(&refused, Error::Url { url } if !url.contains("secret")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let place = Place::Sqlite(folder.path().join("file/ombud.sqlite"));
    assert_eq!(
        Store::open(&place).await.unwrap_err().class(),
        Class::Unavailable
    );
}

const GUEST: Guest = Guest {
    name: "visitor",
    migrations: &[
        "create table visitor_things (tenant text not null, name text not null, primary key (tenant, name)); \
         create table visitor_others (tenant text primary key)",
        "alter table visitor_things add column number bigint",
    ],
};

async fn a_guest_keeps_tables_of_its_own(house: &House) {
    let store = &house.store;
    let (first, second) = tokio::join!(store.admit(&GUEST), store.admit(&GUEST));
    assert_eq!(
        first.unwrap() + second.unwrap(),
        2,
        "each migration ran once"
    );
    let sql = "insert into visitor_things (tenant, name, number) values ($1, $2, $3)";
    assert_eq!(
        store.execute(sql, cells![&acme(), "a", 7]).await.unwrap(),
        1
    );
    let mut undone = store.begin().await.unwrap();
    undone.execute(sql, cells![&acme(), "b", 8]).await.unwrap();
    drop(undone);
    let sql = "select name, number from visitor_things where tenant = $1";
    let rows = store.rows(sql, cells![&acme()]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (
            rows[0].text("name").unwrap(),
            rows[0].whole("number").unwrap()
        ),
        ("a".to_owned(), 7)
    );
    let older = Guest {
        migrations: &GUEST.migrations[..1],
        ..GUEST
    };
    let refused = store.admit(&older).await.unwrap_err();
    assert_eq!(refused.class(), Class::Unsupported);
}
