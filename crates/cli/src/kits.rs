//! The kits that this program ships; nothing else knows which there are.

use ombud_api::Kit;

/// Every kit.
pub const ALL: &[Kit] = &[ombud_kits::hseg::routes::KIT];
