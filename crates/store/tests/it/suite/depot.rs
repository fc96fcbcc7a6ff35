//! Files beside runs: put whole, read whole, listed, removed, never another tenant's.

use crate::house::{House, acme, other};
use crate::servers::ObjectServer;
use futures_util::StreamExt;
use ombud_store::ArtifactError;
use ombud_store::depot::{Chunks, Depot, Entry, FilePath, FolderDepot, ObjectDepot, read_whole};
use std::io;

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn chunks(parts: Vec<io::Result<Vec<u8>>>) -> Chunks {
    Box::pin(futures_util::stream::iter(parts))
}

async fn put(depot: &dyn Depot, at: &str, content: &[u8]) {
    let parts = content.chunks(3).map(|part| Ok(part.to_vec())).collect();
    let bytes = depot.put(&acme(), &path(at), chunks(parts)).await.unwrap();
    assert_eq!(bytes, content.len() as u64);
}

async fn a_file_is_read_as_it_was_put(depot: &dyn Depot) {
    put(depot, "0/r/artifacts/model/MLmodel", b"flavors").await;
    put(depot, "0/r/artifacts/note ä.txt", b"hello").await;
    put(depot, "0/r/artifacts/empty", b"").await;
    put(depot, "0/r/artifacts/empty", b"not any more").await;
    let content = read_whole(depot, &acme(), &path("0/r/artifacts/empty"), 100).await;
    assert_eq!(content.unwrap().unwrap(), b"not any more");
    let listed = depot
        .list(&acme(), Some(&path("0/r/artifacts")))
        .await
        .unwrap();
    let names: Vec<(&str, Option<u64>)> = listed
        .iter()
        .map(|Entry { name, bytes }| (name.as_str(), *bytes))
        .collect();
    assert_eq!(
        names,
        [
            ("empty", Some(12)),
            ("model", None),
            ("note ä.txt", Some(5))
        ]
    );
    let too_long = read_whole(depot, &acme(), &path("0/r/artifacts/empty"), 5).await;
    assert!(matches!(too_long, Err(ArtifactError::TooLong { .. })));
    for strange in ["0/r/artifacts/nobody", "0/r/artifacts/empty/below"] {
        assert!(depot.get(&acme(), &path(strange)).await.unwrap().is_none());
        assert!(
            depot
                .list(&acme(), Some(&path(strange)))
                .await
                .unwrap()
                .is_empty()
        );
    }
    let strange = "0/r/signs/50% [a] {b} #1 ~?.txt";
    put(depot, strange, b"signs").await;
    let listed = depot.list(&acme(), Some(&path("0/r/signs"))).await.unwrap();
    assert_eq!(listed[0].name, "50% [a] {b} #1 ~?.txt");
    let content = read_whole(depot, &acme(), &path(strange), 100).await;
    assert_eq!(content.unwrap().unwrap(), b"signs");
    assert!(
        depot
            .get(&other(), &path("0/r/artifacts/empty"))
            .await
            .unwrap()
            .is_none(),
        "another tenant has no such file"
    );
}

async fn what_did_not_arrive_whole_is_not_there(depot: &dyn Depot) {
    let broken = vec![
        Ok(b"begin".to_vec()),
        Err(io::ErrorKind::ConnectionReset.into()),
    ];
    let at = path("0/r/artifacts/large");
    let failed = depot.put(&acme(), &at, chunks(broken)).await;
    assert!(matches!(failed, Err(ArtifactError::Stream(_))));
    assert!(depot.get(&acme(), &at).await.unwrap().is_none());
}

async fn a_folder_goes_with_everything_in_it(depot: &dyn Depot) {
    put(depot, "0/r/artifacts/model/a", b"a").await;
    put(depot, "0/r/artifacts/model/deep/b", b"b").await;
    put(depot, "0/r/artifacts/modelled", b"c").await;
    for _ in 0..2 {
        depot
            .remove(&acme(), &path("0/r/artifacts/model"))
            .await
            .unwrap();
    }
    let listed = depot
        .list(&acme(), Some(&path("0/r/artifacts")))
        .await
        .unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].name, "modelled");
}

async fn every_promise(depot: &dyn Depot) {
    a_file_is_read_as_it_was_put(depot).await;
    what_did_not_arrive_whole_is_not_there(depot).await;
    depot.remove(&acme(), &path("0")).await.unwrap();
    a_folder_goes_with_everything_in_it(depot).await;
}

#[tokio::test]
async fn a_folder_keeps_them() {
    let house = House::sqlite().await;
    let depot = FolderDepot::new(house.folder.path().to_owned());
    every_promise(&depot).await;
    let incoming = house.folder.path().join("acme/artifacts/incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);
    put(&depot, "0/file", b"x").await;
    let in_the_way = depot
        .put(&acme(), &path("0/file/below"), chunks(vec![Ok(vec![1])]))
        .await;
    assert!(matches!(in_the_way, Err(ArtifactError::InTheWay)));
}

#[tokio::test]
async fn a_bucket_keeps_them() {
    let Some(server) = ObjectServer::start() else {
        return;
    };
    server.bucket("runs").await;
    let depot = ObjectDepot::new(server.options("runs")).unwrap();
    every_promise(&depot).await;
    // Larger than one part, so that it goes up in several.
    let large = vec![7_u8; 11 << 20];
    let at = path("0/large");
    let parts = large
        .chunks(1 << 20)
        .map(|part| Ok(part.to_vec()))
        .collect();
    depot.put(&acme(), &at, chunks(parts)).await.unwrap();
    let (bytes, mut content) = depot.get(&acme(), &at).await.unwrap().unwrap();
    let mut seen = 0;
    while let Some(chunk) = content.next().await {
        seen += chunk.unwrap().len();
    }
    assert_eq!((bytes, seen), (11 << 20, 11 << 20));
}
