//! Who may do what: one table of rights and roles, and permits that prove somebody looked.
//!
//! [`RIGHTS`] is printed as `docs/roles.md` and walked by a test that calls every route as every role. A handler asks its
//! [`Caller`] for a permit and hands it on; since a permit can be made nowhere else, a forgotten check does not compile.

use crate::refusal::{Code, Refusal};
use ombud_core::ModelName;
use ombud_ledger::Tenant;
use ombud_store::{Environment, Role, Scopes, Session};
use std::fmt;
use std::sync::Arc;

/// Something that only some may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    SeeModels,
    Decide,
    ReportOutcomes,
    SeeDecisions,
    SeeRuns,
    LogRuns,
    Register,
    Deploy,
    ForceDeploy,
    SeeAudit,
    ExportAudit,
    OpenSealed,
    ExportSubject,
    EraseSubject,
    CollectAnswers,
    SeeCases,
    ManageKeys,
    ManagePeople,
}

/// A right, who has it, and what it lets them do.
#[derive(Debug, Clone, Copy)]
pub struct Grant {
    pub right: Right,
    pub name: &'static str,
    pub roles: &'static [Role],
    pub about: &'static str,
}

use Role::{Admin, Auditor, Caller as CallerRole, Operator, Viewer};

/// Every right and who has it.
pub const RIGHTS: &[Grant] = &[
    Grant {
        right: Right::SeeModels,
        name: "see-models",
        roles: &[Viewer, CallerRole, Operator, Auditor, Admin],
        about: "list models, versions, deployments and their health",
    },
    Grant {
        right: Right::Decide,
        name: "decide",
        roles: &[CallerRole, Operator, Admin],
        about: "ask a model for decisions",
    },
    Grant {
        right: Right::ReportOutcomes,
        name: "report-outcomes",
        roles: &[CallerRole, Operator, Admin],
        about: "report what really happened",
    },
    Grant {
        right: Right::SeeDecisions,
        name: "see-decisions",
        roles: &[Viewer, Operator, Auditor, Admin],
        about: "see decisions without what was asked about whom, and statistics over them",
    },
    Grant {
        right: Right::SeeRuns,
        name: "see-runs",
        roles: &[Viewer, Operator, Auditor, Admin],
        about: "see experiments, runs, logged models and their files",
    },
    Grant {
        right: Right::LogRuns,
        name: "log-runs",
        roles: &[Operator, Admin],
        about: "make experiments and runs, log to them, put files beside them",
    },
    Grant {
        right: Right::Register,
        name: "register",
        roles: &[Operator, Admin],
        about: "register, tag, note and archive versions",
    },
    Grant {
        right: Right::Deploy,
        name: "deploy",
        roles: &[Operator, Admin],
        about: "deploy, promote, shift traffic and roll back, through the gates",
    },
    Grant {
        right: Right::ForceDeploy,
        name: "force-deploy",
        roles: &[Admin],
        about: "deploy past a gate, with a reason that is recorded",
    },
    Grant {
        right: Right::SeeAudit,
        name: "see-audit",
        roles: &[Auditor, Admin],
        about: "read the ledger and verify it",
    },
    Grant {
        right: Right::ExportAudit,
        name: "export-audit",
        roles: &[Auditor, Admin],
        about: "take records out of the house",
    },
    Grant {
        right: Right::OpenSealed,
        name: "open-sealed",
        roles: &[Auditor, Admin],
        about: "read what was asked about a person, with a reason that is recorded first",
    },
    Grant {
        right: Right::ExportSubject,
        name: "export-subject",
        roles: &[Auditor, Admin],
        about: "gather everything about a person, for that person",
    },
    Grant {
        right: Right::EraseSubject,
        name: "erase-subject",
        roles: &[Admin],
        about: "destroy what is known about a person",
    },
    Grant {
        right: Right::CollectAnswers,
        name: "collect-answers",
        roles: &[Operator, Admin],
        about: "set up what people are asked, and take their answers in",
    },
    Grant {
        right: Right::SeeCases,
        name: "see-cases",
        roles: &[Operator, Auditor, Admin],
        about: "see cases that wait for a person, and take them up when one's role is named",
    },
    Grant {
        right: Right::ManageKeys,
        name: "manage-keys",
        roles: &[Admin],
        about: "make, list and revoke API keys",
    },
    Grant {
        right: Right::ManagePeople,
        name: "manage-people",
        roles: &[Admin],
        about: "make people, give roles, reset passwords",
    },
];

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Anybody, and nothing of where they come from is kept, not even when they are refused.
    Anonymous,
    /// Anybody who is known.
    Known,
    /// Those who have a right.
    Needs(Right),
}

/// Several roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

/// Who sent a request, whose data they see, and what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Their name in the ledger: `key:omb_1a2b3c4d`, `person:LOGIN`, `token:ISSUER#SUBJECT`, or `demo`.
    pub principal: Arc<str>,
    /// Whose data.
    pub tenant: Tenant,
    /// What they are trusted with.
    pub roles: Roles,
    /// Where their key may be used.
    pub scopes: Scopes,
    /// How they showed who they are.
    pub proof: Proof,
}

/// How a caller showed who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// An API key.
    Key,
    /// A session's cookie.
    Session(Arc<Session>),
    /// A login and a password in a header.
    Password,
    /// A token that an issuer signed.
    Token,
    /// Nothing: the demonstration on loopback.
    Demo,
}

/// Proof that a right was asked for and is there. Only [`Caller`] makes one.
#[derive(Debug, Clone)]
pub struct Permit {
    right: Right,
    _made_here: (),
}

impl Caller {
    /// A permit for a right that is about no model in particular.
    pub fn may(&self, right: Right) -> Result<Permit, Refusal> {
        if self.must_change_password() {
            return Err(Refusal::new(
                Code::Forbidden,
                "your password was given by somebody else and must be replaced first",
            )
            .hint("PUT /api/v1/session/password"));
        }
        if self.roles.have(right) {
            return Ok(Permit {
                right,
                _made_here: (),
            });
        }
        let name = right.grant().name;
        let detail = format!(
            "this needs the right `{name}`, which {} not have",
            self.roles.spoken()
        );
        Err(Refusal::new(Code::Forbidden, detail)
            .hint("docs/roles.md lists who may do what; ask an admin"))
    }

    /// A permit for a right on a model in an environment.
    pub fn may_on(
        &self,
        right: Right,
        model: &ModelName,
        environment: &Environment,
    ) -> Result<Permit, Refusal> {
        let permit = self.may(right)?;
        if self.scopes.cover(model, environment) {
            return Ok(permit);
        }
        Err(self.outside(&format!("the model {model} in {environment}")))
    }

    /// A permit for a right on a model, wherever it serves.
    pub fn may_about(&self, right: Right, model: &ModelName) -> Result<Permit, Refusal> {
        let permit = self.may(right)?;
        if self.scopes.touch(model) {
            Ok(permit)
        } else {
            Err(self.outside(&format!("the model {model}")))
        }
    }

    /// A permit for a right on everything, which a key with scopes does not have.
    pub fn may_everywhere(&self, right: Right) -> Result<Permit, Refusal> {
        let permit = self.may(right)?;
        if self.scopes == Scopes::EVERYWHERE {
            Ok(permit)
        } else {
            Err(self.outside("everything"))
        }
    }

    /// Whether a model is within the key's scopes.
    pub fn sees(&self, model: &ModelName) -> bool {
        self.scopes.touch(model)
    }

    /// Whether a model is within the key's scopes in an environment.
    pub fn sees_in(&self, model: &ModelName, environment: &Environment) -> bool {
        self.scopes.cover(model, environment)
    }

    fn must_change_password(&self) -> bool {
        matches!(&self.proof, Proof::Session(session) if session.person.must_change_password)
    }

    fn outside(&self, what: &str) -> Refusal {
        Refusal::new(Code::Forbidden, format!("this key is not for {what}"))
            .hint("an admin can make a key with wider scopes")
    }
}

impl Permit {
    /// What it permits.
    pub fn right(&self) -> Right {
        self.right
    }
}

impl Right {
    /// Its line in the table.
    pub fn grant(self) -> &'static Grant {
        let line = RIGHTS.iter().find(|grant| grant.right == self);
        line.unwrap_or(&RIGHTS[0])
    }
}

impl Roles {
    /// Some roles.
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Roles(roles.into_iter().fold(0, |bits, role| bits | bit(role)))
    }

    /// Whether one of them is this.
    pub fn contains(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL
            .into_iter()
            .filter(move |role| self.contains(*role))
    }

    /// Whether one of them has a right.
    pub fn have(self, right: Right) -> bool {
        right.grant().roles.iter().any(|role| self.contains(*role))
    }

    fn spoken(self) -> String {
        let names: Vec<&str> = self.iter().map(Role::as_str).collect();
        match names.as_slice() {
            [] => "nobody without a role does".to_owned(),
            [one] => format!("the role {one} does"),
            many => format!("the roles {} do", many.join(", ")),
        }
    }
}

fn bit(role: Role) -> u8 {
    1 << (role as u8)
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The page `docs/roles.md`.
pub fn page(kits: &[crate::Kit]) -> String {
    let mut page = "\
# Who may do what

Printed by `ombud config roles`. A principal (an API key, a person, or whoever an issuer's token names) has one or more roles.
A key can be narrowed further to some models and environments.

| right | viewer | caller | operator | auditor | admin | lets them |
| --- | --- | --- | --- | --- | --- | --- |
"
    .to_owned();
    for grant in RIGHTS {
        let marks = Role::ALL.map(|role| {
            if grant.roles.contains(&role) {
                "yes"
            } else {
                ""
            }
        });
        page.push_str(&format!(
            "| `{}` | {} | {} |\n",
            grant.name,
            marks.join(" | "),
            grant.about
        ));
    }
    page.push_str("\n## Routes\n\n| route | needs |\n| --- | --- |\n");
    for (method, path, access) in crate::routes::access(kits) {
        page.push_str(&format!("| `{method} {path}` | {} |\n", needs(*access)));
    }
    page.push_str("\n## Methods of gRPC\n\n| method | needs |\n| --- | --- |\n");
    for (method, access) in crate::grpc::ACCESS {
        page.push_str(&format!("| `{method}` | {} |\n", needs(*access)));
    }
    page
}

fn needs(access: Access) -> String {
    match access {
        Access::Public => "nothing".to_owned(),
        Access::Anonymous => "nothing, and keeps nothing of where its callers come from".to_owned(),
        Access::Known => "any role".to_owned(),
        Access::Needs(right) => format!("`{}`", right.grant().name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(roles: &[Role]) -> Caller {
        Caller {
            principal: Arc::from("key:test"),
            tenant: Tenant::new("main").expect("a name"),
            roles: Roles::of(roles.iter().copied()),
            scopes: Scopes::EVERYWHERE,
            proof: Proof::Key,
        }
    }

    #[test]
    fn an_admin_may_do_everything_and_nobody_without_a_role_anything() {
        for grant in RIGHTS {
            assert!(caller(&[Admin]).may(grant.right).is_ok(), "{}", grant.name);
            assert!(caller(&[]).may(grant.right).is_err(), "{}", grant.name);
        }
    }

    #[test]
    fn every_right_has_its_own_line() {
        for grant in RIGHTS {
            assert_eq!(grant.right.grant().name, grant.name);
        }
    }

    #[test]
    fn a_refusal_names_the_right_that_is_missing() {
        let refused = caller(&[Viewer]).may(Right::Deploy).expect_err("a viewer");
        assert_eq!(refused.code(), Code::Forbidden);
        assert!(
            refused.detail().contains("`deploy`") && refused.detail().contains("viewer"),
            "{refused}"
        );
    }

    #[test]
    fn a_key_reaches_no_further_than_its_scope() {
        let name = |text: &str| ModelName::new(text).expect("a name");
        let (staging, production) = (Environment::staging(), Environment::production());
        let mut narrow = caller(&[CallerRole]);
        narrow.scopes =
            Scopes::new(vec!["claims@staging".parse().expect("a scope")]).expect("scopes");
        assert!(
            narrow
                .may_on(Right::Decide, &name("claims"), &staging)
                .is_ok()
        );
        assert!(
            narrow
                .may_on(Right::Decide, &name("claims"), &production)
                .is_err()
        );
        assert!(
            narrow
                .may_on(Right::Decide, &name("other"), &staging)
                .is_err()
        );
        assert!(narrow.may_about(Right::Decide, &name("claims")).is_ok());
        assert!(narrow.may_everywhere(Right::Decide).is_err());
    }
}
