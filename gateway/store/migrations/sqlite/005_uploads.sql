-- What a provider holds of our inputs, by the account it was uploaded with and its content.
create table uploads (
    account text not null,
    sha256 text not null,
    url text not null,
    expires_at real not null,
    primary key (account, sha256)
) strict, without rowid;

create index uploads_by_expiry on uploads (expires_at);
