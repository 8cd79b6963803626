-- Everything that reports ask the database.

-- name: key_line
-- All keys of a customer's line of rotated ones, the owner of the quota among them.
SELECT ARRAY(
    SELECT id FROM api_keys WHERE id = %(owner)s OR quota_key_id = %(owner)s ORDER BY id
) AS ids;

-- name: report_count_check
-- What this customer has made in the month and on the day, and may make: told without counting.
SELECT CASE WHEN t.unlimited_reports_addon AND a.key_id IS NOT NULL THEN NULL ELSE t.monthly_reports END AS allowed,
    CASE WHEN c.month >= %(month)s THEN c.in_month ELSE 0 END AS in_month,
    CASE WHEN c.day >= %(day)s THEN c.in_day ELSE 0 END AS in_day
FROM api_keys AS k
JOIN rate_limit_template AS t USING (tier)
LEFT JOIN report_addons AS a ON a.key_id = %(owner)s
LEFT JOIN report_count AS c ON c.key_id = %(owner)s
WHERE k.id = %(id)s;

-- name: report_count_upsert
-- Counts one report, or none when the month's are made: then no row comes back. A new month or day begins at one; a
-- node whose clock is behind counts for the newer month that another one has begun.
INSERT INTO report_count AS c (key_id, month, day, in_month, in_day, allowed, last_at)
SELECT %(owner)s, %(month)s, %(day)s, 1, 1, allowed, %(now)s
FROM (
    SELECT CASE WHEN t.unlimited_reports_addon AND a.key_id IS NOT NULL THEN NULL ELSE t.monthly_reports END AS allowed
    FROM api_keys AS k
    JOIN rate_limit_template AS t USING (tier)
    LEFT JOIN report_addons AS a ON a.key_id = %(owner)s
    WHERE k.id = %(id)s
) AS now
WHERE allowed IS NULL OR allowed > 0
ON CONFLICT (key_id) DO UPDATE SET
    month = greatest(c.month, excluded.month),
    day = greatest(c.day, excluded.day),
    in_month = CASE WHEN c.month < excluded.month THEN 1 ELSE c.in_month + 1 END,
    in_day = CASE WHEN c.day < excluded.day THEN 1 ELSE c.in_day + 1 END,
    allowed = excluded.allowed,
    last_at = greatest(c.last_at, excluded.last_at)
WHERE excluded.allowed IS NULL OR c.month < excluded.month OR c.in_month < excluded.allowed
RETURNING c.allowed, c.in_month, c.in_day;

-- name: report_count_give_back
-- One counted report was not made after all; a count that has begun anew since doesn't hold it any more.
UPDATE report_count
SET in_month = in_month - CASE WHEN month = %(month)s AND in_month > 0 THEN 1 ELSE 0 END,
    in_day = in_day - CASE WHEN day = %(day)s AND in_day > 0 THEN 1 ELSE 0 END
WHERE key_id = %(owner)s;

-- name: set_addon
INSERT INTO report_addons (key_id, since)
SELECT coalesce(k.quota_key_id, k.id), %(now)s FROM api_keys AS k WHERE k.id = %(id)s
ON CONFLICT (key_id) DO UPDATE SET since = report_addons.since;

-- name: unset_addon
DELETE FROM report_addons AS a USING api_keys AS k
WHERE k.id = %(id)s AND a.key_id = coalesce(k.quota_key_id, k.id);

-- name: log_report
INSERT INTO report_usage_logs (at, key_id, node, address, kind, format, query, rows, bytes, ms, state)
VALUES (%(at)s, %(key_id)s, %(node)s, %(address)s, %(kind)s, %(format)s, %(query)s, %(rows)s, %(bytes)s, %(ms)s,
    %(state)s);

-- name: list_made
-- Reports made, the newest first.
SELECT id, at, key_id, node, address, kind, format, query, rows, bytes, ms, state
FROM report_usage_logs
WHERE id < %(before)s AND (%(keys)s::bigint[] IS NULL OR key_id = ANY (%(keys)s))
ORDER BY id DESC
LIMIT %(limit)s;

-- name: report_1
-- The figures of everything (grouping 0) and of one grouping, in one pass. A grouping has two columns; the second one
-- of a grouping by a single dimension is NULL throughout.
WITH figures AS (
    SELECT CASE WHEN grouping(a1) = 0 THEN 1 ELSE 0 END AS "grouping",
        a1 AS first, b1 AS second,
        count(*) AS answers, coalesce(sum(prices), 0)::bigint AS prices,
        count(*) FILTER (WHERE tier = 1) AS tier_1, count(*) FILTER (WHERE tier = 2) AS tier_2,
        count(*) FILTER (WHERE tier = 3) AS tier_3, count(latency_ns) AS timed,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS ns,
        count(DISTINCT asset COLLATE "C") AS assets, count(DISTINCT key_id) AS keys,
        min(at) AS first_at, max(at) AS last_at
    FROM (
        SELECT u.*,
            usage_dimension(%(first_1)s, u) COLLATE "C" AS a1, usage_dimension(%(second_1)s, u) COLLATE "C" AS b1
        FROM usage_meant(
            %(since)s, %(until)s, %(key)s, %(asset)s, %(exchange)s, %(source)s, %(node)s, %(protocol)s, %(state)s, %(tier)s
        ) AS u
    ) AS meant
    GROUP BY GROUPING SETS ((), (a1, b1))
)
SELECT "grouping", first, second, answers, prices, tier_1, tier_2, tier_3, timed, assets, keys, first_at, last_at,
    round(ns[1]::numeric / 1000, 3)::float8 AS p50_us, round(ns[2]::numeric / 1000, 3)::float8 AS p95_us,
    round(ns[3]::numeric / 1000, 3)::float8 AS p99_us
FROM figures
WHERE "grouping" <= %(groupings)s
ORDER BY "grouping",
    CASE WHEN (%(by_first)s::boolean[])["grouping"] THEN first END,
    CASE WHEN (%(by_second)s::boolean[])["grouping"] THEN second END,
    answers DESC, first, second;

-- name: report_4
-- The same with up to four groupings; those that are not wanted are NULL throughout, and left out.
WITH figures AS (
    SELECT CASE
        WHEN grouping(a1) = 0 THEN 1 WHEN grouping(a2) = 0 THEN 2 WHEN grouping(a3) = 0 THEN 3 WHEN grouping(a4) = 0 THEN 4
        ELSE 0
    END AS "grouping",
        coalesce(a1, a2, a3, a4) AS first, coalesce(b1, b2, b3, b4) AS second,
        count(*) AS answers, coalesce(sum(prices), 0)::bigint AS prices,
        count(*) FILTER (WHERE tier = 1) AS tier_1, count(*) FILTER (WHERE tier = 2) AS tier_2,
        count(*) FILTER (WHERE tier = 3) AS tier_3, count(latency_ns) AS timed,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS ns,
        count(DISTINCT asset COLLATE "C") AS assets, count(DISTINCT key_id) AS keys,
        min(at) AS first_at, max(at) AS last_at
    FROM (
        SELECT u.*,
            usage_dimension(%(first_1)s, u) COLLATE "C" AS a1, usage_dimension(%(second_1)s, u) COLLATE "C" AS b1,
            usage_dimension(%(first_2)s, u) COLLATE "C" AS a2, usage_dimension(%(second_2)s, u) COLLATE "C" AS b2,
            usage_dimension(%(first_3)s, u) COLLATE "C" AS a3, usage_dimension(%(second_3)s, u) COLLATE "C" AS b3,
            usage_dimension(%(first_4)s, u) COLLATE "C" AS a4, usage_dimension(%(second_4)s, u) COLLATE "C" AS b4
        FROM usage_meant(
            %(since)s, %(until)s, %(key)s, %(asset)s, %(exchange)s, %(source)s, %(node)s, %(protocol)s, %(state)s, %(tier)s
        ) AS u
    ) AS meant
    GROUP BY GROUPING SETS ((), (a1, b1), (a2, b2), (a3, b3), (a4, b4))
)
SELECT "grouping", first, second, answers, prices, tier_1, tier_2, tier_3, timed, assets, keys, first_at, last_at,
    round(ns[1]::numeric / 1000, 3)::float8 AS p50_us, round(ns[2]::numeric / 1000, 3)::float8 AS p95_us,
    round(ns[3]::numeric / 1000, 3)::float8 AS p99_us
FROM figures
WHERE "grouping" <= %(groupings)s
ORDER BY "grouping",
    CASE WHEN (%(by_first)s::boolean[])["grouping"] THEN first END,
    CASE WHEN (%(by_second)s::boolean[])["grouping"] THEN second END,
    answers DESC, first, second;

-- name: report_10
-- The same with up to ten.
WITH figures AS (
    SELECT CASE
        WHEN grouping(a1) = 0 THEN 1 WHEN grouping(a2) = 0 THEN 2 WHEN grouping(a3) = 0 THEN 3 WHEN grouping(a4) = 0 THEN 4
        WHEN grouping(a5) = 0 THEN 5 WHEN grouping(a6) = 0 THEN 6 WHEN grouping(a7) = 0 THEN 7 WHEN grouping(a8) = 0 THEN 8
        WHEN grouping(a9) = 0 THEN 9 WHEN grouping(a10) = 0 THEN 10
        ELSE 0
    END AS "grouping",
        coalesce(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10) AS first, coalesce(b1, b2, b3, b4, b5, b6, b7, b8, b9, b10)
            AS second,
        count(*) AS answers, coalesce(sum(prices), 0)::bigint AS prices,
        count(*) FILTER (WHERE tier = 1) AS tier_1, count(*) FILTER (WHERE tier = 2) AS tier_2,
        count(*) FILTER (WHERE tier = 3) AS tier_3, count(latency_ns) AS timed,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS ns,
        count(DISTINCT asset COLLATE "C") AS assets, count(DISTINCT key_id) AS keys,
        min(at) AS first_at, max(at) AS last_at
    FROM (
        SELECT u.*,
            usage_dimension(%(first_1)s, u) COLLATE "C" AS a1, usage_dimension(%(second_1)s, u) COLLATE "C" AS b1,
            usage_dimension(%(first_2)s, u) COLLATE "C" AS a2, usage_dimension(%(second_2)s, u) COLLATE "C" AS b2,
            usage_dimension(%(first_3)s, u) COLLATE "C" AS a3, usage_dimension(%(second_3)s, u) COLLATE "C" AS b3,
            usage_dimension(%(first_4)s, u) COLLATE "C" AS a4, usage_dimension(%(second_4)s, u) COLLATE "C" AS b4,
            usage_dimension(%(first_5)s, u) COLLATE "C" AS a5, usage_dimension(%(second_5)s, u) COLLATE "C" AS b5,
            usage_dimension(%(first_6)s, u) COLLATE "C" AS a6, usage_dimension(%(second_6)s, u) COLLATE "C" AS b6,
            usage_dimension(%(first_7)s, u) COLLATE "C" AS a7, usage_dimension(%(second_7)s, u) COLLATE "C" AS b7,
            usage_dimension(%(first_8)s, u) COLLATE "C" AS a8, usage_dimension(%(second_8)s, u) COLLATE "C" AS b8,
            usage_dimension(%(first_9)s, u) COLLATE "C" AS a9, usage_dimension(%(second_9)s, u) COLLATE "C" AS b9,
            usage_dimension(%(first_10)s, u) COLLATE "C" AS a10, usage_dimension(%(second_10)s, u) COLLATE "C" AS b10
        FROM usage_meant(
            %(since)s, %(until)s, %(key)s, %(asset)s, %(exchange)s, %(source)s, %(node)s, %(protocol)s, %(state)s, %(tier)s
        ) AS u
    ) AS meant
    GROUP BY GROUPING SETS ((), (a1, b1), (a2, b2), (a3, b3), (a4, b4), (a5, b5), (a6, b6), (a7, b7), (a8, b8), (a9,
        b9), (a10, b10))
)
SELECT "grouping", first, second, answers, prices, tier_1, tier_2, tier_3, timed, assets, keys, first_at, last_at,
    round(ns[1]::numeric / 1000, 3)::float8 AS p50_us, round(ns[2]::numeric / 1000, 3)::float8 AS p95_us,
    round(ns[3]::numeric / 1000, 3)::float8 AS p99_us
FROM figures
WHERE "grouping" <= %(groupings)s
ORDER BY "grouping",
    CASE WHEN (%(by_first)s::boolean[])["grouping"] THEN first END,
    CASE WHEN (%(by_second)s::boolean[])["grouping"] THEN second END,
    answers DESC, first, second;

-- name: records
-- The records behind a number, from one place on. The order is that of all records, and no two have the same place.
SELECT at, key_id, asset, exchange, source, protocol, state, tier, prices, age_ms, latency_ns, node, boot, lane,
    sequence
FROM usage_meant(
    %(since)s, %(until)s, %(key)s, %(asset)s, %(exchange)s, %(source)s, %(node)s, %(protocol)s, %(state)s, %(tier)s
) AS u
WHERE (u.at, u.node, u.boot, u.lane, u.sequence)
    > (%(at)s, %(after_node)s, %(boot)s::bigint, %(lane)s::smallint, %(sequence)s::bigint)
ORDER BY u.at, u.node, u.boot, u.lane, u.sequence
LIMIT %(limit)s;

-- name: summary
-- What fits into a datagram: the figures of everything, and the assets answered most.
WITH meant AS MATERIALIZED (
    SELECT asset, tier, prices, latency_ns FROM usage_meant(
        %(since)s, %(until)s, %(key)s, %(asset)s, %(exchange)s, %(source)s, %(node)s, %(protocol)s, %(state)s, %(tier)s
    ) AS u
), busiest AS (
    SELECT asset, count(*) AS answers FROM meant GROUP BY asset ORDER BY count(*) DESC, asset LIMIT %(top)s
)
SELECT count(*) AS answers, coalesce(sum(prices), 0)::bigint AS prices, count(*) FILTER (WHERE tier = 1) AS tier_1,
    count(*) FILTER (WHERE tier = 2) AS tier_2, count(*) FILTER (WHERE tier = 3) AS tier_3,
    count(DISTINCT asset COLLATE "C") AS assets,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS ns,
    ARRAY(SELECT asset FROM busiest ORDER BY answers DESC, asset) AS top,
    ARRAY(SELECT answers FROM busiest ORDER BY answers DESC, asset) AS top_answers
FROM meant;

-- name: bounds
-- What one transaction may take: time for each of its statements, and memory for each of its sorts.
SELECT set_config('statement_timeout', %(timeout_ms)s, true), set_config('work_mem', %(work_mem)s, true);
