-- depends: 0008.gaps

-- One row for every answered request. Partitions of one UTC day each are made ahead, on demand, and dropped whole.
CREATE TABLE usage_logs (
    at timestamptz NOT NULL,
    key_id bigint NOT NULL,
    asset text NOT NULL,
    exchange text NOT NULL,
    source text NOT NULL,
    node text NOT NULL,
    boot bigint NOT NULL,
    lane smallint NOT NULL,
    sequence bigint NOT NULL,
    protocol text NOT NULL,
    state text NOT NULL,
    tier smallint NOT NULL,
    prices smallint NOT NULL,
    age_ms integer NOT NULL,
    latency_ns integer
) PARTITION BY RANGE (at);

CREATE INDEX usage_logs_asset ON usage_logs (at, asset);
CREATE INDEX usage_logs_key ON usage_logs (at, key_id);
CREATE INDEX usage_logs_source ON usage_logs (at, source);
CREATE INDEX usage_logs_node ON usage_logs (at, node);

COMMENT ON TABLE usage_logs IS 'answered requests; (node, boot, lane, sequence) is a record''s identity';
COMMENT ON COLUMN usage_logs.at IS 'when the request was received';
COMMENT ON COLUMN usage_logs.asset IS 'of the price; of the first one, when several were asked';
COMMENT ON COLUMN usage_logs.boot IS 'when that server was started, in ns since 1970';
COMMENT ON COLUMN usage_logs.protocol IS 'udp or http';
COMMENT ON COLUMN usage_logs.state IS 'live, quiet or stale';
COMMENT ON COLUMN usage_logs.prices IS 'how many prices the answer held';
COMMENT ON COLUMN usage_logs.latency_ns IS 'from receipt to sending; NULL: not measured';

-- The identities of what is in usage_logs, in the transaction that put it there. A batch lies within one hour.
CREATE TABLE usage_batches (
    node text NOT NULL,
    boot bigint NOT NULL,
    lane smallint NOT NULL,
    first bigint NOT NULL CHECK (first > 0),
    last bigint NOT NULL,
    records integer NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    hour timestamptz NOT NULL,
    consumed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node, boot, lane, first),
    CHECK (records = last - first + 1)
);

CREATE INDEX usage_batches_hour ON usage_batches USING brin (hour);

-- What could not be booked, as it came. The same body is kept once.
CREATE TABLE usage_dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32)
);

-- Answers by hour of UTC and key, counted when the records are booked: outlives usage_logs, and checks it.
CREATE TABLE usage_key_hours (
    hour timestamptz NOT NULL,
    key_id bigint NOT NULL,
    answers bigint NOT NULL CHECK (answers > 0),
    PRIMARY KEY (hour, key_id)
) WITH (fillfactor = 70);

-- What each lane of each server says that it has made, and how much of it is still on its way.
CREATE TABLE usage_edges (
    node text NOT NULL,
    boot bigint NOT NULL,
    lane smallint NOT NULL,
    made bigint NOT NULL CHECK (made >= 0),
    waiting int8multirange NOT NULL DEFAULT '{}',
    lost int8multirange NOT NULL DEFAULT '{}',
    forgotten int8multirange NOT NULL DEFAULT '{}',
    told_at timestamptz NOT NULL,
    PRIMARY KEY (node, boot, lane)
);

COMMENT ON COLUMN usage_edges.made IS 'the highest sequence number given to an answer';
COMMENT ON COLUMN usage_edges.waiting IS 'in that server''s rings and spool, not yet acknowledged by its sink';
COMMENT ON COLUMN usage_edges.lost IS 'numbers that never got a record, because the ring was full';
COMMENT ON COLUMN usage_edges.forgotten IS 'booked, and their identities deleted since';

-- Identities of batches before this hour are deleted: what comes from before it can't be told from a repeat.
CREATE TABLE usage_horizon (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    hour timestamptz NOT NULL
);

INSERT INTO usage_horizon (hour) VALUES ('-infinity');

-- What keys had used before there were records of it.
CREATE TABLE usage_carried (
    key_id bigint NOT NULL,
    month date NOT NULL,
    answers bigint NOT NULL,
    PRIMARY KEY (key_id, month)
);

INSERT INTO usage_carried (key_id, month, answers)
    SELECT id, usage_month, current_usage FROM api_keys WHERE current_usage > 0;

-- The counters of a key change all the time; none of them is in an index, so that a new version fits beside the old.
ALTER TABLE api_keys SET (fillfactor = 80);

-- Asks the table itself: what a session keeps in its cache of names may be of before it waited for a lock.
CREATE FUNCTION usage_partition_exists(part text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage_logs'::regclass AND c.relname = part
    );
END;
$$;

-- Makes the partitions of the days from `first_day` to `last_day` that are missing; returns how many that were.
-- Made aside and attached, so that nobody who writes or reads the table has to wait.
CREATE FUNCTION make_usage_partitions(first_day date, last_day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    day date;
    part text;
    made integer := 0;
BEGIN
    FOR day IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        part := 'usage_logs_' || to_char(day, '"y"YYYY"m"MM"d"DD');
        CONTINUE WHEN usage_partition_exists(part);
        -- "usage" in ASCII. Of two that make the same day the second finds it made.
        PERFORM pg_advisory_xact_lock(x'7573616765'::bigint);
        CONTINUE WHEN usage_partition_exists(part);
        EXECUTE format('CREATE TABLE %I (LIKE usage_logs INCLUDING ALL)', part);
        EXECUTE format('ALTER TABLE usage_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            part, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        made := made + 1;
    END LOOP;
    RETURN made;
END;
$$;

-- Drops the partitions of all days before `first_kept`; returns their names. Gives up, to be tried again later, when
-- a reader holds the table for longer than two seconds: writers would queue behind it.
CREATE FUNCTION drop_usage_partitions(first_kept date) RETURNS text[] LANGUAGE plpgsql
    SET lock_timeout = '2s' AS $$
DECLARE
    part text;
    dropped text[] := '{}';
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'usage_logs'::regclass
            AND c.relname < 'usage_logs_' || to_char(first_kept, '"y"YYYY"m"MM"d"DD')
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', part);
        dropped := dropped || part;
    END LOOP;
    RETURN dropped;
END;
$$;

-- Deletes the identities of batches before `first_kept`; returns how many. From then on such batches are refused.
CREATE FUNCTION forget_usage_batches(first_kept date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    horizon timestamptz := first_kept::timestamp AT TIME ZONE 'UTC';
    deleted bigint;
BEGIN
    UPDATE usage_horizon SET hour = horizon WHERE hour < horizon;
    WITH gone AS (
        DELETE FROM usage_batches WHERE hour < horizon RETURNING node, boot, lane, first, last
    ), ranges AS (
        SELECT node, boot, lane, range_agg(int8range(first, last, '[]')) AS gone, count(*) AS batches
        FROM gone GROUP BY node, boot, lane
    ), told AS (
        UPDATE usage_edges AS edge SET forgotten = edge.forgotten + ranges.gone
        FROM ranges WHERE (edge.node, edge.boot, edge.lane) = (ranges.node, ranges.boot, ranges.lane)
    )
    SELECT coalesce(sum(batches), 0) INTO deleted FROM ranges;
    DELETE FROM usage_edges
        WHERE told_at < horizon AND int8multirange(int8range(1, made, '[]')) <@ (forgotten + lost);
    RETURN deleted;
END;
$$;

-- What a SELECT returns would be printed.
DO $$ BEGIN
    PERFORM make_usage_partitions((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 2);
END; $$;
