-- The ledger's tables. Never edited once shipped.

create table ledger_epoch (
    one integer primary key check (one = 1),
    -- Moves when keys are destroyed, so that every writer drops the keys it remembers.
    epoch bigint not null
);
insert into ledger_epoch values (1, 0);

create table ledger_tenants (
    tenant text primary key,
    -- The key that turns people's ids into references, wrapped by the master key.
    reference bytea not null,
    master text not null
);

create table ledger_lanes (
    lane bigint primary key generated always as identity,
    tenant text not null,
    replica text not null,
    unique (tenant, replica)
);

-- Destroyed by emptying the wrapped bytes; vacuum gives their old place back.
create table ledger_keys (
    number bigint primary key generated always as identity,
    lane bigint not null,
    tenant text not null,
    subject bytea not null,
    model text not null,
    month bigint not null,
    id bytea not null,
    wrapped bytea not null,
    master text not null,
    destroyed boolean not null default false
);
create unique index ledger_keys_alive on ledger_keys (lane, subject, model, month) where not destroyed;
create index ledger_keys_by_subject on ledger_keys (tenant, subject) where not destroyed;

create table ledger_records (
    -- lane * 2^40 + sequence: one key orders every lane.
    position bigint primary key,
    tenant text not null,
    previous bytea not null,
    time_us bigint not null,
    id bytea not null,
    kind text not null,
    model text,
    version bigint,
    bundle bytea,
    environment text,
    subject bytea,
    key bytea,
    sealed_input bytea,
    answer text,
    confidence double precision,
    sealed_explanation bytea,
    latency_us bigint,
    cache_hit bigint,
    principal text,
    ip text,
    user_agent text,
    request_id text,
    detail text,
    hash bytea not null
);
create unique index ledger_records_by_id on ledger_records (id);
create index ledger_records_by_time on ledger_records (tenant, time_us, position);
create index ledger_records_by_subject on ledger_records (subject, time_us) where subject is not null;
-- Acts are few among decisions; an auditor looks for them.
create index ledger_records_by_act on ledger_records (tenant, kind, time_us) where kind <> 'decision';

create table ledger_checkpoints (
    tenant text not null,
    number bigint not null,
    body text not null,
    signer bytea not null,
    signature bytea not null,
    primary key (tenant, number)
);

-- Whoever means well cannot change a record by accident; who does not is found by `verify`.
create function ledger_refuse() returns trigger language plpgsql as
$$ begin raise exception 'ledger records and checkpoints are never changed or deleted'; end $$;
create trigger ledger_records_stay before update or delete or truncate on ledger_records
    for each statement execute function ledger_refuse();
create trigger ledger_checkpoints_stay before update or delete or truncate on ledger_checkpoints
    for each statement execute function ledger_refuse();
