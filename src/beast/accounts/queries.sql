-- Everything that accounts asks the database.

-- name: create_key
INSERT INTO api_keys (user_id, key_hash, prefix, tier, label, expires_at, paused_at, scopes, networks, quota_key_id,
    created_at, usage_month)
VALUES (%(user_id)s, %(key_hash)s, %(prefix)s, %(tier)s, %(label)s, %(expires_at)s, %(paused_at)s, %(scopes)s,
    %(networks)s::text[]::cidr[], %(quota_key_id)s, %(now)s, %(month)s)
RETURNING id, prefix, tier, label, enabled, created_at, expires_at, revoked_at, paused_at, last_used_at, current_usage,
    usage_month, user_id, scopes, networks::text[] AS networks, successor_id, quota_key_id;

-- name: list_keys
SELECT * FROM api_keys_shown
WHERE id > %(after)s
ORDER BY id
LIMIT %(limit)s;

-- name: find_keys
-- By id, by the whole key, or by how it begins; three at most, since one is meant.
SELECT s.*
FROM api_keys AS k JOIN api_keys_shown AS s USING (id)
WHERE k.id = %(id)s OR k.key_hash = %(key_hash)s OR starts_with(k.prefix, %(prefix)s)
ORDER BY k.id
LIMIT 3;

-- name: revoke_key
UPDATE api_keys
SET enabled = false, revoked_at = coalesce(revoked_at, %(now)s)
WHERE id = %(id)s
RETURNING id, prefix, tier, label, enabled, created_at, expires_at, revoked_at, paused_at, last_used_at, current_usage,
    usage_month, user_id, scopes, networks::text[] AS networks, successor_id, quota_key_id;

-- name: list_tiers
SELECT tier, monthly_queries, per_second, burst, monthly_reports, unlimited_reports_addon, partner
FROM rate_limit_template
ORDER BY coalesce(per_second, 1000000), monthly_queries NULLS LAST, tier;

-- name: add_usage
-- One statement for a whole batch. Rows are locked in the order of their ids, so that two nodes can't deadlock.
-- A count of a month that is over (a late batch) is no longer held against the key.
WITH counted AS (
    SELECT id, sum(n)::bigint AS n
    FROM unnest(%(ids)s::bigint[], %(counts)s::bigint[]) AS pair (id, n)
    GROUP BY id
), locked AS (
    SELECT k.id, counted.n
    FROM api_keys AS k JOIN counted USING (id)
    ORDER BY k.id
    FOR NO KEY UPDATE OF k
)
UPDATE api_keys AS k
SET current_usage = CASE
        WHEN k.usage_month = %(month)s THEN k.current_usage + locked.n
        WHEN k.usage_month < %(month)s THEN locked.n
        ELSE k.current_usage
    END,
    usage_month = greatest(k.usage_month, %(month)s),
    last_used_at = greatest(k.last_used_at, %(now)s)
FROM locked
WHERE k.id = locked.id;

-- name: key_chunk
-- The next keys in the order of their ids, packed by the server for beast.accounts.sync: a row a key would keep
-- the event loop busy for seconds when there are a million.
SELECT count(*) AS rows, coalesce(max(id), 0) AS last_id, coalesce(string_agg(packed, ''), '') AS records
FROM (
    SELECT k.id, pack_api_key(k, t, %(month)s) AS packed
    FROM api_keys AS k JOIN rate_limit_template AS t USING (tier)
    WHERE k.id > %(after)s
    ORDER BY k.id
    LIMIT %(limit)s
) AS chunk;

-- name: key_by_hash
SELECT count(*) AS rows, coalesce(max(k.id), 0) AS last_id,
    coalesce(string_agg(pack_api_key(k, t, %(month)s), ''), '') AS records
FROM api_keys AS k JOIN rate_limit_template AS t USING (tier)
WHERE k.key_hash = %(key_hash)s;

-- name: deleted_keys
-- Deleted since the last look, with an hour's margin for transactions that were slow to commit.
SELECT now() AS at, coalesce(string_agg(d.key_hash, ''), '') AS records
FROM api_keys_deleted AS d
WHERE d.deleted_at > %(since)s::timestamptz - interval '1 hour'
    AND NOT EXISTS (SELECT FROM api_keys AS k WHERE k.key_hash = d.key_hash);
