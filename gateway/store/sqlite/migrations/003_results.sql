create table secrets (
    name text primary key,
    value blob not null
) strict, without rowid;

alter table outputs add column kept text;

-- When the provider's link to a file ends that is not kept: in the index alone is all that a start needs to know.
alter table outputs add column unkept_until real;
update outputs set unkept_until = expires_at where artifact is not null;
create index outputs_to_keep on outputs (unkept_until, generation_id) where unkept_until is not null;

-- A row comes before its file and goes after it: so no file is ever there that nothing tells of. Without a reference to
-- its generation, which may be gone before the file is.
create table artifacts (
    name text primary key,
    generation_id text not null,
    kept_until real not null
) strict, without rowid;

create index artifacts_by_age on artifacts (kept_until);
create index artifacts_of_generation on artifacts (generation_id);
