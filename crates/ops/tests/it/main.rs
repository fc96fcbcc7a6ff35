//! What the house does, on SQLite and on PostgreSQL, with bundles that were really trained.

/// Each promise is kept on SQLite and on PostgreSQL. `OMBUD_TEST_POSTGRES` names a server where databases may be made
/// (`crates/ledger/tests/with_postgres.sh` starts one); without it the second half has nothing to run on.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(&crate::house::House::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(house) = crate::house::House::postgres().await { super::$name(&house).await; }
            })*
        }
    };
}

mod house;

mod batching;
mod decisions;
mod deployments;
mod people;
