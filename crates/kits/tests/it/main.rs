//! What the kits promise, through their public face.

mod attack;
