alter table generations add column digest blob;

-- Equal requests of one minute. The minute comes before the digest, so that new rows go where the newest are, whatever
-- their digests: an index by digest alone would be written to all over, on pages that long have left the memory.
create index generations_of_request on generations (key, cast(created_at / 60 as integer), digest, id);

alter table outputs add column late integer not null default 0;

alter table attempts add column decision text;
drop index attempts_submitting;
create index attempts_unknown on attempts (generation_id) where state = 'unknown';
create index attempts_abandoned on attempts (ended_at, generation_id) where state = 'abandoned';
create index attempts_live on attempts (generation_id) where state in ('submitting', 'accepted');

alter table files add column inline integer not null default 1;
create index files_of_blob on files (sha256);

create table generation_files (
    generation_id text not null references generations (id) on delete cascade,
    key text not null,
    file_id text not null,
    primary key (generation_id, file_id),
    foreign key (key, file_id) references files (key, id)
) strict, without rowid;

create index generation_files_of_file on generation_files (key, file_id);

insert into generation_files (generation_id, key, file_id)
select distinct g.id, g.key, f.id
from generations as g
cross join json_tree(g.request) as named
cross join files as f on f.key = g.key and f.id = named.value
where named.type = 'text' and named.value like 'file\_%' escape '\';

-- Outlives its generation: a repeat must not buy again what was bought and deleted.
create table idempotency_keys_kept (
    key text not null,
    idempotency_key text not null,
    digest blob not null,
    generation_id text not null,
    created_at real not null,
    primary key (key, idempotency_key)
) strict, without rowid;

insert into idempotency_keys_kept (key, idempotency_key, digest, generation_id, created_at)
select key, idempotency_key, digest, generation_id, created_at
from idempotency_keys;

drop table idempotency_keys;
alter table idempotency_keys_kept rename to idempotency_keys;
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
