-- works with programs from schema 3
-- Limits that hold over all gateways on the ledger: submits in flight, open generations, and requests of clients.

-- The submits in flight, each with the provider that it goes to. Triggers keep them, for every program.
create table submits_in_flight (
    attempt_id text collate "C" primary key,
    account text collate "C" not null
) with (fillfactor = 50);

create index submits_in_flight_of_account on submits_in_flight (account);

insert into submits_in_flight (attempt_id, account)
    select a.id, g.plan::json -> 'routes' -> a.route::int ->> 'provider'
    from attempts as a join generations as g on g.id = a.generation_id where a.state = 'submitting';

create function note_submit() returns trigger language plpgsql as $$
begin
    if tg_op <> 'INSERT' then
        delete from submits_in_flight where attempt_id = old.id;
    end if;
    if tg_op <> 'DELETE' and new.state = 'submitting' then
        insert into submits_in_flight (attempt_id, account)
            select new.id, plan::json -> 'routes' -> new.route::int ->> 'provider'
            from generations where id = new.generation_id;
    end if;
    return null;
end $$;

create trigger submit_inserted after insert on attempts
    for each row when (new.state = 'submitting') execute function note_submit();

create trigger submit_noted after update of state on attempts
    for each row when (old.state <> new.state and (old.state = 'submitting' or new.state = 'submitting'))
    execute function note_submit();

create trigger submit_deleted after delete on attempts
    for each row when (old.state = 'submitting') execute function note_submit();

-- Replicas that wait for a place for a submit, and since when. One that has not asked again for a while waits no more.
create table waiting_submits (
    account text collate "C" not null,
    replica text collate "C" not null,
    since timestamptz not null default clock_timestamp(),
    asked_at timestamptz not null default clock_timestamp(),
    primary key (account, replica)
) with (fillfactor = 50);

-- Whether the replica of the session may begin a submit to a provider that takes so many at the same time. Those that
-- have waited longer come first. Otherwise a replica with much to do would take each place that it frees by itself.
create function submit_has_place(provider text, places bigint) returns boolean language plpgsql as $$
declare
    own text := coalesce(this_replica(), '');
    own_since timestamptz;
    taken bigint;
begin
    select count(*) into taken from submits_in_flight where account = provider;
    select since into own_since from waiting_submits where account = provider and replica = own;
    taken := taken + (
        select count(*) from waiting_submits
        where account = provider and replica <> own and asked_at > clock_timestamp() - interval '2 seconds'
            and (own_since is null or (since, replica) < (own_since, own))
    );
    if taken >= places then
        insert into waiting_submits (account, replica) values (provider, own)
            on conflict (account, replica) do update set asked_at = clock_timestamp();
        return false;
    end if;
    if own_since is not null then
        delete from waiting_submits where account = provider and replica = own;
    end if;
    return true;
end $$;

-- How many generations are open, of each owner and in total (with the owner ''). A trigger keeps the counts.
create table open_counts (
    key text collate "C" primary key,
    generations bigint not null
) with (fillfactor = 10);

insert into open_counts (key, generations)
    select key, count(*) from generations where status in ('queued', 'in_progress') group by key
    union all select '', count(*) from generations where status in ('queued', 'in_progress') having count(*) > 0;

create function count_open() returns trigger language plpgsql as $$
declare
    of_owner text := case when tg_op = 'INSERT' then new.key else old.key end;
    change bigint := case when tg_op = 'INSERT' then 1 else -1 end;
begin
    insert into open_counts (key, generations) values (of_owner, change)
        on conflict (key) do update set generations = open_counts.generations + excluded.generations;
    insert into open_counts (key, generations) values ('', change)
        on conflict (key) do update set generations = open_counts.generations + excluded.generations;
    return null;
end $$;

create trigger generation_opened after insert on generations
    for each row when (new.status in ('queued', 'in_progress')) execute function count_open();

create trigger generation_ended after update of status on generations
    for each row when (old.status in ('queued', 'in_progress') and new.status not in ('queued', 'in_progress'))
    execute function count_open();

create trigger open_generation_deleted after delete on generations
    for each row when (old.status in ('queued', 'in_progress')) execute function count_open();

-- An adoption gives generations to another owner.
create function move_open_count() returns trigger language plpgsql as $$
begin
    insert into open_counts (key, generations) values (old.key, -1), (new.key, 1)
        on conflict (key) do update set generations = open_counts.generations + excluded.generations;
    return null;
end $$;

create trigger open_generation_moved after update of key on generations
    for each row when (old.key <> new.key and new.status in ('queued', 'in_progress'))
    execute function move_open_count();

-- How many requests each client with a limit may still send. Unlogged, so that no request waits for the disk: after a
-- crash of the server each client may send the requests of a minute again.
create unlogged table request_rates (
    key text collate "C" primary key,
    unused double precision not null,
    at timestamptz not null
) with (fillfactor = 10);

-- Take requests of a client: as many as `wanted`, or as there are. `most` is how many there can be at once. `returned`
-- were taken before, and not used. Everything is counted by the clock of the database.
create function take_requests(
    client text, per_minute double precision, most double precision, wanted double precision, returned double precision,
    out taken double precision, out unused double precision
) language plpgsql as $$
declare
    moment timestamptz;
    before request_rates;
begin
    insert into request_rates (key, unused, at) values (client, most, clock_timestamp()) on conflict do nothing;
    select * into before from request_rates where key = client for update;
    moment := greatest(clock_timestamp(), before.at);
    unused := least(before.unused + returned + extract(epoch from moment - before.at) * per_minute / 60, most);
    taken := least(wanted, floor(unused));
    unused := unused - taken;
    update request_rates set unused = take_requests.unused, at = moment where key = client;
end $$;
