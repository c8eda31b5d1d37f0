-- What a provider's answer to the submit said beside its meaning: HTTP status, the provider's request id, its cleaned
-- message, and what it reserved or charged. An operator asks the provider about a lost submit with it.
alter table attempts add column upstream text;
