-- What the client said about its own trace, as JSON: webhooks of the generation pass it on.
alter table generations add column trace text;
