//! What SQLite does not do for its callers: it undoes by itself when a disk is full, and does not wait while a file is made.

use ombud_store::guest::Value;
use ombud_store::{Place, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_make_one_file_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Sqlite(folder.path().join("made.db"));
        let opening = (0..8).map(|_| {
            let place = place.clone();
            tokio::spawn(async move { Store::open(&place).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            let store = opened.await.expect("it ran").expect("a store");
            store.close().await;
        }
    }
}

#[tokio::test]
async fn whoever_writes_after_a_failure_of_the_disk_is_not_in_its_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::Sqlite(folder.path().join("kept.db"));
    let store = Store::open(&place).await.expect("a store");
    let execute = async |sql: &'static str| store.execute(sql, Vec::<Value>::new()).await;
    execute("create table kept (number bigint)")
        .await
        .expect("a table");
    execute(
        "create trigger full_disk before insert on kept begin select raise(rollback, 'full'); end",
    )
    .await
    .expect("a trigger");
    let mut transaction = store.begin().await.expect("a transaction");
    let failed = transaction
        .execute("insert into kept values (1)", Vec::new())
        .await;
    assert!(failed.is_err(), "the disk is full");
    drop(transaction);
    execute("drop trigger full_disk").await.expect("room again");
    let mut transaction = store.begin().await.expect("another transaction");
    transaction
        .execute("insert into kept values (2)", Vec::new())
        .await
        .expect("written");
    transaction.commit().await.expect("kept");
    let rows = store
        .rows("select number from kept", Vec::new())
        .await
        .expect("rows");
    let numbers: Vec<i64> = rows
        .iter()
        .map(|row| row.whole("number").expect("a number"))
        .collect();
    assert_eq!(numbers, [2]);
    store.close().await;
}
