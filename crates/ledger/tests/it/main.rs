//! The ledger through its public face: what is promised about records holds after restarts, kills, full disks and
//! tampering.

/// Each promise is kept on SQLite and on PostgreSQL. `OMBUD_TEST_POSTGRES` names a server where databases may be made
/// (`tests/with_postgres.sh` starts one); without it the second half has nothing to run on.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(&crate::house::House::sqlite()); })*
        }
        mod postgres {
            $(#[test] fn $name() {
                if let Some(house) = crate::house::House::postgres() { super::$name(&house); }
            })*
        }
    };
}

mod house;

mod append;
mod disk;
mod erase;
mod export;
mod golden;
mod kill;
mod replicas;
mod tamper;
