//! The contract, noun by noun. Every promise runs on every implementation.

mod principals;
