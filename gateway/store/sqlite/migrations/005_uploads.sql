-- What a provider holds of our inputs, by the account it was uploaded with, its content, and what was made of that.
create table uploads (
    account text not null,
    sha256 text not null,
    recipe text not null,
    url text not null,
    expires_at real not null,
    primary key (account, sha256, recipe)
) strict, without rowid;

create index uploads_by_expiry on uploads (expires_at);
