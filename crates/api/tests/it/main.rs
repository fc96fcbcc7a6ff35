//! The routes, from outside and without a socket; the socket itself where it is what is tested.

mod access;
mod doors;
mod front;
mod issuers;
mod mlflow;
mod people;
mod socket;
mod support;
mod traces;
mod turned_away;
