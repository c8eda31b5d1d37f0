alter table files add column filename text not null default '';
alter table files add column purpose text not null default '';
alter table files add column expires_at real;
create index files_by_expiry on files (expires_at) where expires_at is not null;
create index files_by_id on files (id);
-- What was uploaded by itself: without it a list would go through everything that came inline.
create index files_of_library on files (key, id) where inline = 0;
