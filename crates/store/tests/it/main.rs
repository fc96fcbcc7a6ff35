//! The store through its public face: what is promised of rows, bundles and cached answers, on every implementation.

/// Each promise is kept on SQLite and on PostgreSQL. `OMBUD_TEST_POSTGRES` names a server where databases may be made
/// (`crates/ledger/tests/with_postgres.sh` starts one); without it the second half has nothing to run on.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(&crate::house::House::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() {
                if let Some(house) = crate::house::House::postgres().await { super::$name(&house).await; }
            })*
        }
    };
}

mod house;
mod rolled_back;
mod servers;
mod suite;
