//! The real binary, from outside: what it prints, what it writes, how it ends.

mod bundles;
mod ensembles;
mod first_hour;
mod hseg;
mod hseg_demo;
mod hseg_uploads;
mod imports;
mod interruption;
mod keepers;
mod kit;
mod learning;
mod master_key;
mod predictions;
mod recipes;
mod repeatability;
mod replicas;
mod reports;
mod serve;
mod serve_durability;
mod server;
mod support;
mod words;
