alter table files add column filename text;
alter table files add column purpose text;
alter table files add column expires_at real;
create index files_by_expiry on files (expires_at) where expires_at is not null;
