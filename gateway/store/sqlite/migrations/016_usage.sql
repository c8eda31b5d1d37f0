-- What was made and bought, by day, client, model and provider.
-- The rows are the sums of what the generations contribute, which `gateway/domain/usage/contribution.py` defines, also
-- of those that are deleted. `day` is that of the create, in UTC. `provider` is empty where none was tried.
create table usage (
    day text not null,
    key text not null,
    model text not null,
    provider text not null,
    queued integer not null,
    in_progress integer not null,
    completed integer not null,
    failed integer not null,
    cancelled integer not null,
    expired integer not null,
    fallbacks integer not null,
    attempts integer not null,
    outputs integer not null,
    milliseconds integer not null,
    cost integer not null,
    maybe integer not null,
    reserved integer not null,
    unpriced integer not null,
    primary key (key, day, model, provider)
) strict, without rowid;

create index usage_by_day on usage (day);

-- How many completed generations took how long: by bucket, which `gateway/domain/usage/completion_times.py` defines.
create table usage_times (
    day text not null,
    key text not null,
    model text not null,
    provider text not null,
    bucket integer not null,
    number integer not null,
    primary key (key, day, model, provider, bucket)
) strict, without rowid;

create index usage_times_by_day on usage_times (day);

-- The generations from before this migration that are not counted yet: those with an id above `after`, and at most
-- `until`. They are counted in the background; then there is no row.
create table usage_uncounted (after text not null, until text not null) strict;

insert into usage_uncounted select '', max(id) from generations having max(id) is not null;

-- Of generations that were deleted before, the money is still known.
insert into usage
select
    strftime('%Y-%m-%d', created_at, 'unixepoch'), key, model, provider,
    0, 0, 0, 0, 0, 0, 0, count(*), 0, 0,
    sum(cast(round(coalesce(cost_usd, 0) * 1000000) as integer)),
    sum(case billed when 'maybe' then cast(round(coalesce(cost_usd, 0) * 1000000) as integer) else 0 end),
    0, sum(cost_usd is null)
from purchases group by 1, 2, 3, 4;

-- Ended generations in the order of their ends, for those that have been stored long enough.
create index generations_by_end on generations (completed_at, id) where completed_at is not null;
