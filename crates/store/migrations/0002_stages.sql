-- Which versions an ensemble asks first. While the ensemble is there, they stay.

create table store_stages (
    tenant text not null,
    model text not null,
    version bigint not null,
    -- The order in which the manifest names them.
    place bigint not null,
    stage_model text not null,
    stage_version bigint not null,
    constraint store_stages_place primary key (tenant, model, version, place),
    constraint store_stages_ensemble foreign key (tenant, model, version)
        references store_versions (tenant, model, version) on delete cascade,
    constraint store_stages_stage foreign key (tenant, stage_model, stage_version)
        references store_versions (tenant, model, version)
);
create index store_stages_by_stage on store_stages (tenant, stage_model, stage_version);
