-- The whole schema. It has the tables, columns and indexes of the ledger in SQLite, and the same names.
-- Texts are compared by bytes (collation "C"): the order of ids is the order of creation.

-- The bodies of these functions are parsed now: an index is built without a search path that names this schema.

-- A JSON text without the character U+0000, which PostgreSQL cannot have in a text: a provider may send it in a message.
-- The escape counts only after an even number of backslashes.
create function json_text(document text) returns text language sql immutable parallel safe
return case
    when strpos(document, '\u0000') = 0 then document
    else regexp_replace(document, '(?<!\\)((?:\\\\)*)\\u0000', '\1\ufffd', 'g')
end;

-- As in SQLite, but the result is always a text. Immutable, so that it can be in an index.
create function json_extract(document text, path text) returns text language sql immutable parallel safe
return jsonb_path_query_first(cast(json_text(document) as jsonb), cast(path as jsonpath)) #>> '{}';

-- The elements of a JSON array as texts.
create function json_elements(document text) returns table (value text) language sql immutable parallel safe rows 20
begin atomic
    select element from json_array_elements_text(cast(json_text(document) as json)) as each (element);
end;

-- A page keeps some room, so that a changed row can stay on its page and its indexes need no new entry.
create table generations (
    id text collate "C" primary key,
    key text collate "C" not null,
    kind text collate "C" not null,
    model text collate "C" not null,
    status text collate "C" not null,
    request text collate "C" not null,
    plan text collate "C" not null,
    created_at double precision not null,
    deadline_at double precision not null,
    progress double precision not null,
    provider text collate "C",
    provider_model text collate "C",
    failure text collate "C",
    completed_at double precision,
    fence bigint not null,
    lease_until double precision not null,
    version bigint not null,
    digest bytea,
    fell_back bigint not null default 0,
    maybe_billed bigint not null default 0,
    restored_at double precision,
    trace text collate "C"
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index generations_of_key on generations (key, kind, id);
create index generations_of_key_by_status on generations (key, kind, status, id);
create index generations_open on generations (id) where status in ('queued', 'in_progress');

-- Equal requests of one minute. The minute comes before the digest, so that new rows go where the newest are.
create index generations_of_request on generations (key, cast(floor(created_at / 60) as bigint), digest, id);
create index generations_by_model on generations (key, kind, model, id);
create index generations_by_provider on generations (key, kind, provider, id) where provider is not null;
create index generations_by_input on generations (key, kind, json_extract(request, '$.input.type'), id);
create index generations_by_end on generations (completed_at, id) where completed_at is not null;
create index generations_of_all_by_status on generations (kind, status, id);
create index generations_of_all_by_model on generations (kind, model, id);
create index generations_of_all_by_provider on generations (kind, provider, id) where provider is not null;
create index generations_by_failure on generations (kind, json_extract(failure, '$.kind'), id)
    where json_extract(failure, '$.kind') is not null;
create index generations_fell_back on generations (kind, id) where fell_back = 1;
create index generations_maybe_billed on generations (kind, id) where maybe_billed = 1;
create index generations_restored on generations (id)
    where restored_at is not null and status in ('queued', 'in_progress');

-- `unkept_until`: when the provider's link to a file ends that is not kept.
create table outputs (
    generation_id text collate "C" not null references generations (id) on delete cascade,
    number bigint not null,
    status text collate "C" not null,
    extra bigint not null,
    attempt_id text collate "C",
    artifact text collate "C",
    expires_at double precision,
    failure text collate "C",
    late bigint not null default 0,
    kept text collate "C",
    unkept_until double precision,
    primary key (generation_id, number)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index outputs_to_keep on outputs (unkept_until, generation_id) where unkept_until is not null;

create table attempts (
    id text collate "C" primary key,
    generation_id text collate "C" not null references generations (id) on delete cascade,
    number bigint not null,
    route bigint not null,
    slots text collate "C" not null,
    state text collate "C" not null,
    form text collate "C" not null,
    reserved_at double precision not null,
    sent_at double precision,
    accepted_at double precision,
    ended_at double precision,
    tasks text collate "C" not null,
    failure text collate "C",
    billed text collate "C",
    retry_after_seconds double precision,
    amend_form text collate "C",
    decision text collate "C",
    adopted text collate "C",
    upstream text collate "C",
    unique (generation_id, number)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index attempts_unknown on attempts (generation_id) where state = 'unknown';
create index attempts_abandoned on attempts (ended_at, generation_id) where state = 'abandoned';
create index attempts_live on attempts (generation_id) where state in ('submitting', 'accepted');

-- Transactions that write are serial, so the numbers follow the order of the commits.
create table events (
    seq bigint generated always as identity primary key,
    generation_id text collate "C" not null references generations (id) on delete cascade,
    type text collate "C" not null,
    data text collate "C" not null,
    at double precision not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index events_of_generation on events (generation_id, seq);

-- The pairs of `metadata`, which are in `request` too. Without a reference to the generation, which would need a second
-- index that is written with every pair.
create table generation_metadata (
    key text collate "C" not null,
    kind text collate "C" not null,
    name text collate "C" not null,
    value text collate "C" not null,
    generation_id text collate "C" not null,
    primary key (key, kind, name, value, generation_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create table files (
    id text collate "C" not null,
    key text collate "C" not null,
    sha256 text collate "C" not null,
    facts text collate "C" not null,
    created_at double precision not null,
    inline bigint not null default 1,
    filename text collate "C" not null default '',
    purpose text collate "C" not null default '',
    expires_at double precision,
    primary key (key, id)
);

create index files_of_blob on files (sha256);
create index files_by_expiry on files (expires_at) where expires_at is not null;
create index files_by_id on files (id);
create index files_of_library on files (key, id) where inline = 0;
create index files_by_size on files (key, expires_at) where inline = 0;
create index files_of_purpose on files (key, purpose, id) where inline = 0;

create table generation_files (
    generation_id text collate "C" not null references generations (id) on delete cascade,
    key text collate "C" not null,
    file_id text collate "C" not null,
    primary key (generation_id, file_id),
    foreign key (key, file_id) references files (key, id) deferrable  -- an adoption moves both
);

create index generation_files_of_file on generation_files (key, file_id);

-- How many bytes a key has in images that came within creates. Triggers keep the sum.
create table inline_bytes (
    key text collate "C" primary key,
    bytes bigint not null
) with (fillfactor = 50);

-- Outlives its generation: a repeat must not buy again what was bought and deleted.
create table idempotency_keys (
    key text collate "C" not null,
    idempotency_key text collate "C" not null,
    digest bytea not null,
    generation_id text collate "C" not null,
    created_at double precision not null,
    primary key (key, idempotency_key)
);

create index idempotency_keys_by_age on idempotency_keys (created_at);

-- The same for requests without a key, for as long as a retry of them may come.
create table deleted_generations (
    generation_id text collate "C" primary key,
    key text collate "C" not null,
    digest bytea not null,
    created_at double precision not null
);

-- Equal requests of one minute. The minute comes before the digest, so that new rows go where the newest are.
create index deleted_generations_of_request on deleted_generations (key, digest);
create index deleted_generations_by_age on deleted_generations (created_at);

-- A row comes before its file and goes after it. Without a reference to its generation, which may be gone before.
create table artifacts (
    name text collate "C" primary key,
    generation_id text collate "C" not null,
    kept_until double precision not null
);

create index artifacts_by_age on artifacts (kept_until);
create index artifacts_of_generation on artifacts (generation_id);

-- What a provider holds of our inputs, by the account it was uploaded with, its content, and what was made of that.
create table uploads (
    account text collate "C" not null,
    sha256 text collate "C" not null,
    recipe text collate "C" not null,
    url text collate "C" not null,
    expires_at double precision not null,
    primary key (account, sha256, recipe)
);

create index uploads_by_expiry on uploads (expires_at);

-- Tasks that a provider reported before anything else was stored of their submit.
create table callbacks (
    attempt_id text collate "C" not null references attempts (id) on delete cascade,
    task_id text collate "C" not null,
    ref text collate "C" not null,
    at double precision not null,
    primary key (attempt_id, task_id)
);

-- The attempt that each task of a provider belongs to: the first that had it.
create table tasks (
    provider text collate "C" not null,
    task_id text collate "C" not null,
    attempt_id text collate "C" not null references attempts (id) on delete cascade,
    primary key (provider, task_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index tasks_of_attempt on tasks (attempt_id);

-- What is left of a deleted generation: one row for each attempt that may have been billed.
create table purchases (
    generation_id text collate "C" not null,
    attempt_id text collate "C" not null,
    key text collate "C" not null,
    kind text collate "C" not null,
    model text collate "C" not null,
    provider text collate "C" not null,
    provider_model text collate "C" not null,
    tasks text collate "C" not null,
    billed text collate "C" not null,
    cost_usd double precision,
    created_at double precision not null,
    sent_at double precision,
    ended_at double precision,
    deleted_at double precision not null,
    primary key (generation_id, attempt_id)
);

create index purchases_by_age on purchases (deleted_at);
create index purchases_of_key on purchases (key);

create table webhook_endpoints (
    id text collate "C" primary key,
    key text collate "C" not null,
    url text collate "C" not null,
    events text collate "C" not null,
    description text collate "C",
    secrets text collate "C" not null,
    disabled text collate "C",
    created_at double precision not null
);

create index webhook_endpoints_of_key on webhook_endpoints (key, id);

-- `next_at` of one that is being sent is when another may take it up, should its sender be gone.
create table deliveries (
    id text collate "C" primary key,
    key text collate "C" not null,
    event_id text collate "C" not null,
    type text collate "C" not null,
    url text collate "C" not null,
    created_at double precision not null,
    generation_id text collate "C" references generations (id) on delete cascade,
    endpoint_id text collate "C" references webhook_endpoints (id) on delete cascade,
    state text collate "C" not null,
    next_at double precision,
    retries bigint not null,
    tries text collate "C" not null,
    receiver text collate "C" not null,
    output bigint
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index deliveries_due on deliveries (key, receiver, next_at) where state = 'pending';
create index deliveries_of_key on deliveries (key, id);
create index deliveries_of_state on deliveries (key, state, id);
create index deliveries_of_generation on deliveries (generation_id, id);
create index deliveries_of_endpoint on deliveries (endpoint_id, id);
create index deliveries_of_endpoint_state on deliveries (endpoint_id, state, id);
create index deliveries_of_tests on deliveries (endpoint_id, state) where generation_id is null;
create index deliveries_of_all_by_state on deliveries (state, id);

-- Where a key has something to be sent to, and when the first of it is due. Triggers keep it so.
create table receivers (
    key text collate "C" not null,
    name text collate "C" not null,
    next_at double precision not null,
    primary key (key, name)
) with (fillfactor = 50);

create index receivers_of_key on receivers (key, next_at);
create index receivers_next on receivers (next_at);

-- Made at run time. Those of the configuration are not here.
create table clients (
    name text collate "C" primary key,
    limits text collate "C" not null,
    created_at double precision not null
);

-- Made at run time, also for clients of the configuration. A key itself is not here.
create table client_keys (
    id text collate "C" primary key,
    client text collate "C" not null,
    sha256 bytea not null unique,
    label text collate "C" not null,
    scopes text collate "C" not null,
    created_at double precision not null,
    expires_at double precision,
    revoked_at double precision
);

create index client_keys_of_client on client_keys (client, id);

-- How many outputs a client with a limit of them has created on a day of UTC.
create table client_days (
    key text collate "C" not null,
    day text collate "C" not null,
    outputs bigint not null,
    primary key (key, day)
) with (fillfactor = 50);

-- Keys that were clients by themselves, and what owns their things since.
create table adopted_owners (
    owner text collate "C" primary key,
    client text collate "C" not null,
    adopted_at double precision not null
);

create index adopted_owners_of_client on adopted_owners (client, owner);

-- What each generation has reserved and cost, in millionths of a US dollar. It outlives its generation for a while.
create table accounts (
    generation_id text collate "C" primary key,
    key text collate "C" not null,
    day text collate "C" not null,
    reserved bigint not null,
    settled bigint not null,
    maybe bigint not null,
    deleted_at double precision
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index accounts_of_deleted on accounts (deleted_at) where deleted_at is not null;

-- The accounts of deleted generations that were stored long enough, added up.
create table closed_accounts (
    key text collate "C" not null,
    day text collate "C" not null,
    settled bigint not null,
    maybe bigint not null,
    primary key (key, day)
);

-- The sums of all accounts. `key` is empty for all clients together; `period` is a day, a month, or 'total'.
create table spending (
    key text collate "C" not null,
    period text collate "C" not null,
    reserved bigint not null,
    settled bigint not null,
    maybe bigint not null,
    primary key (key, period)
) with (fillfactor = 50);

-- Generations with an id below `before` may lack their account. Empty unless a ledger of an old version was moved here.
create table accounts_missing (
    before text collate "C" not null
);

-- What was made and bought, by day, client, model and provider. `provider` is empty where none was tried.
create table usage (
    day text collate "C" not null,
    key text collate "C" not null,
    model text collate "C" not null,
    provider text collate "C" not null,
    queued bigint not null,
    in_progress bigint not null,
    completed bigint not null,
    failed bigint not null,
    cancelled bigint not null,
    expired bigint not null,
    fallbacks bigint not null,
    attempts bigint not null,
    outputs bigint not null,
    milliseconds bigint not null,
    cost bigint not null,
    maybe bigint not null,
    reserved bigint not null,
    unpriced bigint not null,
    primary key (key, day, model, provider)
) with (fillfactor = 70);

create index usage_by_day on usage (day);

-- How many completed generations took how long, by bucket.
create table usage_times (
    day text collate "C" not null,
    key text collate "C" not null,
    model text collate "C" not null,
    provider text collate "C" not null,
    bucket bigint not null,
    number bigint not null,
    primary key (key, day, model, provider, bucket)
) with (fillfactor = 70);

create index usage_times_by_day on usage_times (day);

-- The generations that usage does not count yet. Empty unless a ledger of an old version was moved here.
create table usage_uncounted (
    after text collate "C" not null,
    until text collate "C" not null
);

-- The providers that an operator has taken out of new work, until they are released.
create table provider_holds (
    provider text collate "C" primary key,
    held_at double precision not null,
    held_by text collate "C",
    note text collate "C"
);

-- The lineage of the ledger, by which a restored copy is recognised. The newest row counts.
create table lineages (
    number bigint generated always as identity primary key,
    id text collate "C" not null unique,
    began_at double precision not null,
    reason text collate "C",
    marked bigint not null default 0
);

create table secrets (
    name text collate "C" primary key,
    value bytea not null
);

-- When the first delivery to a receiver is due, after one of its deliveries has left.
create function follow_receiver(of_key text, of_name text) returns void language plpgsql as $$
declare
    due double precision;
begin
    select next_at into due from deliveries
        where key = of_key and receiver = of_name and state = 'pending' order by next_at limit 1;
    if due is null then
        delete from receivers where key = of_key and name = of_name;
    else
        insert into receivers (key, name, next_at) values (of_key, of_name, due)
            on conflict (key, name) do update set next_at = excluded.next_at
            where receivers.next_at <> excluded.next_at;
    end if;
end
$$;

create function delivery_joined() returns trigger language plpgsql as $$
begin
    insert into receivers (key, name, next_at) values (new.key, new.receiver, new.next_at)
        on conflict (key, name) do update set next_at = excluded.next_at
        where excluded.next_at < receivers.next_at;
    return null;
end
$$;

create function delivery_left() returns trigger language plpgsql as $$
begin
    perform follow_receiver(old.key, old.receiver);
    return null;
end
$$;

create trigger delivery_added after insert on deliveries
    for each row when (new.state = 'pending') execute function delivery_joined();

create trigger delivery_joined after update of receiver, state, next_at on deliveries
    for each row when (new.state = 'pending' and (old.state <> 'pending' or old.receiver <> new.receiver))
    execute function delivery_joined();

create trigger delivery_left after update of receiver, state, next_at on deliveries
    for each row when (old.state = 'pending') execute function delivery_left();

create trigger delivery_removed after delete on deliveries
    for each row when (old.state = 'pending') execute function delivery_left();

create function inline_image_added() returns trigger language plpgsql as $$
begin
    insert into inline_bytes (key, bytes) values (new.key, cast(json_extract(new.facts, '$.bytes') as bigint))
        on conflict (key) do update set bytes = inline_bytes.bytes + excluded.bytes;
    return null;
end
$$;

create function inline_image_removed() returns trigger language plpgsql as $$
begin
    update inline_bytes set bytes = bytes - cast(json_extract(old.facts, '$.bytes') as bigint) where key = old.key;
    return null;
end
$$;

create trigger inline_image_added after insert on files
    for each row when (new.inline = 1) execute function inline_image_added();

create trigger inline_image_removed after delete on files
    for each row when (old.inline = 1) execute function inline_image_removed();

-- Whether a generation was tried on more than one route. An attempt that was dropped before it was sent, without a
-- failure, was not a try.
create function follow_fall_back() returns trigger language plpgsql as $$
begin
    update generations as g set fell_back = tried.several
    from (
        select case when count(distinct route) > 1 then 1 else 0 end as several from attempts
        where generation_id = new.generation_id and not (state = 'not_sent' and failure is null)
    ) as tried
    where g.id = new.generation_id and g.fell_back <> tried.several;
    return null;
end
$$;

create trigger attempt_fell_back after insert on attempts
    for each row when (new.number > 1) execute function follow_fall_back();

create trigger attempt_dropped after update of state on attempts
    for each row when (new.state = 'not_sent' and new.failure is null and old.state <> 'not_sent')
    execute function follow_fall_back();

-- Whether one of the attempts of a generation may have been billed.
create function follow_maybe_billed() returns trigger language plpgsql as $$
begin
    update generations as g set maybe_billed = billed_one.maybe
    from (
        select case when exists (select 1 from attempts where generation_id = new.generation_id and billed = 'maybe')
            then 1 else 0 end as maybe
    ) as billed_one
    where g.id = new.generation_id and g.maybe_billed <> billed_one.maybe;
    return null;
end
$$;

create trigger attempt_added_maybe after insert on attempts
    for each row when (new.billed = 'maybe') execute function follow_maybe_billed();

create trigger attempt_changed_maybe after update of billed on attempts
    for each row when ((new.billed is not distinct from 'maybe') <> (old.billed is not distinct from 'maybe'))
    execute function follow_maybe_billed();
