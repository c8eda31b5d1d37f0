create table webhook_endpoints (
    id text primary key,
    key text not null,
    url text not null,
    events text not null,
    description text,
    secrets text not null,
    disabled text,
    created_at real not null
) strict, without rowid;

create index webhook_endpoints_of_key on webhook_endpoints (key, id);

-- `next_at` of one that is being sent is when another may take it up, should its sender be gone.
create table deliveries (
    id text primary key,
    key text not null,
    event_id text not null,
    type text not null,
    url text not null,
    created_at real not null,
    generation_id text references generations (id) on delete cascade,
    endpoint_id text references webhook_endpoints (id) on delete cascade,
    state text not null,
    next_at real,
    retries integer not null,
    tries text not null,
    receiver text not null
) strict, without rowid;

create index deliveries_due on deliveries (receiver, next_at) where state = 'pending';
create index deliveries_of_key on deliveries (key, id);
create index deliveries_of_generation on deliveries (generation_id);
create index deliveries_of_endpoint on deliveries (endpoint_id, id);
