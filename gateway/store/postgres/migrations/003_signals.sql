-- Notifications of what a transaction has changed, for the other gateways on the ledger. `signals.py` reads them.

-- How often things of a kind have changed that gateways keep in memory, so that a missed notification is noticed.
create table revisions (
    name text collate "C" primary key,
    number bigint not null
) with (fillfactor = 50);

-- A notification names the replica that makes the change, so that it recognises its own.
create function announce_generation() returns trigger language plpgsql as $$
begin
    perform pg_notify(
        'video_gateway',
        'generation ' || old.id || ' ' || case when tg_op = 'DELETE' then old.version + 1 else new.version end
            || ' ' || coalesce(this_replica(), '')
    );
    return null;
end
$$;

create trigger generation_changed after update of version on generations
    for each row when (old.version <> new.version) execute function announce_generation();

-- Nothing is done any more for a generation that has ended two days ago: retention deletes many of them.
create trigger generation_deleted after delete on generations
    for each row when (old.completed_at is null or old.completed_at > extract(epoch from now()) - 172800)
    execute function announce_generation();

-- The arguments are the kind, and the column with the name of what has changed.
create function announce_revision() returns trigger language plpgsql as $$
declare
    changed jsonb;
    revision bigint;
begin
    if tg_op = 'DELETE' then
        changed := to_jsonb(old);
    else
        changed := to_jsonb(new);
    end if;
    insert into revisions (name, number) values (tg_argv[0], 1)
        on conflict (name) do update set number = revisions.number + 1 returning number into revision;
    perform pg_notify('video_gateway', tg_argv[0] || ' ' || revision || ' ' || (changed ->> tg_argv[1]));
    return null;
end
$$;

create trigger client_changed after insert or update or delete on clients
    for each row execute function announce_revision('clients', 'name');

create trigger client_key_changed after insert or update or delete on client_keys
    for each row execute function announce_revision('clients', 'client');

create trigger provider_hold_changed after insert or update or delete on provider_holds
    for each row execute function announce_revision('holds', 'provider');
