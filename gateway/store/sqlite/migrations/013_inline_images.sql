-- How many bytes a key has in images that came within creates. To add them up at each create would take the longer the
-- more there are, so that triggers keep the sum.
create table inline_bytes (
    key text primary key,
    bytes integer not null
) strict, without rowid;

insert into inline_bytes (key, bytes)
select key, coalesce(sum(facts ->> '$.bytes'), 0) from files where inline group by key;

create trigger inline_image_added after insert on files when new.inline begin
    insert into inline_bytes (key, bytes) values (new.key, new.facts ->> '$.bytes')
    on conflict (key) do update set bytes = bytes + excluded.bytes;
end;

create trigger inline_image_removed after delete on files when old.inline begin
    update inline_bytes set bytes = bytes - (old.facts ->> '$.bytes') where key = old.key;
end;

-- Such an image is not needed when every generation that uses it has ended. Until now it stayed with them.
update files set expires_at = created_at where inline and expires_at is null;
