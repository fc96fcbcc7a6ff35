create table hseg_organizations (
    tenant text not null,
    id bytea not null,
    name text not null,
    domain text not null,
    -- Whose help resources are shown: ISO 3166, two letters.
    country text not null,
    -- How many people work there; null where nobody said.
    employees bigint,
    group_floor bigint not null,
    -- What can be asked for, the most wanted first: names of demographics, as JSON.
    drill_down text not null,
    -- The role that review cases wait for, and how long they may.
    case_role text not null,
    case_hours bigint not null,
    -- Privacy losses in thousandths of epsilon; null where no noise is wished for.
    noise_total bigint,
    noise_spent bigint not null,
    noise_release bigint,
    created_us bigint not null,
    constraint hseg_organizations_id primary key (tenant, id),
    constraint hseg_organizations_name unique (tenant, name)
);

create table hseg_campaigns (
    tenant text not null,
    id bytea not null,
    organization bytea not null,
    name text not null,
    -- draft, open, closed, processed.
    state text not null,
    -- What its responses are sealed under, itself wrapped by the house's master key.
    wrapped_key bytea not null,
    invited bigint not null,
    responded bigint not null,
    created_us bigint not null,
    opened_us bigint,
    closed_us bigint,
    processed_us bigint,
    job bytea,
    constraint hseg_campaigns_id primary key (tenant, id)
);
create index hseg_campaigns_by_organization on hseg_campaigns (tenant, organization, created_us);

-- Invitations that were not used yet, as hashes. A used one is removed: no row here has a counterpart among responses, and
-- no time stands beside either.
create table hseg_tokens (
    tenant text not null,
    campaign bytea not null,
    hash bytea not null,
    constraint hseg_tokens_hash primary key (tenant, campaign, hash)
);
create unique index hseg_tokens_by_hash on hseg_tokens (hash);

-- The id is random and tells no order. When a campaign closes, all its rows are written anew in a random order.
create table hseg_responses (
    tenant text not null,
    campaign bytea not null,
    id bytea not null,
    sealed bytea not null,
    constraint hseg_responses_id primary key (tenant, campaign, id)
);

-- What a campaign may tell, made once.
create table hseg_profiles (
    tenant text not null,
    organization bytea not null,
    campaign bytea not null,
    domain text not null,
    document text not null,
    closed_us bigint not null,
    constraint hseg_profiles_campaign primary key (tenant, organization, campaign)
);
create index hseg_profiles_by_domain on hseg_profiles (tenant, domain, closed_us);

create table hseg_cases (
    tenant text not null,
    id bytea not null,
    organization bytea,
    campaign bytea,
    -- Only where somebody with a key asked about somebody: that answer's record.
    decision bytea,
    reasons text not null,
    role text not null,
    -- Whole hours: a case must be timely, and must not tell which of several responses opened it.
    opened_us bigint not null,
    due_us bigint not null,
    acknowledged_us bigint,
    acknowledged_by text,
    closed_us bigint,
    closed_by text,
    note text not null,
    constraint hseg_cases_id primary key (tenant, id)
);
create index hseg_cases_by_due on hseg_cases (tenant, closed_us, due_us);

create table hseg_resources (
    tenant text not null,
    country text not null,
    document text not null,
    changed_us bigint not null,
    changed_by text not null,
    constraint hseg_resources_country primary key (tenant, country)
);
