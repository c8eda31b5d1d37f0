-- Clients of Kling's API name their tasks themselves, and read them by that name: it is in `metadata.external_task_id`.
-- Without the index each such read would look at all generations of the client.
create index generations_by_external_task_id
    on generations (key, kind, json_extract(request, '$.metadata.external_task_id'), id)
    where json_extract(request, '$.metadata.external_task_id') is not null;
