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
