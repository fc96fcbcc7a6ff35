//! `ombud people`: who may sign in, for whoever holds the database.

use super::Outcome;
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::{self, Settings};
use clap::{Args, Subcommand};
use ombud_api::auth::passwords::{Passwords, random_password};
use ombud_api::open::{OpenError, Rooms};
use ombud_api::time::{self, now_us};
use ombud_core::Class;
use ombud_ledger::record::Kind;
use ombud_store::Role;
use ombud_store::person::NewPerson;
use serde_json::json;

/// Make people who may sign in, give them roles, shut them out
#[derive(Debug, Subcommand)]
pub enum Command {
    List(List),
    Add(Add),
    Role(ChangeRole),
    /// Give a person a new random password, printed once; their sessions end
    Password(Named),
    /// Shut a person out; their sessions end
    Disable(Named),
    /// Let a person in again
    Enable(Named),
}

/// List people
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub settings: Settings,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Make a person; their random password is printed once
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    pub settings: Settings,
    /// What they sign in with
    pub login: String,
    /// viewer, caller, operator, auditor or admin
    #[arg(long, default_value = "viewer")]
    pub role: String,
    /// What they are called
    #[arg(long, default_value = "")]
    pub name: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Give a person another role; their sessions end
#[derive(Debug, Args)]
pub struct ChangeRole {
    #[command(flatten)]
    pub settings: Settings,
    /// What they sign in with
    pub login: String,
    /// viewer, caller, operator, auditor or admin
    pub role: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// A person, by what they sign in with.
#[derive(Debug, Args)]
pub struct Named {
    #[command(flatten)]
    pub settings: Settings,
    /// What they sign in with
    pub login: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// Whether the answer is one JSON object.
    pub fn is_json(&self) -> bool {
        match self {
            Command::List(list) => list.json,
            Command::Add(add) => add.json,
            Command::Role(role) => role.json,
            Command::Password(named) | Command::Disable(named) | Command::Enable(named) => {
                named.json
            }
        }
    }

    fn settings(&self) -> &Settings {
        match self {
            Command::List(list) => &list.settings,
            Command::Add(add) => &add.settings,
            Command::Role(role) => &role.settings,
            Command::Password(named) | Command::Disable(named) | Command::Enable(named) => {
                &named.settings
            }
        }
    }
}

/// Does what was asked.
pub fn run(command: &Command, console: &Console) -> Result<Outcome, Failure> {
    let (runtime, _, rooms) = command.settings().open()?;
    let outcome = runtime.block_on(work(command, &rooms, console));
    settings::close(&runtime, &rooms);
    outcome.map(|()| Outcome::Done)
}

async fn work(command: &Command, rooms: &Rooms, console: &Console) -> Result<(), Failure> {
    match command {
        Command::List(_) => list(rooms, console).await,
        Command::Add(add) => self::add(add, rooms, console).await,
        Command::Role(change) => {
            let role = role(&change.role)?;
            known(rooms, &change.login).await?;
            record(
                rooms,
                json!({ "did": "change person", "login": change.login, "role": change.role }),
            )
            .await?;
            rooms
                .store
                .set_role(&rooms.tenant, &change.login, role, now_us())
                .await?;
            told(console, &change.login, &format!("has the role {role} now"))
        }
        Command::Password(named) => {
            known(rooms, &named.login).await?;
            let password = random_password().map_err(OpenError::Randomness)?;
            let hash = Passwords::new(1)
                .hash(password.clone())
                .await
                .map_err(OpenError::Password)?;
            record(
                rooms,
                json!({ "did": "reset password", "login": named.login }),
            )
            .await?;
            rooms
                .store
                .set_password(&rooms.tenant, &named.login, &hash, true, now_us())
                .await?;
            shown(console, &named.login, &password)
        }
        Command::Disable(named) => disable(rooms, named, true, console).await,
        Command::Enable(named) => disable(rooms, named, false, console).await,
    }
}

async fn list(rooms: &Rooms, console: &Console) -> Result<(), Failure> {
    let people = rooms.store.people(&rooms.tenant).await?;
    if console.is_json {
        let people: Vec<_> = people
            .iter()
            .map(|person| json!({ "login": person.login, "name": person.name, "role": person.role.as_str(), "is_disabled": person.disabled_us.is_some() }))
            .collect();
        return console.print_json(&json!({ "people": people }));
    }
    for person in people {
        let state = if person.disabled_us.is_some() {
            "shut out"
        } else {
            ""
        };
        let seen = person.last_sign_in_us.map_or_else(
            || "never signed in".to_owned(),
            |at| format!("last signed in {}", time::text(at)),
        );
        console.print(format!("{}  {}  {seen}  {state}", person.login, person.role).trim_end())?;
    }
    Ok(())
}

async fn add(wish: &Add, rooms: &Rooms, console: &Console) -> Result<(), Failure> {
    let role = role(&wish.role)?;
    let password = random_password().map_err(OpenError::Randomness)?;
    let password_hash = Passwords::new(1)
        .hash(password.clone())
        .await
        .map_err(OpenError::Password)?;
    record(
        rooms,
        json!({ "did": "make person", "login": wish.login, "role": wish.role }),
    )
    .await?;
    let person = NewPerson {
        login: wish.login.clone(),
        name: wish.name.clone(),
        role,
        password_hash,
        must_change_password: true,
    };
    rooms
        .store
        .add_person(&rooms.tenant, person, now_us())
        .await?;
    shown(console, &wish.login, &password)
}

async fn disable(
    rooms: &Rooms,
    named: &Named,
    is_disabled: bool,
    console: &Console,
) -> Result<(), Failure> {
    known(rooms, &named.login).await?;
    record(
        rooms,
        json!({ "did": "change person", "login": named.login, "disabled": is_disabled }),
    )
    .await?;
    rooms
        .store
        .set_disabled(&rooms.tenant, &named.login, is_disabled, now_us())
        .await?;
    told(
        console,
        &named.login,
        if is_disabled {
            "is shut out"
        } else {
            "may sign in"
        },
    )
}

async fn known(rooms: &Rooms, login: &str) -> Result<(), Failure> {
    match rooms.store.person(&rooms.tenant, login).await? {
        Some(_) => Ok(()),
        None => Err(Failure::new(
            Class::NotFound,
            format!("nobody signs in with {login:?}"),
            "see `ombud people list`",
        )),
    }
}

fn shown(console: &Console, login: &str, password: &str) -> Result<(), Failure> {
    if console.is_json {
        return console.print_json(&json!({ "login": login, "password": password }));
    }
    console.print(&format!("login     {login}\npassword  {password}\n\nIt is shown this once and must be replaced at the first sign-in."))
}

fn told(console: &Console, login: &str, what: &str) -> Result<(), Failure> {
    if console.is_json {
        console.print_json(&json!({ "login": login }))
    } else {
        console.print(&format!("{login} {what}"))
    }
}

/// Writes down that somebody's rights are about to change.
pub(super) async fn record(rooms: &Rooms, detail: serde_json::Value) -> Result<(), Failure> {
    settings::record(rooms, Kind::KeyChange, detail).await
}

/// A role by its name.
pub(super) fn role(name: &str) -> Result<Role, Failure> {
    let names = Role::ALL.map(Role::as_str);
    name.parse().map_err(|_| {
        let hint = match ombud_core::nearest::nearest(name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}", names.join(", ")),
        };
        Failure::invalid(format!("{name:?} is no role"), hint)
    })
}
