-- Everything that accounts asks the database.

-- name: create_key
INSERT INTO api_keys (user_id, key_hash, prefix, tier, label, expires_at, paused_at, scopes, networks, quota_key_id,
    created_at, usage_month)
VALUES (%(user_id)s, %(key_hash)s, %(prefix)s, %(tier)s, %(label)s, %(expires_at)s, %(paused_at)s, %(scopes)s,
    %(networks)s::text[]::cidr[], %(quota_key_id)s, %(now)s, %(month)s)
RETURNING id, prefix, tier, label, enabled, created_at, expires_at, revoked_at, paused_at, last_used_at, current_usage,
    usage_month, user_id, scopes, networks::text[] AS networks, successor_id, quota_key_id;

-- name: list_keys
-- A page; what is not asked for is NULL. The states are those of ApiKey.state_at().
SELECT *
FROM api_keys_shown AS k
WHERE id > %(after)s
    AND (%(user_id)s::bigint IS NULL OR user_id = %(user_id)s)
    AND (%(tier)s::text IS NULL OR tier = %(tier)s)
    AND (%(label)s::text IS NULL OR strpos(lower(label), lower(%(label)s)) > 0)
    AND (%(state)s::text IS NULL OR %(state)s = CASE
        WHEN NOT enabled THEN CASE WHEN revoked_at IS NULL THEN 'disabled' ELSE 'revoked' END
        WHEN expires_at <= %(now)s THEN 'expired'
        WHEN paused_at IS NOT NULL THEN 'paused'
        WHEN successor_id IS NOT NULL THEN 'rotated'
        ELSE 'active'
    END)
ORDER BY id
LIMIT %(limit)s;

-- name: find_keys
-- By id, by the whole key, or by how it begins; three at most, since one is meant.
SELECT s.*
FROM api_keys AS k JOIN api_keys_shown AS s USING (id)
WHERE k.id = %(id)s OR k.key_hash = %(key_hash)s OR starts_with(k.prefix, %(prefix)s)
ORDER BY k.id
LIMIT 3;

-- name: key_by_digest
SELECT s.*
FROM api_keys AS k JOIN api_keys_shown AS s USING (id)
WHERE k.key_hash = %(key_hash)s;

-- name: touch_key
UPDATE api_keys
SET last_used_at = %(now)s
WHERE id = %(id)s AND (last_used_at IS NULL OR last_used_at < %(now)s::timestamptz - interval '1 minute')
RETURNING id;

-- name: lock_line
-- The key and all that share its quota, in the order of their ids, as counting locks them.
SELECT id
FROM api_keys
WHERE id = %(id)s OR quota_key_id = (SELECT quota_key_id FROM api_keys WHERE id = %(id)s)
ORDER BY id
FOR NO KEY UPDATE;

-- name: key_by_id
SELECT * FROM api_keys_shown WHERE id = %(id)s;

-- name: update_key
-- Everything of a key that may change but its tier, which belongs to its line.
UPDATE api_keys
SET label = %(label)s, enabled = %(enabled)s, expires_at = %(expires_at)s, revoked_at = %(revoked_at)s,
    paused_at = %(paused_at)s, user_id = %(user_id)s, scopes = %(scopes)s,
    networks = %(networks)s::text[]::cidr[], successor_id = %(successor_id)s, quota_key_id = %(quota_key_id)s
WHERE id = %(id)s;

-- name: set_tier_of_line
UPDATE api_keys
SET tier = %(tier)s
WHERE id = %(id)s OR quota_key_id = %(quota_key_id)s;

-- name: create_user
INSERT INTO users (email, name, preferred_lang, created_at, updated_at)
VALUES (%(email)s, %(name)s, %(preferred_lang)s, %(now)s, %(now)s)
ON CONFLICT DO NOTHING
RETURNING id, email, name, preferred_lang, created_at, updated_at, 0::bigint AS keys;

-- name: list_users
SELECT u.id, u.email, u.name, u.preferred_lang, u.created_at, u.updated_at,
    (SELECT count(*) FROM api_keys AS k WHERE k.user_id = u.id) AS keys
FROM users AS u
WHERE u.id > %(after)s AND (%(email)s::text IS NULL OR u.email = %(email)s)
ORDER BY u.id
LIMIT %(limit)s;

-- name: find_user
SELECT u.id, u.email, u.name, u.preferred_lang, u.created_at, u.updated_at,
    (SELECT count(*) FROM api_keys AS k WHERE k.user_id = u.id) AS keys
FROM users AS u
WHERE u.id = %(id)s OR u.email = %(email)s
ORDER BY u.id
LIMIT 1;

-- name: hold_user
-- Nobody deletes the user while a key of theirs is made.
SELECT id FROM users WHERE id = %(id)s FOR KEY SHARE;

-- name: lock_users
-- Changes of users come one after the other, so that two can't take the same address at once.
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;

-- name: update_user
UPDATE users
SET email = %(email)s, name = %(name)s, preferred_lang = %(preferred_lang)s, updated_at = %(updated_at)s
WHERE id = %(id)s;

-- name: list_tiers
SELECT tier, monthly_queries, per_second, burst, monthly_reports, unlimited_reports_addon, partner
FROM rate_limit_template
ORDER BY coalesce(per_second, 1000000), monthly_queries NULLS LAST, tier;

-- name: find_tier
SELECT tier, monthly_queries, per_second, burst, monthly_reports, unlimited_reports_addon, partner
FROM rate_limit_template
WHERE tier = %(tier)s;

-- name: lock_tiers
LOCK TABLE rate_limit_template IN SHARE ROW EXCLUSIVE MODE;

-- name: set_tier
INSERT INTO rate_limit_template
    (tier, monthly_queries, per_second, burst, monthly_reports, unlimited_reports_addon, partner)
VALUES (%(tier)s, %(monthly_queries)s, %(per_second)s, %(burst)s, %(monthly_reports)s, %(unlimited_reports_addon)s,
    %(partner)s)
ON CONFLICT (tier) DO UPDATE
SET monthly_queries = excluded.monthly_queries, per_second = excluded.per_second, burst = excluded.burst,
    monthly_reports = excluded.monthly_reports, unlimited_reports_addon = excluded.unlimited_reports_addon,
    partner = excluded.partner;

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

-- name: write_audit
INSERT INTO audit_log (at, actor, address, action, subject, before, after)
VALUES (%(at)s, %(actor)s, %(address)s, %(action)s, %(subject)s, %(before)s, %(after)s);

-- name: list_audit
SELECT id, at, actor, address, action, subject, before, after
FROM audit_log
WHERE (%(before)s::bigint IS NULL OR id < %(before)s)
    AND starts_with(action, %(action)s)
    AND (%(subject)s = '' OR subject = %(subject)s)
    AND (%(actor)s = '' OR actor = %(actor)s)
ORDER BY id DESC
LIMIT %(limit)s;

-- name: forget_answers
DELETE FROM idempotent_answers WHERE created_at < %(before)s;

-- name: claim_answer
-- Waits for another that has begun the same; nothing comes back when that one has been answered.
INSERT INTO idempotent_answers (digest, request, answer, created_at)
VALUES (%(digest)s, %(request)s, 'null', %(now)s)
ON CONFLICT DO NOTHING
RETURNING digest;

-- name: keep_answer
UPDATE idempotent_answers
SET answer = %(answer)s, salt = %(salt)s, sealed = %(sealed)s
WHERE digest = %(digest)s;

-- name: kept_answer
SELECT request, answer::text AS answer, salt, sealed FROM idempotent_answers WHERE digest = %(digest)s;

-- name: line_usage
-- The line of a key in a month: how much it used, and which keys it is.
SELECT sum(CASE WHEN usage_month = %(month)s THEN current_usage ELSE 0 END)::bigint AS used, array_agg(id ORDER BY id) AS ids
FROM api_keys
WHERE id = %(id)s OR quota_key_id = %(quota_key_id)s;

-- name: usage_by_day
-- Hour by hour, so that the primary key is used from its first column on.
SELECT (h AT TIME ZONE 'UTC')::date AS day, sum(u.answers)::bigint AS answers
FROM generate_series(%(begin)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') AS h
    JOIN usage_key_hours AS u ON u.hour = h AND u.key_id = ANY (%(ids)s)
GROUP BY day
ORDER BY day;

-- name: usage_by_asset
-- Only the hours in which the key was answered are looked into.
SELECT l.asset, count(*) AS answers
FROM (
    SELECT DISTINCT u.hour
    FROM generate_series(%(begin)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') AS h
        JOIN usage_key_hours AS u ON u.hour = h AND u.key_id = ANY (%(ids)s)
) AS busy
    JOIN usage_logs AS l ON l.at >= busy.hour AND l.at < busy.hour + interval '1 hour' AND l.key_id = ANY (%(ids)s)
GROUP BY l.asset
ORDER BY answers DESC, l.asset
LIMIT %(limit)s;

-- name: list_alerts
SELECT id, key_id, month, percent, used, cap, at
FROM usage_alerts
WHERE id > %(after)s
    AND (%(key_id)s::bigint IS NULL OR key_id = %(key_id)s)
    AND (%(month)s::date IS NULL OR month = %(month)s)
ORDER BY id
LIMIT %(limit)s;

-- name: used_of_owners
-- What each owner's line of keys has used in a month.
SELECT owner, coalesce(sum(k.current_usage) FILTER (WHERE k.usage_month >= %(month)s), 0)::bigint AS used,
    coalesce(array_agg(k.id) FILTER (WHERE k.id IS NOT NULL), '{}') AS ids
FROM unnest(%(owners)s::bigint[]) AS owner
    LEFT JOIN LATERAL (
        SELECT id, current_usage, usage_month FROM api_keys WHERE id = owner
        UNION
        SELECT id, current_usage, usage_month FROM api_keys WHERE quota_key_id = owner
    ) AS k ON true
GROUP BY owner;

-- name: attend
-- This node is here; how many are, it included. Who said nothing for long is gone, and its row with it.
WITH gone AS (
    DELETE FROM limit_nodes WHERE seen_at < now() - make_interval(secs => %(gone_s)s) AND node <> %(node)s
), here AS (
    INSERT INTO limit_nodes (node, seen_at) VALUES (%(node)s, now())
    ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at
)
SELECT count(*) + 1 AS nodes
FROM limit_nodes
WHERE node <> %(node)s AND seen_at >= now() - make_interval(secs => %(gone_s)s);

-- name: leave
DELETE FROM limit_nodes WHERE node = %(node)s;
