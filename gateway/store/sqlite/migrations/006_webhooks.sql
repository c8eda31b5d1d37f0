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

create index deliveries_due on deliveries (key, receiver, next_at) where state = 'pending';
create index deliveries_of_key on deliveries (key, id);
create index deliveries_of_state on deliveries (key, state, id);
create index deliveries_of_generation on deliveries (generation_id, id);
create index deliveries_of_endpoint on deliveries (endpoint_id, id);
create index deliveries_of_endpoint_state on deliveries (endpoint_id, state, id);

-- Where a key has something to be sent to, and when the first of it is due: kept so by whatever changes a delivery.
create table receivers (
    key text not null,
    name text not null,
    next_at real not null,
    primary key (key, name)
) strict, without rowid;

create index receivers_of_key on receivers (key, next_at);
create index receivers_next on receivers (next_at);

create trigger delivery_added after insert on deliveries when new.state = 'pending'
begin
    insert into receivers values (new.key, new.receiver, new.next_at)
        on conflict (key, name) do update set next_at = excluded.next_at where excluded.next_at < next_at;
end;

create trigger delivery_left after update of receiver, state, next_at on deliveries when old.state = 'pending'
begin
    delete from receivers where key = old.key and name = old.receiver;
    insert into receivers select key, receiver, next_at from deliveries
        where key = old.key and receiver = old.receiver and state = 'pending' order by next_at limit 1;
end;

create trigger delivery_joined after update of receiver, state, next_at on deliveries
    when new.state = 'pending' and (old.state <> 'pending' or old.receiver <> new.receiver)
begin
    insert into receivers values (new.key, new.receiver, new.next_at)
        on conflict (key, name) do update set next_at = excluded.next_at where excluded.next_at < next_at;
end;

create trigger delivery_removed after delete on deliveries when old.state = 'pending'
begin
    delete from receivers where key = old.key and name = old.receiver;
    insert into receivers select key, receiver, next_at from deliveries
        where key = old.key and receiver = old.receiver and state = 'pending' order by next_at limit 1;
end;
