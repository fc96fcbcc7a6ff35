//! People, keys and sessions.

use crate::house::{DAY_US, House, MINUTE_US, NOW_US, acme, ana, name, other, production};
use ombud_core::Class;
use ombud_store::key::{LAST_USED_STALE_US, NewKey};
use ombud_store::person::PasswordHash;
use ombud_store::session::SESSIONS_MAX;
use ombud_store::store::Topic;
use ombud_store::{Error, Role, Scopes};

promises! {
    a_person_is_found_by_login_within_their_tenant_only,
    a_login_is_given_once,
    a_key_works_until_it_expires_or_is_revoked,
    a_key_is_stored_only_as_a_hash,
    a_busy_key_is_noted_once_a_minute,
    a_session_ends_by_time_by_sign_out_and_by_a_new_password,
    a_disabled_person_has_no_session,
    a_person_has_a_bounded_number_of_sessions,
    changes_of_principals_are_told_to_other_replicas,
}

async fn a_person_is_found_by_login_within_their_tenant_only(house: &House) {
    house
        .store
        .add_person(&acme(), ana(), NOW_US)
        .await
        .unwrap();
    let found = house.store.person(&acme(), "ana").await.unwrap().unwrap();
    assert_eq!((found.role, found.name.as_str()), (Role::Operator, "Ana"));
    assert_eq!(found.password_hash.expose(), "$argon2id$v=19$x");
    assert_eq!(house.store.person(&other(), "ana").await.unwrap(), None);
    assert_eq!(house.store.people(&other()).await.unwrap(), []);
    let refused = house
        .store
        .set_role(&other(), "ana", Role::Admin, NOW_US)
        .await;
    assert_eq!(refused.unwrap_err().class(), Class::NotFound);
    assert_eq!(
        house.store.people(&acme()).await.unwrap()[0].role,
        Role::Operator
    );
}

async fn a_login_is_given_once(house: &House) {
    house
        .store
        .add_person(&acme(), ana(), NOW_US)
        .await
        .unwrap();
    let twice = house.store.add_person(&acme(), ana(), NOW_US).await;
    assert!(matches!(twice, Err(Error::Exists { .. })), "{twice:?}");
    house
        .store
        .add_person(&other(), ana(), NOW_US)
        .await
        .unwrap();
    for login in ["", "a b", "a\nb", &"a".repeat(201)] {
        let mut person = ana();
        person.login = login.to_owned();
        let refused = house.store.add_person(&acme(), person, NOW_US).await;
        assert_eq!(refused.unwrap_err().class(), Class::Invalid, "{login:?}");
    }
}

fn new_key() -> NewKey {
    NewKey {
        prefix: ombud_store::key::fresh_prefix().unwrap(),
        label: "the claims desk".to_owned(),
        role: Role::Caller,
        scopes: Scopes::new(vec!["claims@production".parse().unwrap()]).unwrap(),
        expires_us: Some(NOW_US + DAY_US),
        created_by: "person:ana".to_owned(),
    }
}

async fn a_key_works_until_it_expires_or_is_revoked(house: &House) {
    let store = &house.store;
    let (key, text) = store.add_key(&acme(), new_key(), NOW_US).await.unwrap();
    assert!(
        text.expose().starts_with(&key.prefix),
        "its start stays visible"
    );
    let found = store.authenticate_key(text.expose(), NOW_US).await.unwrap();
    assert_eq!(found, key);
    assert!(found.scopes.cover(&name("claims"), &production()));
    assert!(!found.scopes.cover(&name("churn"), &production()));

    let refused = |text: String, now_us| async move {
        let refused = store.authenticate_key(&text, now_us).await;
        assert_eq!(refused.unwrap_err().class(), Class::Unauthenticated);
    };
    refused(text.expose().to_owned(), NOW_US + DAY_US).await;
    refused(key.prefix.clone(), NOW_US).await;
    refused(format!("{}x", text.expose()), NOW_US).await;
    refused("omb_".repeat(1_000), NOW_US).await;

    let stranger = store.revoke_key(&other(), &key.prefix, NOW_US).await;
    assert_eq!(stranger.unwrap_err().class(), Class::NotFound);
    assert_eq!(store.keys(&other()).await.unwrap(), []);
    assert_eq!(store.key(&other(), &key.prefix).await.unwrap(), None);
    let revoked = store
        .revoke_key(&acme(), &key.prefix, NOW_US)
        .await
        .unwrap();
    let again = store
        .revoke_key(&acme(), &key.prefix, NOW_US + 1)
        .await
        .unwrap();
    assert_eq!(revoked, again, "twice is as once");
    refused(text.expose().to_owned(), NOW_US).await;
}

async fn a_key_is_stored_only_as_a_hash(house: &House) {
    let (key, text) = house
        .store
        .add_key(&acme(), new_key(), NOW_US)
        .await
        .unwrap();
    let secret = text.expose().strip_prefix(&key.prefix).unwrap();
    assert!(!format!("{key:?}{text:?}").contains(secret));
    if house.is_sqlite() {
        for item in std::fs::read_dir(house.folder.path()).unwrap() {
            let bytes = std::fs::read(item.unwrap().path()).unwrap();
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "the secret lies in the database");
        }
    }
}

async fn a_busy_key_is_noted_once_a_minute(house: &House) {
    let store = &house.store;
    let (_, text) = store.add_key(&acme(), new_key(), NOW_US).await.unwrap();
    let mut noted = Vec::new();
    for after_us in [1, 2, LAST_USED_STALE_US, LAST_USED_STALE_US + 1] {
        let key = store.authenticate_key(text.expose(), NOW_US).await.unwrap();
        store.key_used(&key, NOW_US + after_us).await.unwrap();
        let key = store.authenticate_key(text.expose(), NOW_US).await.unwrap();
        noted.push(key.last_used_us.unwrap() - NOW_US);
    }
    assert_eq!(noted, [1, 1, 1, LAST_USED_STALE_US + 1]);
}

async fn a_session_ends_by_time_by_sign_out_and_by_a_new_password(house: &House) {
    let store = &house.store;
    store.add_person(&acme(), ana(), NOW_US).await.unwrap();
    let open = || async {
        store
            .open_session(&acme(), "ana", DAY_US, NOW_US)
            .await
            .unwrap()
    };
    let (session, token) = open().await;
    let found = store
        .session(token.expose(), NOW_US + DAY_US - 1)
        .await
        .unwrap();
    assert_eq!(
        (&found.person.login, found.csrf),
        (&session.person.login, session.csrf)
    );
    assert_eq!(found.person.last_sign_in_us, Some(NOW_US));
    let is_open =
        |token: String, now_us| async move { store.session(&token, now_us).await.is_ok() };
    assert!(!is_open(token.expose().to_owned(), NOW_US + DAY_US).await);
    assert!(!is_open(String::new(), NOW_US).await);

    store
        .close_session(&other(), session.token_hash)
        .await
        .unwrap();
    assert!(
        is_open(token.expose().to_owned(), NOW_US).await,
        "not theirs to end"
    );
    store
        .close_session(&acme(), session.token_hash)
        .await
        .unwrap();
    assert!(!is_open(token.expose().to_owned(), NOW_US).await);

    let (_, token) = open().await;
    let hash = PasswordHash::new("$argon2id$new".to_owned());
    store
        .set_password(&acme(), "ana", &hash, false, NOW_US)
        .await
        .unwrap();
    assert!(!is_open(token.expose().to_owned(), NOW_US).await);

    open().await;
    assert_eq!(store.sweep_sessions(NOW_US + DAY_US - 1).await.unwrap(), 0);
    assert_eq!(store.sweep_sessions(NOW_US + DAY_US).await.unwrap(), 1);
}

async fn a_disabled_person_has_no_session(house: &House) {
    let store = &house.store;
    store.add_person(&acme(), ana(), NOW_US).await.unwrap();
    let (_, token) = store
        .open_session(&acme(), "ana", DAY_US, NOW_US)
        .await
        .unwrap();
    store
        .set_disabled(&acme(), "ana", true, NOW_US)
        .await
        .unwrap();
    assert!(store.session(token.expose(), NOW_US).await.is_err());
    let refused = store.open_session(&acme(), "ana", DAY_US, NOW_US).await;
    assert_eq!(refused.unwrap_err().class(), Class::Unauthenticated);
    store
        .set_disabled(&acme(), "ana", false, NOW_US)
        .await
        .unwrap();
    store
        .open_session(&acme(), "ana", DAY_US, NOW_US)
        .await
        .unwrap();
}

async fn a_person_has_a_bounded_number_of_sessions(house: &House) {
    let store = &house.store;
    store.add_person(&acme(), ana(), NOW_US).await.unwrap();
    let mut tokens = Vec::new();
    for place in 0..=SESSIONS_MAX as i64 {
        let now_us = NOW_US + place * MINUTE_US;
        let (_, token) = store
            .open_session(&acme(), "ana", DAY_US, now_us)
            .await
            .unwrap();
        tokens.push(token);
    }
    assert!(
        store.session(tokens[0].expose(), NOW_US).await.is_err(),
        "the oldest ended"
    );
    for token in &tokens[1..] {
        assert!(store.session(token.expose(), NOW_US).await.is_ok());
    }
}

async fn changes_of_principals_are_told_to_other_replicas(house: &House) {
    let store = &house.store;
    let revisions = || async { store.revisions(Topic::Principals).await.unwrap() };
    assert_eq!(revisions().await, []);
    store.add_person(&acme(), ana(), NOW_US).await.unwrap();
    assert_eq!(revisions().await, [(acme(), 1)]);
    let (key, _) = store.add_key(&other(), new_key(), NOW_US).await.unwrap();
    store
        .revoke_key(&other(), &key.prefix, NOW_US)
        .await
        .unwrap();
    assert_eq!(revisions().await, [(acme(), 1), (other(), 2)]);
}
