-- The lineage of the ledger, by which a restored copy is recognised.
-- The newest row counts. Rows of before say when and why a new one began.
create table lineages (
    number integer primary key autoincrement,
    id text not null unique,
    began_at real not null,
    reason text,
    marked integer not null default 0
) strict;

-- Since when nothing is bought for a generation, because the ledger is an older copy.
alter table generations add column restored_at real;
create index generations_restored on generations (id)
where restored_at is not null and status in ('queued', 'in_progress');
