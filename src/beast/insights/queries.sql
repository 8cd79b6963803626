-- Everything that the insights ask the database.

-- name: summary
-- All groupings in one pass over the records; of each dimension the values with the most answers.
WITH grouped AS (
    SELECT
        CASE
            WHEN grouping(asset) = 0 THEN 'asset'
            WHEN grouping(key_id) = 0 THEN 'key'
            WHEN grouping(source) = 0 THEN 'source'
            WHEN grouping(node) = 0 THEN 'node'
            WHEN grouping(protocol) = 0 THEN 'protocol'
            WHEN grouping(day) = 0 THEN 'day'
            ELSE 'all'
        END AS dimension,
        coalesce(asset, key_id::text, source, node, protocol, day::text, '') AS value,
        count(*) AS answers,
        count(*) FILTER (WHERE tier = 1) AS from_memory,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS latency_ns
    FROM (
        SELECT (at AT TIME ZONE 'UTC')::date AS day, asset, key_id, source, node, protocol, tier, latency_ns
        FROM usage_logs
        WHERE at >= %(since)s AND at < %(until)s
    ) AS log
    GROUP BY GROUPING SETS ((), (asset), (key_id), (source), (node), (protocol), (day))
), ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY dimension ORDER BY answers DESC, value) AS place,
        answers::float8 / max(answers) OVER () AS share
    FROM grouped
    WHERE answers > 0
)
SELECT dimension, value, answers, share, from_memory::float8 / answers AS hit_rate,
    latency_ns[1] AS p50_ns, latency_ns[2] AS p95_ns, latency_ns[3] AS p99_ns
FROM ranked
WHERE place <= %(top)s
ORDER BY array_position(ARRAY['all', 'day', 'asset', 'key', 'source', 'node', 'protocol'], dimension),
    CASE WHEN dimension = 'day' THEN value END, place;

-- name: room
-- To sort a period once for each grouping wants more room than most statements need.
SELECT set_config('work_mem', '64MB', true) IS NOT NULL AS done;

-- name: rollup
SELECT day, dimension, value, answers, prices, from_memory, hit_rate::float8, live, stale, keys, assets,
    latency_ns[1] AS p50_ns, latency_ns[2] AS p95_ns, latency_ns[3] AS p99_ns
FROM mv_usage_daily
WHERE day > %(after)s AND (%(dimension)s::text IS NULL OR dimension = %(dimension)s)
ORDER BY day DESC, dimension, answers DESC, value
LIMIT 10000;

-- name: rollup_state
SELECT refreshed_at, took_ms, extract(epoch FROM clock_timestamp() - refreshed_at)::float8 AS age_s,
    EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') AS cron
FROM usage_rollup;

-- name: refresh
SELECT refresh_usage_daily(%(older_than)s::interval) AS done;

-- name: schedule
SELECT schedule_usage_daily() AS done;

-- name: has_statements
-- Who may not read the setting has to try.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')
    AND coalesce(
        (SELECT setting ~ 'pg_stat_statements' FROM pg_settings WHERE name = 'shared_preload_libraries'), true
    ) AS done;

-- name: patience
-- A refresh may take as long as it needs, by one processor.
SELECT set_config('statement_timeout', '0', true) IS NOT NULL
    AND set_config('max_parallel_workers_per_gather', '0', true) IS NOT NULL AS done;

-- name: database
SELECT version() AS version, pg_database_size(current_database()) AS database_bytes,
    blks_hit::float8 / nullif(blks_hit + blks_read, 0) AS buffer_hit_ratio, stats_reset AS statistics_since
FROM pg_stat_database
WHERE datname = current_database();

-- name: statements
-- pg_stat_statements puts $1 in place of values.
SELECT left(query, 2000) AS query, calls, total_exec_time AS total_ms, mean_exec_time AS mean_ms, rows,
    shared_blks_hit::float8 / nullif(shared_blks_hit + shared_blks_read, 0) AS hit_ratio
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND toplevel
ORDER BY CASE WHEN %(by_calls)s THEN calls::float8 ELSE total_exec_time END DESC
LIMIT %(top)s;

-- name: tables
SELECT relname AS name, seq_scan AS sequential_scans, coalesce(idx_scan, 0) AS index_scans, n_live_tup AS live_rows,
    n_dead_tup AS dead_rows, pg_table_size(relid) AS bytes, pg_indexes_size(relid) AS index_bytes,
    greatest(last_vacuum, last_autovacuum) AS last_vacuum
FROM pg_stat_user_tables
ORDER BY pg_total_relation_size(relid) DESC, relname
LIMIT 100;

-- name: sessions
SELECT coalesce(state, 'unknown') AS state, count(*) AS connections,
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS longest_s
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1
ORDER BY 1;

-- name: reset_database
SELECT pg_stat_reset() IS NOT NULL AS done;

-- name: reset_statements
SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0) IS NOT NULL
    AS done;

