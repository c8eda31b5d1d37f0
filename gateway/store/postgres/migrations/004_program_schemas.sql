-- works with programs from schema 3
-- Which programs are at work, so that no migration takes away what one of them needs.

-- The newest schema that the program of a replica has. One that does not say it is of schema 3.
alter table replicas add column schema bigint not null default 3;
