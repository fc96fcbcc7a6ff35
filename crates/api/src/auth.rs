//! Who sent a request.

pub mod issuers;
pub mod secrets;
pub mod token;
