//! What the kit keeps beside the ledger: organizations, campaigns, invitations, sealed responses, profiles, cases.
//!
//! All in the store's database, in tables of the kit's own ([`TABLES`]), each row a tenant's. Nothing here links an
//! invitation to a response: an invitation is a hash that is removed in the transaction that takes its response in, and a
//! response has a random id, no time, and, once its campaign has closed, a place that chance gave it. What the database's
//! files hold of it beyond that is wiped ([`Traces`]).

pub mod campaign;
pub mod case;
pub mod organization;
pub mod profile;
pub mod resources;
pub mod safe;
pub mod traces;

pub use campaign::{Campaign, State};
pub use case::Case;
pub use organization::Organization;
pub use profile::Profile;
pub use traces::Traces;

use ombud_ledger::RecordId;
use ombud_store::guest::Row;
use ombud_store::{Error, Guest};

/// The kit's tables.
pub const TABLES: Guest = Guest {
    name: "hseg",
    migrations: &[include_str!("../../migrations/hseg_0001.sql")],
};

/// What the functions of this part give.
pub type Result<T> = std::result::Result<T, Error>;

/// Longest name of an organization or a campaign.
pub const NAME_BYTES_MAX: usize = 200;

const HOUR_US: i64 = 3_600_000_000;

/// A time without what lies below the hour.
pub fn hour_of(time_us: i64) -> i64 {
    time_us.div_euclid(HOUR_US) * HOUR_US
}

/// A random id, which tells no time.
pub fn random_id() -> Result<RecordId> {
    let mut bytes = [0; RecordId::BYTES];
    getrandom::fill(&mut bytes)?;
    // A UUID of version 4, so that it looks like the others.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(RecordId::from_bytes(bytes))
}

/// Puts a list in an order that chance chose.
pub fn shuffle<T>(items: &mut [T]) -> Result<()> {
    for last in (1..items.len()).rev() {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        // 64 random bits over at most some millions: the bias is below one in 2^40.
        let place = (u64::from_be_bytes(random) % (last as u64 + 1)) as usize;
        items.swap(last, place);
    }
    Ok(())
}

fn check_name(what: &'static str, name: &str) -> Result<()> {
    let is_kept = !name.trim().is_empty() && !name.contains('\0');
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::TooLong {
            what,
            bytes: name.len(),
            bytes_max: NAME_BYTES_MAX,
        });
    }
    if is_kept {
        return Ok(());
    }
    Err(Error::Malformed {
        what,
        came: String::new(),
        allowed: "a text that is not empty and has no zero bytes",
    })
}

fn id_or_none(row: &Row, column: &'static str) -> Result<Option<RecordId>> {
    let Some(bytes) = row.bytes_or_none(column, column)? else {
        return Ok(None);
    };
    let bytes = bytes.try_into();
    bytes
        .map(|bytes| Some(RecordId::from_bytes(bytes)))
        .map_err(|_| Error::Unreadable { what: column })
}

fn unknown(what: &'static str, id: RecordId) -> Error {
    Error::NotFound {
        what,
        name: id.to_string(),
    }
}
