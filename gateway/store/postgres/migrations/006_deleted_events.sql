-- works with programs from schema 3
-- The largest number of an event that was deleted, so that a delete does not look like a ledger that has lost commits.

create table newest_deleted_event (
    id bigint primary key check (id = 1),  -- there is one row
    number bigint not null
);

create function note_deleted_events() returns trigger language plpgsql as $$
begin
    insert into newest_deleted_event as noted (id, number)
        select 1, max(seq) from deleted having count(*) > 0
        on conflict (id) do update set number = excluded.number where excluded.number > noted.number;
    return null;
end $$;

create trigger events_deleted after delete on events
    referencing old table as deleted for each statement execute function note_deleted_events();
