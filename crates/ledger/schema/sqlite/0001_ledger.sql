-- The ledger's tables. Never edited once shipped.

create table ledger_epoch (
    one integer primary key check (one = 1),
    -- Moves when keys are destroyed, so that every writer drops the keys it remembers.
    epoch integer not null
) strict;
insert into ledger_epoch values (1, 0);

create table ledger_tenants (
    tenant text primary key,
    -- The key that turns people's ids into references, wrapped by the master key.
    reference blob not null,
    master text not null
) strict, without rowid;

create table ledger_lanes (
    lane integer primary key,
    tenant text not null,
    replica text not null,
    unique (tenant, replica)
) strict;

-- Rows are only ever appended, and destroyed by overwriting the wrapped bytes where they lie, with as many zeros:
-- so SQLite never moves them, and leaves no forgotten copy in a page that was split or merged.
create table ledger_keys (
    number integer primary key,
    lane integer not null,
    tenant text not null,
    subject blob not null,
    model text not null,
    month integer not null,
    id blob not null,
    wrapped blob not null,
    master text not null,
    destroyed integer not null
) strict;
create unique index ledger_keys_alive on ledger_keys (lane, subject, model, month) where destroyed = 0;
create index ledger_keys_by_subject on ledger_keys (tenant, subject) where destroyed = 0;

create table ledger_records (
    -- lane * 2^40 + sequence: a lane's records lie together, in order, and need no second index.
    position integer primary key,
    tenant text not null,
    previous blob not null,
    time_us integer not null,
    id blob not null,
    kind text not null,
    model text,
    version integer,
    bundle blob,
    environment text,
    subject blob,
    key blob,
    sealed_input blob,
    answer text,
    confidence real,
    sealed_explanation blob,
    latency_us integer,
    cache_hit integer,
    principal text,
    ip text,
    user_agent text,
    request_id text,
    detail text,
    hash blob not null
) strict;
create unique index ledger_records_by_id on ledger_records (id);
create index ledger_records_by_time on ledger_records (tenant, time_us);
create index ledger_records_by_subject on ledger_records (subject, time_us) where subject is not null;
-- Acts are few among decisions; an auditor looks for them.
create index ledger_records_by_act on ledger_records (tenant, kind, time_us) where kind <> 'decision';

create table ledger_checkpoints (
    tenant text not null,
    number integer not null,
    body text not null,
    signer blob not null,
    signature blob not null,
    primary key (tenant, number)
) strict, without rowid;

-- Whoever means well cannot change a record by accident; who does not is found by `verify`.
create trigger ledger_records_stay before update on ledger_records
begin select raise(abort, 'ledger records are never changed'); end;
create trigger ledger_records_remain before delete on ledger_records
begin select raise(abort, 'ledger records are never deleted'); end;
create trigger ledger_checkpoints_stay before update on ledger_checkpoints
begin select raise(abort, 'checkpoints are never changed'); end;
create trigger ledger_checkpoints_remain before delete on ledger_checkpoints
begin select raise(abort, 'checkpoints are never deleted'); end;
