create table secrets (
    name text primary key,
    value blob not null
) strict, without rowid;

alter table outputs add column kept text;
create index outputs_to_keep on outputs (expires_at, generation_id) where artifact is not null and kept is null;

-- A row comes before its file and goes after it: so no file is ever there that nothing tells of. Without a reference to
-- its generation, which may be gone before the file is.
create table artifacts (
    name text primary key,
    generation_id text not null,
    kept_until real not null
) strict, without rowid;

create index artifacts_by_age on artifacts (kept_until);
create index artifacts_of_generation on artifacts (generation_id);
