//! The class of an error: whose mistake it was and what the caller can do.
//!
//! Every room's error enum names its class in one match without `_`. The command line maps classes to exit codes and
//! the server maps them to HTTP and gRPC, each in one place, so that a new kind of failure never needs a new rule
//! at an edge.

/// Whose mistake, and whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// What was asked is malformed; the same call will fail again.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already, or changed meanwhile.
    Conflict,
    /// The caller is not known.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// A named limit on size, rows or time was passed.
    TooLarge,
    /// Well-formed, but not something this build or model does.
    Unsupported,
    /// What is stored is damaged or was tampered with.
    Corrupt,
    /// Cannot be done just now; trying later can help.
    Unavailable,
    /// Our mistake.
    Internal,
}

impl Class {
    /// The exit code of a command that ends with this class: 2 when the caller can mend it, 1 when not.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Invalid
            | Class::NotFound
            | Class::Conflict
            | Class::Unauthenticated
            | Class::Forbidden
            | Class::TooLarge
            | Class::Unsupported
            | Class::Corrupt => 2,
            Class::Unavailable | Class::Internal => 1,
        }
    }
}
