-- The index of the output that a delivery is about: a client of Keevx's API gets one callback for each.
alter table deliveries add column output integer;
