-- Each filter of a list has an index that ends with the id, so that a page of a long history is read from where it
-- begins, and a list with several filters steps from one index to the other.
create index generations_by_model on generations (key, kind, model, id);
create index generations_by_provider on generations (key, kind, provider, id) where provider is not null;
create index generations_by_input on generations (key, kind, json_extract(request, '$.input.type'), id);

-- The pairs of `metadata`, which are in `request` too. The delete of a generation removes them by their whole key. A
-- reference to the generation would need a second index, written with every pair.
create table generation_metadata (
    key text not null,
    kind text not null,
    name text not null,
    value text not null,
    generation_id text not null,
    primary key (key, kind, name, value, generation_id)
) strict, without rowid;

-- Sorted, because rows in the order of creation would be written to pages all over the table.
insert into generation_metadata (key, kind, name, value, generation_id)
select g.key, g.kind, pair.key, pair.value, g.id
from generations as g
cross join json_each(g.request, '$.metadata') as pair
where pair.type = 'text'
order by 1, 2, 3, 4, 5;

-- Its reads are those of any other pair now.
drop index generations_by_external_task_id;

-- Uploaded files beside a long history of images that came inline: what a key has of them, and its lists.
create index files_by_size on files (key, expires_at, facts ->> '$.bytes') where inline = 0;
create index files_of_purpose on files (key, purpose, id) where inline = 0;

-- Tests of webhook endpoints are the only deliveries without a generation.
create index deliveries_of_tests on deliveries (endpoint_id, state) where generation_id is null;
