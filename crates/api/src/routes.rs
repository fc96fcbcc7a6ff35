//! Every route.

use crate::access::Access;

/// What each route asks of its caller.
pub const ACCESS: &[(&str, &str, Access)] = &[];
