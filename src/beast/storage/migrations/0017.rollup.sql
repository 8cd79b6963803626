-- depends: 0013.insights 0015.dialects

-- The rollup reads records of two days, however many are kept: what is older is summed up once, and stays.
DROP MATERIALIZED VIEW mv_usage_daily;

-- Usage by UTC day, as a whole ('all') and by one dimension at a time, in one pass over the records of a period. Its
-- path is its own, for a refresh has none (PostgreSQL 17, release notes, "safe search_path").
CREATE FUNCTION usage_by_day(since timestamptz, until timestamptz) RETURNS TABLE (
    day date,
    dimension text,
    value text,
    answers bigint,
    prices bigint,
    from_memory bigint,
    hit_rate numeric,
    live bigint,
    stale bigint,
    keys bigint,
    assets bigint,
    timed bigint,
    latency_ns double precision[]
) LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT
        day,
        CASE
            WHEN grouping(asset) = 0 THEN 'asset'
            WHEN grouping(exchange) = 0 THEN 'exchange'
            WHEN grouping(node) = 0 THEN 'node'
            WHEN grouping(protocol) = 0 THEN 'protocol'
            ELSE 'all'
        END,
        coalesce(asset, exchange, node, protocol, ''),
        count(*),
        sum(prices)::bigint,
        count(*) FILTER (WHERE tier = 1),
        round(count(*) FILTER (WHERE tier = 1)::numeric / count(*), 6),
        count(*) FILTER (WHERE state = 'live'),
        count(*) FILTER (WHERE state = 'stale'),
        count(DISTINCT key_id),
        count(DISTINCT asset),
        count(latency_ns),
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns)
    FROM (
        SELECT (at AT TIME ZONE 'UTC')::date AS day, key_id, asset, exchange, node, protocol, state, tier, prices,
            latency_ns
        FROM usage_logs
        WHERE at >= since AND at < until
    ) AS log
    GROUP BY GROUPING SETS ((day), (day, asset), (day, exchange), (day, node), (day, protocol));
$$;

CREATE TABLE usage_days (
    day date NOT NULL,
    dimension text NOT NULL,
    value text NOT NULL,
    answers bigint NOT NULL,
    prices bigint NOT NULL,
    from_memory bigint NOT NULL,
    hit_rate numeric NOT NULL,
    live bigint NOT NULL,
    stale bigint NOT NULL,
    keys bigint NOT NULL,
    assets bigint NOT NULL,
    timed bigint NOT NULL,
    latency_ns double precision[],
    PRIMARY KEY (day, dimension, value)
);

COMMENT ON TABLE usage_days IS 'usage by day and dimension, summed up when the day was over; outlives usage_logs';

-- Days that were summed up and have got records since. No key: who notes one must not wait for who sums up.
CREATE TABLE usage_days_late (day date NOT NULL);

-- The first day that is not summed up yet: yesterday, so that what a server sends late still finds it open.
CREATE FUNCTION first_open_day() RETURNS date LANGUAGE sql STABLE AS $$
    SELECT (now() AT TIME ZONE 'UTC')::date - 1;
$$;

CREATE FUNCTION note_late_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days_late
        SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date FROM booked
        WHERE hour < first_open_day()::timestamp AT TIME ZONE 'UTC';
    RETURN NULL;
END;
$$;

CREATE TRIGGER usage_batches_late AFTER INSERT ON usage_batches
    REFERENCING NEW TABLE AS booked FOR EACH STATEMENT EXECUTE FUNCTION note_late_usage();

-- Sums one day up. Its records may be gone, or some of them: only more answers than were there replace what is there.
CREATE FUNCTION close_usage_day(closing date) RETURNS void LANGUAGE sql AS $$
    WITH fresh AS MATERIALIZED (
        SELECT * FROM usage_by_day(closing::timestamp AT TIME ZONE 'UTC', (closing + 1)::timestamp AT TIME ZONE 'UTC')
    )
    INSERT INTO usage_days
        SELECT * FROM fresh
        WHERE EXISTS (
            SELECT FROM fresh AS whole
            LEFT JOIN usage_days AS kept USING (day, dimension, value)
            WHERE whole.dimension = 'all' AND whole.answers > coalesce(kept.answers, 0)
        )
    ON CONFLICT (day, dimension, value) DO UPDATE SET
        (answers, prices, from_memory, hit_rate, live, stale, keys, assets, timed, latency_ns) = (
            excluded.answers, excluded.prices, excluded.from_memory, excluded.hit_rate, excluded.live, excluded.stale,
            excluded.keys, excluded.assets, excluded.timed, excluded.latency_ns
        );
$$;

CREATE MATERIALIZED VIEW mv_usage_daily AS
    SELECT * FROM usage_days WHERE day < first_open_day() AND day > first_open_day() - 400
    UNION ALL
    SELECT * FROM usage_by_day(first_open_day()::timestamp AT TIME ZONE 'UTC', 'infinity');

-- REFRESH … CONCURRENTLY compares by it.
CREATE UNIQUE INDEX mv_usage_daily_key ON mv_usage_daily (day, dimension, value);

-- Refreshes mv_usage_daily when it is older than `older_than`, and nobody else is at it; true when it did. One that
-- takes more than half a minute is not made as often: it may have a tenth of the time. Readers see the rows of before
-- until it is done.
CREATE OR REPLACE FUNCTION refresh_usage_daily(older_than interval DEFAULT '0') RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    due date[];
BEGIN
    -- "rollu" in ASCII.
    IF NOT pg_try_advisory_xact_lock(x'726f6c6c75'::bigint) THEN
        RETURN false;
    END IF;
    IF EXISTS (
        SELECT FROM usage_rollup
        WHERE refreshed_at > clock_timestamp() - older_than
            OR took_ms > 30000 AND refreshed_at > clock_timestamp() - 10 * took_ms * interval '1 ms'
    ) THEN
        RETURN false;
    END IF;
    began := clock_timestamp();
    WITH late AS (DELETE FROM usage_days_late RETURNING day)
    SELECT array_agg(DISTINCT day) INTO due FROM (
        SELECT day FROM late
        UNION ALL
        SELECT past.day::date
        FROM generate_series(first_open_day() - 35, first_open_day() - 1, interval '1 day') AS past (day)
        WHERE NOT EXISTS (SELECT FROM usage_days AS kept WHERE kept.day = past.day::date AND kept.dimension = 'all')
    ) AS days;
    PERFORM close_usage_day(closing) FROM unnest(due) AS closing;
    REFRESH MATERIALIZED VIEW CONCURRENTLY mv_usage_daily;
    UPDATE usage_rollup
    SET refreshed_at = began, took_ms = round(1000 * extract(epoch FROM clock_timestamp() - began))::integer;
    RETURN true;
END;
$$;
