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

-- Whose each task of a provider is: the attempt's that was the first to have it.
create table tasks (
    provider text not null,
    task_id text not null,
    attempt_id text not null references attempts (id) on delete cascade,
    primary key (provider, task_id)
) strict, without rowid;

create index tasks_of_attempt on tasks (attempt_id);

insert or ignore into tasks (provider, task_id, attempt_id)
select json_extract(g.plan, '$.routes[' || a.route || '].provider'), json_extract(task.value, '$.ref.id'), a.id
from attempts as a
cross join generations as g on g.id = a.generation_id
cross join json_each(a.tasks) as task
where a.tasks <> '[]'
order by a.accepted_at, a.id;
