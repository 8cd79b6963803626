-- What drafts and versions are kept by, see beast.feeds.shadow.store.

-- name: drafts
SELECT
    id, exchange, state, who, created_at, bps, minutes, auto, tested, agreed, proven, ripe, waits_for, judged_at,
    verdict - 'assets' AS verdict, base, version, live_at, ended_at, ended_by, reason
FROM exchange_feed_drafts
WHERE (%(exchange)s::text IS NULL OR exchange = %(exchange)s) AND id < coalesce(%(before)s::integer, 2147483647)
ORDER BY id DESC
LIMIT %(limit)s;

-- name: draft
SELECT
    id, exchange, state, who, created_at, bps, minutes, auto, tested, agreed, proven, ripe, waits_for, judged_at,
    verdict, base, version, live_at, ended_at, ended_by, reason, change, minutes_past
FROM exchange_feed_drafts
WHERE id = %(id)s;

-- name: drafts_at_work
-- Those that run, and the newest of each exchange that is over: it may have to fall back, or has.
SELECT
    id, exchange, state, who, created_at, bps, minutes, auto, tested, agreed, proven, ripe, waits_for, judged_at,
    verdict - 'assets' AS verdict, base, version, live_at, ended_at, ended_by, reason, change, '[]'::jsonb AS minutes_past
FROM exchange_feed_drafts d
WHERE d.state IN ('shadow', 'agreeing')
    OR (
        d.state IN ('live', 'fallen_back')
        AND d.id = (
            SELECT e.id FROM exchange_feed_drafts e
            WHERE e.exchange = d.exchange AND e.state IN ('live', 'fallen_back')
            ORDER BY e.live_at DESC, e.id DESC LIMIT 1
        )
    )
ORDER BY d.id;

-- name: lock_draft
SELECT exchange, state, tested, ripe, judged_at, waits_for, base, version, change
FROM exchange_feed_drafts
WHERE id = %(id)s
FOR UPDATE;

-- name: start_draft
INSERT INTO exchange_feed_drafts (exchange, who, created_at, change, bps, minutes, auto)
VALUES (%(exchange)s, %(who)s, %(at)s, %(change)s::jsonb, %(bps)s, %(minutes)s, %(auto)s)
ON CONFLICT (exchange) WHERE state IN ('shadow', 'agreeing') DO NOTHING
RETURNING id;

-- name: judge_draft
UPDATE exchange_feed_drafts
SET state = CASE WHEN %(verdict)s::jsonb ->> 'kind' = 'agreeing' THEN 'agreeing' ELSE 'shadow' END,
    tested = %(tested)s,
    agreed = %(agreed)s,
    proven = %(proven)s,
    ripe = %(ripe)s,
    waits_for = %(waits_for)s,
    judged_at = %(at)s,
    verdict = %(verdict)s::jsonb,
    minutes_past = jsonb_path_query_array(minutes_past || %(minute)s::jsonb, '$[last - 59 to last]')
WHERE id = %(id)s AND state IN ('shadow', 'agreeing');

-- name: go_live
UPDATE exchange_feed_drafts
SET state = 'live', base = %(base)s, version = %(version)s, live_at = %(at)s, ended_at = %(at)s, ended_by = %(who)s,
    waits_for = ''
WHERE id = %(id)s;

-- name: reject_draft
UPDATE exchange_feed_drafts
SET state = 'rejected', ended_at = %(at)s, ended_by = %(who)s, reason = %(reason)s, ripe = false, waits_for = ''
WHERE id = %(id)s AND state IN ('shadow', 'agreeing');

-- name: fall_back
UPDATE exchange_feed_drafts
SET state = 'fallen_back', ended_at = %(at)s, ended_by = %(who)s, reason = %(reason)s, verdict = %(verdict)s::jsonb
WHERE id = %(id)s AND state = 'live';

-- name: set_who
SELECT set_config('beast.who', %(who)s, true);

-- name: keep_versions
SET CONSTRAINTS exchange_feeds_version_new, exchange_feeds_version,
    exchange_asset_map_version_new, exchange_asset_map_version IMMEDIATE;

-- name: newest_version
SELECT max(number) FROM exchange_feed_versions WHERE exchange = %(exchange)s;

-- name: version_rows
SELECT feed, assets FROM exchange_feed_versions WHERE exchange = %(exchange)s AND number = %(number)s;

-- name: versions
SELECT
    v.exchange, v.number, v.at, v.who, jsonb_array_length(v.assets) AS assets, v.feed IS NULL AS deleted,
    CASE WHEN b.number IS NOT NULL THEN (
        SELECT coalesce(array_agg(key ORDER BY key), '{}')
        FROM jsonb_each(coalesce(v.feed, '{}')) AS now (key, value)
        FULL JOIN jsonb_each(coalesce(b.feed, '{}')) AS old (key, value) USING (key)
        WHERE now.value IS DISTINCT FROM old.value
    ) END AS columns,
    CASE WHEN b.number IS NOT NULL THEN (
        SELECT count(DISTINCT coalesce(now.value ->> 'asset', old.value ->> 'asset'))
        FROM jsonb_array_elements(v.assets) AS now (value)
        FULL JOIN jsonb_array_elements(b.assets) AS old (value) ON now.value = old.value
        WHERE now.value IS NULL OR old.value IS NULL
    ) END AS changed_assets
FROM exchange_feed_versions v
LEFT JOIN exchange_feed_versions b ON b.exchange = v.exchange AND b.number = v.number - 1
WHERE v.exchange = %(exchange)s
ORDER BY v.number DESC
LIMIT %(limit)s;
