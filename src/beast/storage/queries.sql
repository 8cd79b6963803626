-- name: try_lead
SELECT pg_try_advisory_lock(%(key)s::bigint);

-- name: still_lead
SELECT %(key)s::bigint IS NOT NULL;
