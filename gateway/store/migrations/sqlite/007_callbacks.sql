-- Tasks that a provider told of before the reply to their submit was known.
create table callbacks (
    attempt_id text not null references attempts (id) on delete cascade,
    task_id text not null,
    at real not null,
    primary key (attempt_id, task_id)
) strict, without rowid;
