//! Hours, as replicas count them.

use crate::house::{House, acme, other};
use ombud_ledger::{LaneName, Tenant};
use ombud_store::hours::CountedHour;

promises! {
    a_replica_s_hours_replace_what_it_put_before,
    others_hours_are_told_apart_from_one_s_own,
    old_hours_go,
}

fn lane(name: &str) -> LaneName {
    LaneName::new(name).unwrap()
}

fn row(tenant: Tenant, hour: i64, counted: &str) -> CountedHour {
    CountedHour {
        tenant,
        model: "claims".to_owned(),
        hour,
        counted: counted.to_owned(),
    }
}

async fn a_replica_s_hours_replace_what_it_put_before(house: &House) {
    let (first, second) = (row(acme(), 7, "{\"n\":1}"), row(acme(), 7, "{\"n\":2}"));
    for rows in [[first], [second.clone()]] {
        house.store.put_hours(&lane("a"), &rows).await.unwrap();
    }
    let of_another = row(other(), 8, "{}");
    let rows = [of_another.clone()];
    house.store.put_hours(&lane("a"), &rows).await.unwrap();
    let found = house.store.hours_of(&lane("a"), 7).await.unwrap();
    assert_eq!(found, [second, of_another.clone()]);
    assert_eq!(
        house.store.hours_of(&lane("a"), 8).await.unwrap(),
        [of_another]
    );
}

async fn others_hours_are_told_apart_from_one_s_own(house: &House) {
    for (replica, tenant, hour) in [
        ("a", acme(), 7),
        ("b", acme(), 7),
        ("b", other(), 7),
        ("b", acme(), 6),
    ] {
        let rows = [row(tenant, hour, replica)];
        house.store.put_hours(&lane(replica), &rows).await.unwrap();
    }
    let found = house
        .store
        .hours_elsewhere(&acme(), "claims", &lane("a"), 7)
        .await;
    assert_eq!(found.unwrap(), [row(acme(), 7, "b")]);
}

async fn old_hours_go(house: &House) {
    let rows = [row(acme(), 6, "{}"), row(acme(), 7, "{}")];
    house.store.put_hours(&lane("a"), &rows).await.unwrap();
    assert_eq!(house.store.sweep_hours(7).await.unwrap(), 1);
    let left = house.store.hours_of(&lane("a"), 0).await.unwrap();
    assert_eq!(left, [row(acme(), 7, "{}")]);
}
