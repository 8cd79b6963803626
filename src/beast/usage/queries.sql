-- Everything that usage asks the database.

-- name: make_partitions
SELECT make_usage_partitions(%(first)s, %(last)s) AS made;

-- name: tidy
-- One node at a time; those who find another at it have nothing to do.
SELECT
    make_usage_partitions(%(today)s, %(today)s + %(ahead)s) AS made,
    drop_usage_partitions(%(today)s - %(days)s) AS dropped,
    forget_usage_batches(%(today)s - greatest(%(days)s, %(identity_days)s)) AS forgotten
WHERE pg_try_advisory_xact_lock(x'7573616766'::bigint);

-- name: lead_finishing
-- One node at a time, until its connection ends.
SELECT pg_try_advisory_lock(x'7573616767'::bigint) AS mine;

-- name: unfinished
-- What the last of the days before one lacks, as statements in their order, none of which a transaction can hold: the
-- rows are frozen for good, and each index is made while others write. One that is not valid was left by somebody who
-- was stopped while making it.
WITH days AS (
    SELECT c.oid, c.relname AS part, to_date(right(c.relname, 11), '"y"YYYY"m"MM"d"DD') AS day
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage_logs'::regclass
), lacking AS (
    SELECT day, part, dimension, name, x.indexrelid IS NOT NULL AS half_made
    FROM days
    CROSS JOIN unnest(ARRAY['asset', 'source', 'node']) AS dimension
    CROSS JOIN LATERAL (SELECT part || '_at_' || dimension || '_idx') AS named (name)
    LEFT JOIN (pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid) ON x.indrelid = days.oid AND c.relname = name
    WHERE day < %(before)s AND x.indisvalid IS NOT TRUE
), last AS (
    SELECT * FROM lacking WHERE day = (SELECT max(day) FROM lacking)
)
SELECT day, part, statement
FROM (
    SELECT DISTINCT day, part, 1, format('VACUUM (FREEZE, ANALYZE) %%I', part) FROM last
    UNION ALL
    SELECT day, part, 2, format('DROP INDEX CONCURRENTLY %%I', name) FROM last WHERE half_made
    UNION ALL
    SELECT day, part, 3, format('CREATE INDEX CONCURRENTLY %%I ON %%I (at, %%I)', name, part, dimension) FROM last
) AS work (day, part, step, statement)
ORDER BY step, statement;

-- name: insert_batches
-- Those returned are new. In the order of their identities, so that two consumers can't deadlock.
INSERT INTO usage_batches (node, boot, lane, first, last, records, digest, hour)
SELECT node, boot, lane, first, last, last - first + 1, digest, hour
FROM unnest(
    %(nodes)s::text[], %(boots)s::bigint[], %(lanes)s::smallint[], %(firsts)s::bigint[], %(lasts)s::bigint[],
    %(digests)s::bytea[], %(hours)s::timestamptz[]
) AS new (node, boot, lane, first, last, digest, hour)
ORDER BY node, boot, lane, first
ON CONFLICT DO NOTHING
RETURNING node, boot, lane, first;

-- name: known_batches
SELECT node, boot, lane, first, digest
FROM usage_batches JOIN unnest(%(nodes)s::text[], %(boots)s::bigint[], %(lanes)s::smallint[], %(firsts)s::bigint[])
    AS asked (node, boot, lane, first) USING (node, boot, lane, first);

-- name: booked_wholly
-- Of the batches asked for, those all of whose records are booked. A queue may have brought one in parts.
SELECT node, boot, lane, first
FROM unnest(
    %(nodes)s::text[], %(boots)s::bigint[], %(lanes)s::smallint[], %(firsts)s::bigint[], %(lasts)s::bigint[]
) AS asked (node, boot, lane, first, last)
WHERE asked.last - asked.first + 1 = (
    SELECT sum(booked.records) FROM usage_batches AS booked
    WHERE (booked.node, booked.boot, booked.lane) = (asked.node, asked.boot, asked.lane)
        AND booked.first BETWEEN asked.first AND asked.last
);

-- name: overlapping_batches
-- Of the batches given, all of them in the table: those that share a record with another one.
SELECT node, boot, lane, first
FROM unnest(
    %(nodes)s::text[], %(boots)s::bigint[], %(lanes)s::smallint[], %(firsts)s::bigint[], %(lasts)s::bigint[]
) AS new (node, boot, lane, first, last)
WHERE EXISTS (
        SELECT FROM usage_batches AS later
        WHERE (later.node, later.boot, later.lane) = (new.node, new.boot, new.lane)
            AND later.first > new.first AND later.first <= new.last
    )
    OR new.first <= (
        SELECT earlier.last FROM usage_batches AS earlier
        WHERE (earlier.node, earlier.boot, earlier.lane) = (new.node, new.boot, new.lane) AND earlier.first < new.first
        ORDER BY earlier.first DESC
        LIMIT 1
    );

-- name: horizon
-- Psycopg knows no time before the year 1.
SELECT greatest(hour, '1970-01-01Z') FROM usage_horizon;

-- name: copy_logs
COPY usage_logs (at, key_id, asset, exchange, source, node, boot, lane, sequence, protocol, state, tier, prices, age_ms,
    latency_ns)
FROM STDIN (FORMAT binary);

-- name: count_keys
-- One statement for all keys of a group. Rows are locked in the order of their ids, so that two consumers can't
-- deadlock. A count of a month that is over is no longer held against the key.
WITH counted AS (
    SELECT id, answers, month, used_at
    FROM unnest(%(ids)s::bigint[], %(answers)s::bigint[], %(months)s::date[], %(used)s::timestamptz[])
        AS given (id, answers, month, used_at)
), locked AS (
    SELECT k.id, counted.answers, counted.month, counted.used_at
    FROM api_keys AS k JOIN counted USING (id)
    ORDER BY k.id
    FOR NO KEY UPDATE OF k
)
UPDATE api_keys AS k
SET current_usage = CASE
        WHEN k.usage_month = locked.month THEN k.current_usage + locked.answers
        WHEN k.usage_month < locked.month THEN locked.answers
        ELSE k.current_usage
    END,
    usage_month = greatest(k.usage_month, locked.month),
    last_used_at = greatest(k.last_used_at, locked.used_at)
FROM locked
WHERE k.id = locked.id;

-- name: count_hours
INSERT INTO usage_key_hours AS counted (hour, key_id, answers)
SELECT hour, id, answers
FROM unnest(%(hours)s::timestamptz[], %(ids)s::bigint[], %(answers)s::bigint[]) AS given (hour, id, answers)
ORDER BY hour, id
ON CONFLICT (hour, key_id) DO UPDATE SET answers = counted.answers + excluded.answers;

-- name: lock_lines
-- The lines of keys whose alerts are noted for several months: note_usage_alerts() locks those of one month in the order
-- of their ids, and two consumers could deadlock from one month to the next. The first number is the function's.
SELECT pg_advisory_xact_lock(x'62656173'::int, (line.owner %% 2147483647)::int)
FROM (
    SELECT DISTINCT k.quota_key_id AS owner FROM api_keys AS k
    WHERE k.id = ANY (%(ids)s::bigint[]) AND k.quota_key_id IS NOT NULL
    ORDER BY 1
) AS line;

-- name: note_alerts
SELECT note_usage_alerts(%(ids)s::bigint[], %(month)s) AS stored;

-- name: insert_dead_letter
INSERT INTO usage_dead_letters (reason, type, body, digest)
VALUES (%(reason)s, %(type)s, %(body)s, %(digest)s)
ON CONFLICT (digest) DO NOTHING;

-- name: dead_letters
SELECT id, at, reason, type, length(body) AS bytes, left(convert_from(body, 'LATIN1'), 200) AS begins
FROM usage_dead_letters
WHERE id < %(before)s
ORDER BY id DESC
LIMIT %(limit)s;

-- name: count_dead_letters
SELECT count(*) AS letters FROM usage_dead_letters;

-- name: dead_letter
SELECT body FROM usage_dead_letters WHERE id = %(id)s;

-- name: tell_edges
INSERT INTO usage_edges AS edge (node, boot, lane, made, waiting, lost, told_at)
SELECT %(node)s, boot, lane, made, waiting, lost, %(now)s
FROM unnest(
    %(boots)s::bigint[], %(lanes)s::smallint[], %(made)s::bigint[], %(waiting)s::text[]::int8multirange[],
    %(lost)s::text[]::int8multirange[]
) AS told (boot, lane, made, waiting, lost)
ORDER BY boot, lane
ON CONFLICT (node, boot, lane) DO UPDATE
SET made = greatest(edge.made, excluded.made), waiting = excluded.waiting, lost = edge.lost + excluded.lost,
    told_at = excluded.told_at;

-- name: reset_edges
-- What earlier lives of a node had said to be waiting there is either told again, or is there no more.
UPDATE usage_edges SET waiting = '{}' WHERE node = %(node)s AND boot < %(before)s AND waiting <> '{}';

-- name: delete_dead_letter
DELETE FROM usage_dead_letters WHERE id = %(id)s RETURNING id, at, reason, type, length(body) AS bytes, '' AS begins;

-- name: verify_begins
-- One picture of everything; it may take its time.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: verify_patience
SET LOCAL statement_timeout = '30min';

-- name: verify_lanes
-- What each lane says it has made, and where that is.
WITH booked AS (
    SELECT node, boot, lane, range_agg(int8range(first, last, '[]')) AS ranges
    FROM usage_batches
    GROUP BY node, boot, lane
), lanes AS (
    SELECT node, boot, lane, edge.told_at,
        greatest(edge.made, upper(booked.ranges) - 1) AS made,
        coalesce(booked.ranges, '{}') AS booked,
        coalesce(edge.waiting, '{}') - coalesce(booked.ranges, '{}') AS waiting,
        coalesce(edge.lost, '{}') AS lost,
        coalesce(edge.forgotten, '{}') AS forgotten
    FROM usage_edges AS edge FULL JOIN booked USING (node, boot, lane)
), missing AS (
    SELECT *, int8multirange(int8range(1, made + 1)) - booked - waiting - lost - forgotten AS missing
    FROM lanes
    WHERE made > 0
)
SELECT node, boot, lane, made, told_at,
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(booked) AS r) AS booked,
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(waiting) AS r) AS waiting,
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(lost) AS r) AS lost,
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(forgotten) AS r) AS forgotten,
    (SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint FROM unnest(missing) AS r) AS missing,
    left(missing::text, 200) AS missing_numbers,
    left(lost::text, 200) AS lost_numbers
FROM missing
ORDER BY node, boot, lane;

-- name: verify_hours
-- Every hour in which batches, rows and counters don't say the same.
SELECT hour, coalesce(b.records, 0) AS in_batches, coalesce(l.records, 0) AS in_logs, coalesce(k.records, 0) AS in_keys
FROM (
    SELECT hour, sum(records)::bigint AS records
    FROM usage_batches WHERE hour >= %(since)s AND hour < %(until)s GROUP BY hour
) AS b
FULL JOIN (
    SELECT date_trunc('hour', at, 'UTC') AS hour, count(*) AS records
    FROM usage_logs WHERE at >= %(since)s AND at < %(until)s GROUP BY 1
) AS l USING (hour)
FULL JOIN (
    SELECT hour, sum(answers)::bigint AS records
    FROM usage_key_hours WHERE hour >= %(since)s AND hour < %(until)s GROUP BY hour
) AS k USING (hour)
WHERE (b.records, l.records) IS DISTINCT FROM (l.records, k.records)
ORDER BY hour
LIMIT 1000;

-- name: verify_keys
-- Every key and hour in which rows and counters don't say the same.
SELECT hour, key_id, coalesce(l.answers, 0) AS in_logs, coalesce(k.answers, 0) AS in_keys
FROM (
    SELECT date_trunc('hour', at, 'UTC') AS hour, key_id, count(*) AS answers
    FROM usage_logs WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2
) AS l
FULL JOIN (
    SELECT hour, key_id, answers FROM usage_key_hours WHERE hour >= %(since)s AND hour < %(until)s
) AS k USING (hour, key_id)
WHERE l.answers IS DISTINCT FROM k.answers
ORDER BY hour, key_id
LIMIT 1000;

-- name: verify_months
-- Every key whose row doesn't say what its hours add up to.
SELECT k.id AS key_id, k.usage_month AS month, k.current_usage AS in_row,
    coalesce(h.answers, 0) + coalesce(c.answers, 0) AS in_hours
FROM api_keys AS k
LEFT JOIN (
    SELECT key_id, date_trunc('month', hour, 'UTC') AS month, sum(answers)::bigint AS answers
    FROM usage_key_hours GROUP BY 1, 2
) AS h ON h.key_id = k.id AND h.month = k.usage_month::timestamp AT TIME ZONE 'UTC'
LEFT JOIN usage_carried AS c ON c.key_id = k.id AND c.month = k.usage_month
WHERE k.current_usage <> coalesce(h.answers, 0) + coalesce(c.answers, 0)
ORDER BY k.id
LIMIT 1000;

-- name: verify_oldest
-- From when on all rows and identities are there: partitions before it have been dropped, or never were.
SELECT greatest(
    (SELECT greatest(hour, '1970-01-01Z') FROM usage_horizon),
    (SELECT min(to_date(right(c.relname, 11), '"y"YYYY"m"MM"d"DD'))::timestamp AT TIME ZONE 'UTC'
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'usage_logs'::regclass)
) AS oldest;

-- name: days
-- Answers by day, and how many keys asked.
SELECT date_trunc('day', hour, 'UTC') AS day, sum(answers)::bigint AS answers, count(DISTINCT key_id) AS keys
FROM usage_key_hours
WHERE hour >= %(since)s
GROUP BY 1
ORDER BY 1;
