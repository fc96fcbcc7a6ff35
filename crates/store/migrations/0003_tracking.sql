-- Experiments, runs and what MLflow's clients register. Never edited once shipped.
--
-- Times whose name ends in _ms are a client's own words, milliseconds since 1970. A run or an experiment has a number, by
-- which other tables speak of it; a run also has the id that clients know. What was deleted stays and is marked, because
-- clients may bring it back.

create table store_counters (
    tenant text not null,
    name text not null,
    value bigint not null,
    constraint store_counters_name primary key (tenant, name)
);

create table store_experiments (
    tenant text not null,
    experiment bigint not null,
    name text not null,
    -- Where clients put files, when it is not here.
    location text,
    created_ms bigint not null,
    changed_ms bigint not null,
    deleted_ms bigint,
    constraint store_experiments_number primary key (tenant, experiment),
    constraint store_experiments_name unique (tenant, name)
);

create table store_experiment_tags (
    tenant text not null,
    experiment bigint not null,
    name text not null,
    value text not null,
    constraint store_experiment_tags_name primary key (tenant, experiment, name),
    constraint store_experiment_tags_experiment foreign key (tenant, experiment)
        references store_experiments (tenant, experiment)
);

create table store_runs (
    tenant text not null,
    run bigint not null,
    id text not null,
    experiment bigint not null,
    name text not null,
    -- Whoever the client said it was; the ledger has who really called, where it matters.
    user_name text not null,
    status text not null,
    started_ms bigint not null,
    ended_ms bigint,
    artifact_uri text not null,
    deleted_ms bigint,
    constraint store_runs_number primary key (tenant, run),
    constraint store_runs_id unique (tenant, id),
    constraint store_runs_experiment foreign key (tenant, experiment) references store_experiments (tenant, experiment)
);
create index store_runs_by_start on store_runs (tenant, experiment, started_ms);

create table store_run_params (
    tenant text not null,
    run bigint not null,
    name text not null,
    value text not null,
    constraint store_run_params_name primary key (tenant, run, name),
    constraint store_run_params_run foreign key (tenant, run) references store_runs (tenant, run)
);

create table store_run_tags (
    tenant text not null,
    run bigint not null,
    name text not null,
    value text not null,
    constraint store_run_tags_name primary key (tenant, run, name),
    constraint store_run_tags_run foreign key (tenant, run) references store_runs (tenant, run)
);

-- Every point of a metric. The same point told twice, by a client that tried again, is one.
create table store_metrics (
    tenant text not null,
    run bigint not null,
    name text not null,
    step bigint not null,
    logged_ms bigint not null,
    -- Of no number 0, of an infinity the largest double of its sign: so they order, and compare, in both databases.
    value double precision not null,
    -- 0: a number; 1: none; 2: positive infinity; 3: negative infinity.
    kind bigint not null,
    constraint store_metrics_point primary key (tenant, run, name, step, logged_ms, value, kind),
    constraint store_metrics_run foreign key (tenant, run) references store_runs (tenant, run)
);

-- The point of the highest step, then time, then value: what search looks at.
create table store_latest_metrics (
    tenant text not null,
    run bigint not null,
    name text not null,
    step bigint not null,
    logged_ms bigint not null,
    value double precision not null,
    kind bigint not null,
    constraint store_latest_metrics_name primary key (tenant, run, name),
    constraint store_latest_metrics_run foreign key (tenant, run) references store_runs (tenant, run)
);

-- The data sets that a run used.
create table store_run_datasets (
    tenant text not null,
    run bigint not null,
    name text not null,
    digest text not null,
    -- mlflow.data.context, such as training.
    context text not null,
    -- The client's own description.
    document text not null,
    constraint store_run_datasets_name primary key (tenant, run, name, digest),
    constraint store_run_datasets_run foreign key (tenant, run) references store_runs (tenant, run)
);

-- The logged models that a run used (input) or made (output).
create table store_run_models (
    tenant text not null,
    run bigint not null,
    part text not null,
    model text not null,
    step bigint not null,
    constraint store_run_models_model primary key (tenant, run, part, model),
    constraint store_run_models_run foreign key (tenant, run) references store_runs (tenant, run)
);

create table store_logged_models (
    tenant text not null,
    model text not null,
    experiment bigint not null,
    name text not null,
    kind text not null,
    source_run text,
    status text not null,
    artifact_uri text not null,
    created_ms bigint not null,
    changed_ms bigint not null,
    deleted_ms bigint,
    constraint store_logged_models_id primary key (tenant, model),
    constraint store_logged_models_experiment foreign key (tenant, experiment)
        references store_experiments (tenant, experiment)
);
create index store_logged_models_by_experiment on store_logged_models (tenant, experiment, created_ms);

create table store_logged_model_params (
    tenant text not null,
    model text not null,
    name text not null,
    value text not null,
    constraint store_logged_model_params_name primary key (tenant, model, name),
    constraint store_logged_model_params_model foreign key (tenant, model) references store_logged_models (tenant, model)
);

create table store_logged_model_tags (
    tenant text not null,
    model text not null,
    name text not null,
    value text not null,
    constraint store_logged_model_tags_name primary key (tenant, model, name),
    constraint store_logged_model_tags_model foreign key (tenant, model) references store_logged_models (tenant, model)
);

create table store_logged_model_metrics (
    tenant text not null,
    model text not null,
    name text not null,
    dataset_name text not null,
    dataset_digest text not null,
    run text not null,
    step bigint not null,
    logged_ms bigint not null,
    value double precision not null,
    kind bigint not null,
    constraint store_logged_model_metrics_name primary key (tenant, model, name, dataset_name, dataset_digest, run),
    constraint store_logged_model_metrics_model foreign key (tenant, model) references store_logged_models (tenant, model)
);

-- What MLflow calls a registered model is a model of ours; its name there may be one that ours may not be.
alter table store_models add column listed_name text;
alter table store_models add column listed_changed_us bigint;
create unique index store_models_listed on store_models (tenant, listed_name);
update store_models set listed_name = name, listed_changed_us = created_us;

create table store_model_tags (
    tenant text not null,
    model text not null,
    name text not null,
    value text not null,
    constraint store_model_tags_name primary key (tenant, model, name),
    constraint store_model_tags_model foreign key (tenant, model) references store_models (tenant, name)
);

-- Every version of a model, as both worlds see it. One that has a bundle has a row in store_versions too.
create table store_listed_versions (
    tenant text not null,
    model text not null,
    version bigint not null,
    source text not null,
    -- The id of the run that made it.
    run text,
    run_link text,
    -- The id of the logged model that it was registered from.
    logged_model text,
    -- The folder of its files, when they are here. As long as it is listed, clients cannot change what lies there.
    files text,
    description text not null,
    user_name text not null,
    status text not null,
    status_message text not null,
    -- The stage of a version without a bundle, which nothing here can serve: a word and no more. One with a bundle is in the
    -- stage that its deployments say.
    stage text not null,
    created_us bigint not null,
    changed_us bigint not null,
    constraint store_listed_versions_number primary key (tenant, model, version),
    constraint store_listed_versions_model foreign key (tenant, model) references store_models (tenant, name)
);
create index store_listed_versions_by_files on store_listed_versions (tenant, files);
insert into store_listed_versions (tenant, model, version, source, description, user_name, status, status_message, stage,
    created_us, changed_us)
    select tenant, model, version, '', '', registered_by, 'READY', '', 'None', registered_us, registered_us
    from store_versions;

create table store_listed_version_tags (
    tenant text not null,
    model text not null,
    version bigint not null,
    name text not null,
    value text not null,
    constraint store_listed_version_tags_name primary key (tenant, model, version, name),
    constraint store_listed_version_tags_version foreign key (tenant, model, version)
        references store_listed_versions (tenant, model, version) on delete cascade
);
