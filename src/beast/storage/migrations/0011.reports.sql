-- depends: 0009.usage 0010.accounts

-- How many reports a customer has made: one row each, whose two counts begin anew by themselves. `key_id` is the owner
-- of the quota, coalesce(quota_key_id, id): a rotated key goes on where its line was.
CREATE TABLE report_count (
    key_id bigint PRIMARY KEY,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    day date NOT NULL,
    in_month integer NOT NULL CHECK (in_month >= 0),
    in_day integer NOT NULL CHECK (in_day >= 0),
    allowed integer CHECK (allowed >= 0),
    last_at timestamptz NOT NULL
) WITH (fillfactor = 70);

COMMENT ON COLUMN report_count.month IS 'the month (UTC) that in_month counts; a count of a month that is over is no count';
COMMENT ON COLUMN report_count.allowed IS 'reports a month when the last one was made; NULL: no limit';

-- Who has bought the add-on that lifts the limit, where rate_limit_template says that it may be bought.
CREATE TABLE report_addons (
    key_id bigint PRIMARY KEY,
    since timestamptz NOT NULL
);

COMMENT ON COLUMN report_addons.key_id IS 'the owner of the quota, as in report_count';

-- A line for each report made. Without a reference to api_keys: it stays when the key is gone.
CREATE TABLE report_usage_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    key_id bigint,
    node text NOT NULL,
    address text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('report', 'records', 'summary')),
    format text NOT NULL CHECK (format IN ('json', 'csv', 'xlsx', 'pdf', 'udp')),
    query text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    ms integer NOT NULL,
    state text NOT NULL CHECK (state IN ('made', 'aborted', 'failed'))
);

COMMENT ON COLUMN report_usage_logs.key_id IS 'who asked; NULL: the operator';
COMMENT ON COLUMN report_usage_logs.state IS 'made; aborted: the client left before the end; failed: taken back, not counted';

CREATE INDEX report_usage_logs_key ON report_usage_logs (key_id, id);
CREATE INDEX report_usage_logs_at ON report_usage_logs (at);

-- The answers that are meant: received in a time, and of these values. NULL means all. PostgreSQL puts the body in the
-- place of the call, so that whole partitions are left out and the indexes are used.
CREATE FUNCTION usage_meant(
    since timestamptz, until timestamptz, keys bigint[], assets text[], exchanges text[], sources text[], nodes text[],
    protocols text[], states text[], tiers smallint[]
) RETURNS SETOF usage_logs LANGUAGE sql STABLE AS $$
    SELECT * FROM usage_logs AS u
    WHERE u.at >= since AND u.at < until
        AND (keys IS NULL OR u.key_id = ANY (keys))
        AND (assets IS NULL OR u.asset = ANY (assets))
        AND (exchanges IS NULL OR u.exchange = ANY (exchanges))
        AND (sources IS NULL OR u.source = ANY (sources))
        AND (nodes IS NULL OR u.node = ANY (nodes))
        AND (protocols IS NULL OR u.protocol = ANY (protocols))
        AND (states IS NULL OR u.state = ANY (states))
        AND (tiers IS NULL OR u.tier = ANY (tiers))
$$;

-- What a record says in a dimension of reports, as text; NULL in none. Days and hours are those of UTC.
CREATE FUNCTION usage_dimension(dimension text, u usage_logs) RETURNS text LANGUAGE sql STABLE
RETURN CASE dimension
    WHEN 'asset' THEN u.asset
    WHEN 'exchange' THEN u.exchange
    WHEN 'source' THEN u.source
    WHEN 'node' THEN u.node
    WHEN 'protocol' THEN u.protocol
    WHEN 'state' THEN u.state
    WHEN 'tier' THEN u.tier::text
    WHEN 'key' THEN u.key_id::text
    WHEN 'day' THEN to_char(u.at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
    WHEN 'hour' THEN to_char(u.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00"Z"')
END;
