-- Who told of an attempt's tasks, where no reply to its submit has named them: 'callback' or 'operator'.
alter table attempts add column adopted text;

-- Tasks that a provider told of before anything else was known of their submit.
create table callbacks (
    attempt_id text not null references attempts (id) on delete cascade,
    task_id text not null,
    ref text not null,
    at real not null,
    primary key (attempt_id, task_id)
) strict, without rowid;
