-- How a model did in one hour on one replica, as that replica counted it.

create table store_hours (
    tenant text not null,
    model text not null,
    -- The replica, by its lane in the ledger.
    replica text not null,
    -- Since 1970.
    hour bigint not null,
    counted text not null,
    constraint store_hours_place primary key (tenant, model, replica, hour)
);
create index store_hours_by_hour on store_hours (hour);
