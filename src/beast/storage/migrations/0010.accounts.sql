-- depends: 0001.accounts

-- The life of a key (pause, rotation, scopes, networks), the events of its cap, who changed what, and answers kept for
-- requests that are sent again.

ALTER TABLE users
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
    ADD CONSTRAINT users_preferred_lang CHECK (preferred_lang ~ '^[a-z]{2,3}(-[A-Z]{2})?$');

ALTER TABLE api_keys
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN scopes text[] NOT NULL DEFAULT '{price,report}'
        CHECK (scopes <@ '{price,report,push,admin}' AND cardinality(scopes) BETWEEN 1 AND 4),
    ADD COLUMN networks cidr[] NOT NULL DEFAULT '{}'
        CHECK (cardinality(networks) <= 16 AND array_position(networks, NULL) IS NULL),
    ADD COLUMN successor_id bigint UNIQUE REFERENCES api_keys (id) ON DELETE SET NULL CHECK (successor_id <> id),
    ADD COLUMN quota_key_id bigint;

COMMENT ON COLUMN api_keys.paused_at IS 'since when its owner or the operator has it refused; NULL: it is not paused';
COMMENT ON COLUMN api_keys.scopes IS 'what it opens: price, report, push; admin opens nothing under /admin/';
COMMENT ON COLUMN api_keys.networks IS 'the only networks that it may be used from; empty: any';
COMMENT ON COLUMN api_keys.successor_id IS 'the key that this one was rotated to; this one expires at the end of the grace';
-- A rotated key and its successors are one customer: one cap, one rate. All of such a line carry the id of its first
-- key here (that row may be gone). Each row keeps its own counter, so that every answer is with the key that asked:
-- what counts against the cap is their sum, used_in_month(). The tier is the same for the whole line.
COMMENT ON COLUMN api_keys.quota_key_id IS
    'the first key of the line of rotated keys, which share limits and cap; NULL: never rotated. coalesce(quota_key_id, id) owns the quota';

CREATE INDEX api_keys_quota_key_id ON api_keys (quota_key_id) WHERE quota_key_id IS NOT NULL;

-- Prices answered in `month` to the whole line of this key. A node whose clock is behind still sees the newer month's.
CREATE FUNCTION used_in_month(k api_keys, month date) RETURNS bigint LANGUAGE sql STABLE
RETURN CASE
    WHEN k.quota_key_id IS NOT NULL THEN (
        SELECT coalesce(sum(line.current_usage), 0)::bigint
        FROM api_keys AS line
        WHERE line.quota_key_id = k.quota_key_id AND line.usage_month >= month
    )
    WHEN k.usage_month >= month THEN k.current_usage
    ELSE 0
END;

-- As before, with what has come since: a key that is paused, or that may not ask for prices, is as good as disabled to
-- those who answer them, and the cap is the line's. `networks` are not in here.
CREATE OR REPLACE FUNCTION pack_api_key(k api_keys, t rate_limit_template, month date) RETURNS bytea LANGUAGE sql STABLE
RETURN k.key_hash || int8send(k.id) || int4send(coalesce(t.per_second, 0)) || int4send(coalesce(t.burst, 0))
    || int8send(CASE
        WHEN t.monthly_queries IS NULL THEN -1
        ELSE greatest(t.monthly_queries - used_in_month(k, month), 0)
    END)
    || int8send(coalesce((extract(epoch FROM k.expires_at) * 1000000000)::bigint, 0))
    || boolsend(k.enabled AND k.paused_at IS NULL AND 'price' = ANY (k.scopes)) || boolsend(t.partner);

-- Usage taken back from one key is told to all of its line, since they share what is left.
CREATE OR REPLACE FUNCTION api_keys_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    lines bigint[];
BEGIN
    INSERT INTO api_keys_deleted (key_hash)
        SELECT o.key_hash FROM old_rows o JOIN new_rows n USING (id) WHERE o.key_hash <> n.key_hash
        ON CONFLICT DO NOTHING;
    PERFORM notify_beast_keys(ARRAY(
        SELECT unnest(CASE WHEN o.key_hash = n.key_hash THEN ARRAY[n.key_hash] ELSE ARRAY[o.key_hash, n.key_hash] END)
        FROM old_rows o JOIN new_rows n USING (id)
        WHERE (o.key_hash, o.tier, o.enabled, o.expires_at, o.paused_at, o.scopes, o.networks, o.quota_key_id)
            IS DISTINCT FROM
              (n.key_hash, n.tier, n.enabled, n.expires_at, n.paused_at, n.scopes, n.networks, n.quota_key_id)
           OR (o.usage_month = n.usage_month AND n.current_usage < o.current_usage)
        LIMIT 101
    ));
    lines := ARRAY(
        SELECT n.quota_key_id FROM old_rows o JOIN new_rows n USING (id)
        WHERE o.usage_month = n.usage_month AND n.current_usage < o.current_usage AND n.quota_key_id IS NOT NULL
    );
    IF cardinality(lines) > 0 THEN
        PERFORM notify_beast_keys(ARRAY(SELECT key_hash FROM api_keys WHERE quota_key_id = ANY (lines) LIMIT 101));
    END IF;
    RETURN NULL;
END;
$$;

-- A key as it may be shown: without its digest, with networks as text.
CREATE VIEW api_keys_shown AS
SELECT id, prefix, tier, label, enabled, created_at, expires_at, revoked_at, paused_at, last_used_at, current_usage,
    usage_month, user_id, scopes, networks::text[] AS networks, successor_id, quota_key_id
FROM api_keys;

CREATE TABLE usage_alert_levels (
    percent smallint PRIMARY KEY CHECK (percent BETWEEN 1 AND 100)
);

COMMENT ON TABLE usage_alert_levels IS 'the parts of a monthly cap at which an event is stored';

INSERT INTO usage_alert_levels (percent) VALUES (75), (90), (100);

-- Without a reference to api_keys: what was told stays when the key is gone.
CREATE TABLE usage_alerts (
    key_id bigint NOT NULL,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    percent smallint NOT NULL,
    used bigint NOT NULL,
    cap bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (key_id, month, percent)
);

COMMENT ON COLUMN usage_alerts.key_id IS 'the owner of the quota: coalesce(quota_key_id, id) of the key that used it';
COMMENT ON COLUMN usage_alerts.used IS 'prices answered in the month when the event was stored';

-- To be called last in the transaction that has raised the counters of `ids` in `month`: stores an event for every
-- level that a cap has reached, once each; returns how many were new. Two transactions that count for different keys of
-- one line don't see each other's counts, so they take turns here; the advisory locks are taken in one order, after
-- all rows are locked, so nobody waits in a circle.
CREATE FUNCTION note_usage_alerts(ids bigint[], month date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    stored bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(x'62656173'::int, (line.owner % 2147483647)::int)
    FROM (
        SELECT DISTINCT k.quota_key_id AS owner FROM api_keys AS k
        WHERE k.id = ANY (ids) AND k.quota_key_id IS NOT NULL
        ORDER BY 1
    ) AS line;
    INSERT INTO usage_alerts (key_id, month, percent, used, cap)
        SELECT DISTINCT ON (owner, percent) owner, note_usage_alerts.month, percent, used, cap
        FROM (
            SELECT coalesce(k.quota_key_id, k.id) AS owner, t.monthly_queries AS cap,
                used_in_month(k, note_usage_alerts.month) AS used
            FROM api_keys AS k JOIN rate_limit_template AS t USING (tier)
            WHERE k.id = ANY (ids) AND k.usage_month = note_usage_alerts.month
                AND t.monthly_queries > 0 AND NOT t.partner
        ) AS counted, usage_alert_levels
        WHERE used::numeric * 100 >= cap::numeric * percent
        ORDER BY owner, percent
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS stored = ROW_COUNT;
    RETURN stored;
END;
$$;

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    address text NOT NULL DEFAULT '',
    action text NOT NULL,
    subject text NOT NULL DEFAULT '',
    before jsonb,
    after jsonb
);

COMMENT ON COLUMN audit_log.actor IS 'who: operator (the admin key), or the system user of a command';
COMMENT ON COLUMN audit_log.address IS 'from where; empty: on the machine itself';
COMMENT ON COLUMN audit_log.subject IS 'what was changed, such as key 17';
COMMENT ON COLUMN audit_log.before IS 'what changed, as it was; NULL: it was not there, or nobody looked';

CREATE INDEX audit_log_subject ON audit_log (subject, id);
CREATE INDEX audit_log_action ON audit_log (action text_pattern_ops, id);

-- Answers to creations, for a day. The text of a new key is in `sealed` only, and that can be opened only with the
-- Idempotency-Key itself, of which there is but a digest here, and the operator's key.
CREATE TABLE idempotent_answers (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    request bytea NOT NULL CHECK (length(request) = 32),
    answer jsonb NOT NULL,
    salt bytea,
    sealed bytea,
    created_at timestamptz NOT NULL
);

COMMENT ON COLUMN idempotent_answers.digest IS 'of the path and the Idempotency-Key';
COMMENT ON COLUMN idempotent_answers.request IS 'of the body: the same key with another body is a mistake';

CREATE INDEX idempotent_answers_created_at ON idempotent_answers (created_at);
