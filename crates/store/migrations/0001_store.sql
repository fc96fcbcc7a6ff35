-- The store's tables, in the SQL that SQLite and PostgreSQL share. Never edited once shipped.
--
-- Every table carries the tenant, first in its primary key. Times are microseconds since 1970, UTC; digests and hashes
-- are bytes; truths are 0 or 1; lists and documents are JSON text.

create table store_people (
    tenant text not null,
    login text not null,
    name text not null,
    role text not null,
    -- argon2id in its own text form, with salt and costs.
    password_hash text not null,
    must_change_password bigint not null,
    created_us bigint not null,
    changed_us bigint not null,
    disabled_us bigint,
    last_sign_in_us bigint,
    constraint store_people_login primary key (tenant, login)
);

create table store_keys (
    tenant text not null,
    prefix text not null,
    label text not null,
    role text not null,
    -- Texts such as claims@production; an empty list is everything.
    scopes text not null,
    -- SHA-256 of the whole key; 256 random bits need no slow hash.
    secret_hash bytea not null,
    created_us bigint not null,
    created_by text not null,
    expires_us bigint,
    revoked_us bigint,
    last_used_us bigint,
    constraint store_keys_prefix primary key (tenant, prefix)
);
-- Who calls with a key does not say which tenant is theirs, so the hash alone finds it.
create unique index store_keys_secret on store_keys (secret_hash);

create table store_sessions (
    tenant text not null,
    token_hash bytea not null,
    login text not null,
    csrf text not null,
    created_us bigint not null,
    expires_us bigint not null,
    last_seen_us bigint not null,
    constraint store_sessions_token primary key (tenant, token_hash),
    constraint store_sessions_person foreign key (tenant, login) references store_people (tenant, login) on delete cascade
);
create unique index store_sessions_hash on store_sessions (token_hash);
create index store_sessions_by_person on store_sessions (tenant, login);
create index store_sessions_by_end on store_sessions (expires_us);

create table store_models (
    tenant text not null,
    name text not null,
    description text not null,
    -- Moves with every change of the model or its versions, and is locked by whoever changes them.
    revision bigint not null,
    -- The highest number ever given; numbers are not given twice, also when a version was deleted.
    last_version bigint not null,
    created_us bigint not null,
    archived_us bigint,
    constraint store_models_name primary key (tenant, name)
);

create table store_versions (
    tenant text not null,
    model text not null,
    version bigint not null,
    label text not null,
    digest bytea not null,
    task text not null,
    engine text not null,
    -- The manifest as it was registered.
    manifest text not null,
    bytes bigint not null,
    signed_by text,
    registered_us bigint not null,
    registered_by text not null,
    -- Set when a deployment first named it: from then on records may speak of it.
    first_deployed_us bigint,
    archived_us bigint,
    constraint store_versions_number primary key (tenant, model, version),
    constraint store_versions_label unique (tenant, model, label),
    constraint store_versions_digest unique (tenant, model, digest),
    constraint store_versions_model foreign key (tenant, model) references store_models (tenant, name)
);
create index store_versions_by_digest on store_versions (tenant, digest);

create table store_tags (
    tenant text not null,
    model text not null,
    version bigint not null,
    name text not null,
    value text not null,
    constraint store_tags_name primary key (tenant, model, version, name),
    constraint store_tags_version foreign key (tenant, model, version)
        references store_versions (tenant, model, version) on delete cascade
);

create table store_notes (
    tenant text not null,
    id bytea not null,
    model text not null,
    version bigint not null,
    time_us bigint not null,
    author text not null,
    body text not null,
    constraint store_notes_id primary key (tenant, id),
    constraint store_notes_version foreign key (tenant, model, version)
        references store_versions (tenant, model, version) on delete cascade
);
create index store_notes_by_version on store_notes (tenant, model, version, id);

-- Every assignment an alias ever had; the last one is in force, and one without a version withdrew it.
create table store_aliases (
    tenant text not null,
    model text not null,
    alias text not null,
    number bigint not null,
    version bigint,
    time_us bigint not null,
    principal text not null,
    reason text not null,
    constraint store_aliases_number primary key (tenant, model, alias, number),
    constraint store_aliases_model foreign key (tenant, model) references store_models (tenant, name)
);

create table store_deployments (
    tenant text not null,
    model text not null,
    environment text not null,
    revision bigint not null,
    -- before_answer or after.
    record text not null,
    changed_us bigint not null,
    changed_by text not null,
    reason text not null,
    constraint store_deployments_place primary key (tenant, model, environment),
    constraint store_deployments_model foreign key (tenant, model) references store_models (tenant, name)
);

-- Which versions a deployment needs: active (with their share of the traffic), previous (kept warm), shadow.
create table store_traffic (
    tenant text not null,
    model text not null,
    environment text not null,
    part text not null,
    version bigint not null,
    percent bigint not null,
    constraint store_traffic_place primary key (tenant, model, environment, part, version),
    constraint store_traffic_deployment foreign key (tenant, model, environment)
        references store_deployments (tenant, model, environment),
    -- Whatever the code forgets, a deployed version is not deleted.
    constraint store_traffic_version foreign key (tenant, model, version)
        references store_versions (tenant, model, version)
);
create index store_traffic_by_version on store_traffic (tenant, model, version);

-- One number a tenant and topic, so that replicas see in one cheap question whether anything moved.
create table store_revisions (
    tenant text not null,
    topic text not null,
    revision bigint not null,
    constraint store_revisions_topic primary key (tenant, topic)
);

create table store_events (
    tenant text not null,
    id bytea not null,
    time_us bigint not null,
    kind text not null,
    model text,
    environment text,
    principal text not null,
    -- What was before and after, in words.
    was text not null,
    becomes text not null,
    reason text not null,
    numbers text not null,
    is_forced bigint not null,
    constraint store_events_id primary key (tenant, id)
);
create index store_events_by_model on store_events (tenant, model, id);

-- What really happened, as often as it was told; the current one is what counts.
create table store_outcomes (
    tenant text not null,
    decision bytea not null,
    number bigint not null,
    value text not null,
    note text,
    model text not null,
    version bigint not null,
    environment text not null,
    subject bytea,
    decided_us bigint not null,
    observed_us bigint not null,
    reported_us bigint not null,
    reported_by text not null,
    is_late bigint not null,
    is_current bigint not null,
    constraint store_outcomes_number primary key (tenant, decision, number)
);
create index store_outcomes_by_model on store_outcomes (tenant, model, environment, decided_us);
create index store_outcomes_by_subject on store_outcomes (tenant, subject);

create table store_idempotency (
    tenant text not null,
    principal text not null,
    idempotency_key text not null,
    request bytea not null,
    decision bytea not null,
    subject bytea,
    created_us bigint not null,
    constraint store_idempotency_key primary key (tenant, principal, idempotency_key)
);
create index store_idempotency_by_age on store_idempotency (created_us);
create index store_idempotency_by_subject on store_idempotency (tenant, subject);

create table store_jobs (
    tenant text not null,
    id bytea not null,
    kind text not null,
    state text not null,
    spec text not null,
    done bigint not null,
    total bigint,
    message text not null,
    result text,
    created_us bigint not null,
    created_by text not null,
    started_us bigint,
    ended_us bigint,
    -- Who works on it, and until when nobody else may take it over.
    worker text,
    lease_until_us bigint,
    attempts bigint not null,
    is_cancel_wanted bigint not null,
    constraint store_jobs_id primary key (tenant, id)
);
create index store_jobs_waiting on store_jobs (state, id);
