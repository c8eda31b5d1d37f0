-- Clients, their keys, and what their limits count.

-- Made at run time. Those of the configuration are not here.
create table clients (
    name text primary key,
    limits text not null,
    created_at real not null
) strict, without rowid;

-- Made at run time, also for clients of the configuration. A key itself is not here.
create table client_keys (
    id text primary key,
    client text not null,
    sha256 blob not null unique,
    label text not null,
    scopes text not null,
    created_at real not null,
    expires_at real,
    revoked_at real
) strict, without rowid;

create index client_keys_of_client on client_keys (client, id);

-- How many outputs a client with a limit of them has created on a day of UTC. The delete of a generation does not give
-- them back.
create table client_days (
    key text not null,
    day text not null,
    outputs integer not null,
    primary key (key, day)
) strict, without rowid;

-- Keys that were clients by themselves, and what owns their things since. Repeats, links and signatures from before
-- were made with the owner id of the key.
create table adopted_owners (
    owner text primary key,
    client text not null,
    adopted_at real not null
) strict, without rowid;

create index adopted_owners_of_client on adopted_owners (client, owner);

-- To find what a key has bought, without reading what all others have bought.
create index purchases_of_key on purchases (key);
