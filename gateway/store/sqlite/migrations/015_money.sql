-- What each generation has reserved and cost, and the sums that budgets are compared with.
-- Amounts are in millionths of a US dollar. An account without money has no row. There is no reference to the
-- generation: the account stays for a while after the delete. `day` is that of the create, in UTC.
create table accounts (
    generation_id text primary key,
    key text not null,
    day text not null,
    reserved integer not null,
    settled integer not null,
    maybe integer not null,
    deleted_at real
) strict, without rowid;

create index accounts_of_deleted on accounts (deleted_at) where deleted_at is not null;

-- The accounts of deleted generations that were stored long enough, added up.
create table closed_accounts (
    key text not null,
    day text not null,
    settled integer not null,
    maybe integer not null,
    primary key (key, day)
) strict, without rowid;

-- The sums of all accounts. `key` is empty for all clients together; `period` is a day, a month, or 'total'.
create table spending (
    key text not null,
    period text not null,
    reserved integer not null,
    settled integer not null,
    maybe integer not null,
    primary key (key, period)
) strict, without rowid;

-- Generations from before this migration with an id below `before` may lack their account. Empty once all have it.
create table accounts_missing (before text not null) strict;

insert into accounts_missing select max(id) || '~' from generations having max(id) is not null;

-- Purchases of generations that were deleted before.
insert into accounts (generation_id, key, day, reserved, settled, maybe, deleted_at)
select
    generation_id,
    min(key),
    strftime('%Y-%m-%d', min(created_at), 'unixepoch'),
    0,
    sum(cast(round(coalesce(cost_usd, 0) * 1000000) as integer)),
    sum(case billed when 'maybe' then cast(round(coalesce(cost_usd, 0) * 1000000) as integer) else 0 end),
    max(deleted_at)
from purchases group by generation_id having sum(coalesce(cost_usd, 0)) > 0;

insert into spending (key, period, reserved, settled, maybe)
select key, day, 0, sum(settled), sum(maybe) from accounts group by key, day
union all select key, substr(day, 1, 7), 0, sum(settled), sum(maybe) from accounts group by key, substr(day, 1, 7)
union all select key, 'total', 0, sum(settled), sum(maybe) from accounts group by key
union all select '', day, 0, sum(settled), sum(maybe) from accounts group by day
union all select '', substr(day, 1, 7), 0, sum(settled), sum(maybe) from accounts group by substr(day, 1, 7)
union all select '', 'total', 0, sum(settled), sum(maybe) from accounts having count(*) > 0;
