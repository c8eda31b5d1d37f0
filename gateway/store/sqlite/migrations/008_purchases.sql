-- What is left of a deleted generation: one row for each attempt that may have been billed. Nothing that the client
-- sent is here, no prompt, no image, no URL and no metadata. Without a reference to the generation, which is gone.
create table purchases (
    generation_id text not null,
    attempt_id text not null,
    key text not null,
    kind text not null,
    model text not null,
    provider text not null,
    provider_model text not null,
    tasks text not null,
    billed text not null,
    cost_usd real,
    created_at real not null,
    sent_at real,
    ended_at real,
    deleted_at real not null,
    primary key (generation_id, attempt_id)
) strict, without rowid;

create index purchases_by_age on purchases (deleted_at);
