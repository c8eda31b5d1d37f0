create table generations (
    id text primary key,
    key text not null,
    kind text not null,
    model text not null,
    status text not null,
    request text not null,
    plan text not null,
    created_at real not null,
    deadline_at real not null,
    progress real not null,
    provider text,
    provider_model text,
    failure text,
    completed_at real,
    fence integer not null,
    lease_until real not null,
    version integer not null,
    digest blob
) strict, without rowid;

create index generations_of_key on generations (key, kind, id);
create index generations_of_key_by_status on generations (key, kind, status, id);
create index generations_open on generations (id) where status in ('queued', 'in_progress');
-- Equal requests of one minute. The minute comes before the digest, so that new rows go where the newest are, whatever
-- their digests: an index by digest alone would be written to all over, on pages that long have left the memory.
create index generations_of_request on generations (key, cast(created_at / 60 as integer), digest, id);

create table outputs (
    generation_id text not null references generations (id) on delete cascade,
    number integer not null,
    status text not null,
    extra integer not null,
    late integer not null,
    attempt_id text,
    artifact text,
    expires_at real,
    failure text,
    primary key (generation_id, number)
) strict, without rowid;

create table attempts (
    id text primary key,
    generation_id text not null references generations (id) on delete cascade,
    number integer not null,
    route integer not null,
    slots text not null,
    state text not null,
    form text not null,
    reserved_at real not null,
    sent_at real,
    accepted_at real,
    ended_at real,
    tasks text not null,
    failure text,
    billed text,
    retry_after_seconds real,
    amend_form text,
    decision text,
    unique (generation_id, number)
) strict, without rowid;

create index attempts_unknown on attempts (generation_id) where state = 'unknown';
create index attempts_abandoned on attempts (ended_at, generation_id) where state = 'abandoned';
create index attempts_live on attempts (generation_id) where state in ('submitting', 'accepted');

create table events (
    seq integer primary key autoincrement,
    generation_id text not null references generations (id) on delete cascade,
    type text not null,
    data text not null,
    at real not null
) strict;

create index events_of_generation on events (generation_id, seq);

create table files (
    id text not null,
    key text not null,
    sha256 text not null,
    facts text not null,
    created_at real not null,
    inline integer not null,
    primary key (key, id)
) strict, without rowid;

create index files_of_blob on files (sha256);

create table generation_files (
    generation_id text not null references generations (id) on delete cascade,
    key text not null,
    file_id text not null,
    primary key (generation_id, file_id),
    foreign key (key, file_id) references files (key, id)
) strict, without rowid;

create index generation_files_of_file on generation_files (key, file_id);

-- Outlives its generation: a repeat must not buy again what was bought and deleted.
create table idempotency_keys (
    key text not null,
    idempotency_key text not null,
    digest blob not null,
    generation_id text not null,
    created_at real not null,
    primary key (key, idempotency_key)
) strict, without rowid;

create index idempotency_keys_by_age on idempotency_keys (created_at);

-- The same for requests without a key, for as long as a retry of them may come.
create table deleted_generations (
    generation_id text primary key,
    key text not null,
    digest blob not null,
    created_at real not null
) strict, without rowid;

create index deleted_generations_of_request on deleted_generations (key, digest);
create index deleted_generations_by_age on deleted_generations (created_at);
