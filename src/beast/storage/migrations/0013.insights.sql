-- depends: 0009.usage 0010.accounts

-- What the server has seen of statements. Where the library is not loaded, or may not be created by this user, the
-- insights say so.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'pg_stat_statements is not here: %', SQLERRM;
END;
$$;

-- Usage by UTC day, as a whole ('all') and by one dimension at a time: one pass over the records of five weeks.
CREATE MATERIALIZED VIEW mv_usage_daily AS
SELECT
    day,
    CASE
        WHEN grouping(asset) = 0 THEN 'asset'
        WHEN grouping(exchange) = 0 THEN 'exchange'
        WHEN grouping(node) = 0 THEN 'node'
        WHEN grouping(protocol) = 0 THEN 'protocol'
        ELSE 'all'
    END AS dimension,
    coalesce(asset, exchange, node, protocol, '') AS value,
    count(*) AS answers,
    sum(prices)::bigint AS prices,
    count(*) FILTER (WHERE tier = 1) AS from_memory,
    round(count(*) FILTER (WHERE tier = 1)::numeric / count(*), 6) AS hit_rate,
    count(*) FILTER (WHERE state = 'live') AS live,
    count(*) FILTER (WHERE state = 'stale') AS stale,
    count(DISTINCT key_id) AS keys,
    count(DISTINCT asset) AS assets,
    count(latency_ns) AS timed,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS latency_ns
FROM (
    SELECT (at AT TIME ZONE 'UTC')::date AS day, key_id, asset, exchange, node, protocol, state, tier, prices, latency_ns
    FROM usage_logs
    WHERE at >= now() - interval '35 days'
) AS log
GROUP BY GROUPING SETS ((day), (day, asset), (day, exchange), (day, node), (day, protocol));

-- REFRESH … CONCURRENTLY compares by it.
CREATE UNIQUE INDEX mv_usage_daily_key ON mv_usage_daily (day, dimension, value);

CREATE TABLE usage_rollup (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    refreshed_at timestamptz NOT NULL,
    took_ms integer NOT NULL
);

INSERT INTO usage_rollup (refreshed_at, took_ms) VALUES (now(), 0);

-- Refreshes mv_usage_daily when it is older than `older_than`, and nobody else is at it; true when it did. Readers see
-- the rows of before until it is done.
CREATE FUNCTION refresh_usage_daily(older_than interval DEFAULT '0') RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
BEGIN
    -- "rollu" in ASCII.
    IF NOT pg_try_advisory_xact_lock(x'726f6c6c75'::bigint) THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM usage_rollup WHERE refreshed_at > clock_timestamp() - older_than) THEN
        RETURN false;
    END IF;
    began := clock_timestamp();
    REFRESH MATERIALIZED VIEW CONCURRENTLY mv_usage_daily;
    UPDATE usage_rollup
    SET refreshed_at = began, took_ms = round(1000 * extract(epoch FROM clock_timestamp() - began))::integer;
    RETURN true;
END;
$$;

-- Has pg_cron, where it is, refresh it every five minutes; false where it is not, or does not want to. Scheduled again
-- under the same name it is only changed.
CREATE FUNCTION schedule_usage_daily() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        RETURN false;
    END IF;
    PERFORM cron.schedule('beast-usage-daily', '*/5 * * * *', 'SELECT refresh_usage_daily()');
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_cron does not take the refresh of mv_usage_daily: %', SQLERRM;
    RETURN false;
END;
$$;

-- Lets a role read every table, but no hash of a key, no sealed answer and no password. For POST /admin/sql.
CREATE FUNCTION let_read(reader regrole) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    hidden constant text[] := ARRAY['api_keys', 'api_keys_deleted', 'idempotent_answers', 'usage_dead_letters'];
    columns text;
BEGIN
    PERFORM pg_advisory_xact_lock(x'726561646572'::bigint);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %s', reader);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %s', reader);
    EXECUTE (
        SELECT format('REVOKE ALL ON %s FROM %s', string_agg(c.oid::regclass::text, ', '), reader)
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (hidden)
    );
    SELECT string_agg(quote_ident(attname), ', ') INTO columns
    FROM pg_attribute
    WHERE attrelid = 'api_keys'::regclass AND attnum > 0 AND NOT attisdropped AND atttypid <> 'bytea'::regtype;
    EXECUTE format('GRANT SELECT (%s) ON api_keys TO %s', columns, reader);
END;
$$;
