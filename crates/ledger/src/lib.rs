//! The ledger: an [`Entry`] goes in, a durable, chained, sealed [`Record`] comes out.
//!
//! Every decision and every administrative act becomes one record. A record is linked to the one before it by SHA-256
//! over a byte layout that a stranger can recompute ([`layout`], `LAYOUT.md`), what it says about a person is sealed
//! under a key that can be destroyed ([`seal`]), and it is on disk before its caller hears of it ([`ledger`]). Heads are
//! signed ([`checkpoint`]), and every chain can be walked again, in the database or in an export ([`verify`]).
//!
//! The room knows no HTTP, no roles and no models: who may append, erase or open is decided by those above, who hand
//! in the name of whoever asked and the time.

pub mod chain;
pub mod checkpoint;
pub mod entry;
pub mod error;
pub mod export;
pub mod layout;
pub mod ledger;
pub mod master;
pub mod name;
pub mod reader;
pub mod record;
pub mod seal;
pub mod verify;

mod observe;
mod random;
mod rewriting;
mod tables;
mod writer;

pub use checkpoint::{Checkpoint, SignedCheckpoint, Signer, VerifyingKey};
pub use entry::{Act, Clear, Entry, Subject};
pub use error::{Error, StorageError};
pub use ledger::{
    Database, Erased, Ledger, Opened, Options, Pending, Recorded, Retained, Rewrapped,
};
pub use master::{LocalMasterKey, MasterKey, SecretSource, SucceedingMasterKey};
pub use name::{LaneName, Tenant};
pub use observe::{Commit, Observer};
pub use reader::{Cursor, LaneHead, Query, Reader};
pub use record::{KeyId, Kind, Record, RecordId, SubjectReference};
pub use verify::{Report, VerifyOptions};
