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
    version integer not null
) strict, without rowid;

create index generations_of_key on generations (key, kind, id);
create index generations_of_key_by_status on generations (key, kind, status, id);
create index generations_open on generations (id) where status in ('queued', 'in_progress');

create table outputs (
    generation_id text not null references generations (id) on delete cascade,
    number integer not null,
    status text not null,
    extra integer not null,
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
    unique (generation_id, number)
) strict, without rowid;

create index attempts_submitting on attempts (generation_id) where state = 'submitting';

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
    primary key (key, id)
) strict, without rowid;

create table idempotency_keys (
    key text not null,
    idempotency_key text not null,
    digest blob not null,
    generation_id text not null references generations (id) on delete cascade,
    created_at real not null,
    primary key (key, idempotency_key)
) strict, without rowid;

create index idempotency_keys_of_generation on idempotency_keys (generation_id);
