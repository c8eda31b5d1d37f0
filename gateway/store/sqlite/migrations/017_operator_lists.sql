-- Lists for operators, over the generations of all clients. As in the lists of one client, each filter has an index
-- that ends with the id. A list without a filter reads the primary key, or the indexes of all statuses of one kind.
create index generations_of_all_by_status on generations (kind, status, id);
create index generations_of_all_by_model on generations (kind, model, id);
create index generations_of_all_by_provider on generations (kind, provider, id) where provider is not null;
create index generations_by_failure on generations (kind, json_extract(failure, '$.kind'), id)
    where json_extract(failure, '$.kind') is not null;

-- What the attempts of a generation say about it: whether it was tried on more than one route, and whether one of them
-- may have been billed. Triggers keep both, so that no writer of attempts can forget them. Few generations have either,
-- so their indexes are short.
alter table generations add column fell_back integer not null default 0;
alter table generations add column maybe_billed integer not null default 0;
update generations set fell_back = 1 where id in (
    select generation_id from attempts where not (state = 'not_sent' and failure is null)
    group by generation_id having count(distinct route) > 1
);
update generations set maybe_billed = 1 where id in (select generation_id from attempts where billed = 'maybe');
create index generations_fell_back on generations (kind, id) where fell_back = 1;
create index generations_maybe_billed on generations (kind, id) where maybe_billed = 1;

create trigger attempt_fell_back after insert on attempts when new.number > 1 begin
    update generations set fell_back = 1 where id = new.generation_id and fell_back = 0 and exists (
        -- An attempt that was dropped before it was sent, without a failure, was not a try.
        select 1 from attempts where generation_id = new.generation_id and route <> new.route
            and not (state = 'not_sent' and failure is null)
    );
end;

create trigger attempt_dropped after update of state on attempts
    when new.state = 'not_sent' and new.failure is null and old.state <> 'not_sent'
begin
    update generations set fell_back = 0 where id = new.generation_id and fell_back = 1 and (
        select count(distinct route) from attempts where generation_id = new.generation_id
            and not (state = 'not_sent' and failure is null)
    ) < 2;
end;

create trigger attempt_added_maybe after insert on attempts when new.billed = 'maybe' begin
    update generations set maybe_billed = 1 where id = new.generation_id;
end;

create trigger attempt_changed_maybe after update of billed on attempts
    when (new.billed is 'maybe') <> (old.billed is 'maybe')
begin
    update generations set maybe_billed = exists (
        select 1 from attempts where generation_id = new.generation_id and billed = 'maybe'
    ) where id = new.generation_id;
end;

-- Deliveries of all clients in one state.
create index deliveries_of_all_by_state on deliveries (state, id);

-- The providers that an operator has taken out of new work, until they are released. No submit begins for them.
create table provider_holds (
    provider text primary key,
    held_at real not null,
    held_by text,
    note text
) strict, without rowid;
