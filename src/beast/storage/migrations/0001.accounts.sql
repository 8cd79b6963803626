-- Who may ask, how much, and the parameters of the running cluster.

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    name text NOT NULL DEFAULT '',
    preferred_lang text NOT NULL DEFAULT 'en',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (email)
);

-- NULL in a limit means that there is none.
CREATE TABLE rate_limit_template (
    tier text PRIMARY KEY,
    monthly_queries bigint CHECK (monthly_queries >= 0),
    per_second integer CHECK (per_second BETWEEN 1 AND 1000000),
    burst integer CHECK (burst BETWEEN 1 AND 1000000),
    monthly_reports integer CHECK (monthly_reports >= 0),
    unlimited_reports_addon boolean NOT NULL DEFAULT false,
    partner boolean NOT NULL DEFAULT false,
    CHECK ((per_second IS NULL) = (burst IS NULL))
);

COMMENT ON COLUMN rate_limit_template.unlimited_reports_addon IS 'the add-on that lifts monthly_reports may be bought';
COMMENT ON COLUMN rate_limit_template.partner IS 'no limit, no cap, no billing; still counted';

INSERT INTO rate_limit_template
    (tier, monthly_queries, per_second, burst, monthly_reports, unlimited_reports_addon, partner)
VALUES
    ('free', 1000, 1, 5, 10, false, false),
    ('pro', 50000, 10, 20, 10, true, false),
    ('enterprise', 500000, 50, 100, 10, true, false),
    ('unlimited', NULL, 100, 200, NULL, false, false),
    ('lifetime', NULL, 100, 200, NULL, false, false),
    ('partner', NULL, NULL, NULL, NULL, false, true);

CREATE TABLE api_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint REFERENCES users (id),
    key_hash bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    prefix text NOT NULL,
    tier text NOT NULL REFERENCES rate_limit_template (tier) ON UPDATE CASCADE,
    label text NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz CHECK (expires_at BETWEEN '2000-01-01Z' AND '2200-01-01Z'),
    revoked_at timestamptz,
    last_used_at timestamptz,
    current_usage bigint NOT NULL DEFAULT 0 CHECK (current_usage >= 0),
    usage_month date NOT NULL DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date
        CHECK (extract(day FROM usage_month) = 1)
);

COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the key; the key itself is stored nowhere';
COMMENT ON COLUMN api_keys.prefix IS 'the first characters of the key, for people';
COMMENT ON COLUMN api_keys.current_usage IS 'prices answered in usage_month (UTC)';

CREATE INDEX api_keys_user_id ON api_keys (user_id);
CREATE INDEX api_keys_prefix ON api_keys (prefix text_pattern_ops);

-- A node that missed the notification of a deletion finds the key here at its next full read.
CREATE TABLE api_keys_deleted (
    key_hash bytea PRIMARY KEY CHECK (length(key_hash) = 32),
    deleted_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX api_keys_deleted_at ON api_keys_deleted (deleted_at);

-- A key with its limits as the servers' memory takes it: digest, id, per_second (0: none), burst, what is left of
-- the month's cap (-1: none), expiry in ns since 1970 (0: never), enabled, partner. Network byte order.
CREATE FUNCTION pack_api_key(k api_keys, t rate_limit_template, month date) RETURNS bytea LANGUAGE sql STABLE
RETURN k.key_hash || int8send(k.id) || int4send(coalesce(t.per_second, 0)) || int4send(coalesce(t.burst, 0))
    || int8send(CASE
        WHEN t.monthly_queries IS NULL THEN -1
        WHEN k.usage_month < month THEN t.monthly_queries
        ELSE greatest(t.monthly_queries - k.current_usage, 0)
    END)
    || int8send(coalesce((extract(epoch FROM k.expires_at) * 1000000000)::bigint, 0))
    || boolsend(k.enabled) || boolsend(t.partner);

-- Statement-level, so that an import of a million keys is one notification ("*": read everything) and counting
-- usage is none.
CREATE FUNCTION notify_beast_keys(hashes bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(hashes) > 100 THEN
        PERFORM pg_notify('beast_keys', '*');
    ELSE
        PERFORM pg_notify('beast_keys', encode(hash, 'hex')) FROM unnest(hashes) AS hash;
    END IF;
END;
$$;

CREATE FUNCTION api_keys_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM api_keys_deleted AS gone USING new_rows WHERE gone.key_hash = new_rows.key_hash;
    PERFORM notify_beast_keys(ARRAY(SELECT key_hash FROM new_rows LIMIT 101));
    RETURN NULL;
END;
$$;

CREATE FUNCTION api_keys_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO api_keys_deleted (key_hash)
        SELECT o.key_hash FROM old_rows o JOIN new_rows n USING (id) WHERE o.key_hash <> n.key_hash
        ON CONFLICT DO NOTHING;
    PERFORM notify_beast_keys(ARRAY(
        SELECT unnest(CASE WHEN o.key_hash = n.key_hash THEN ARRAY[n.key_hash] ELSE ARRAY[o.key_hash, n.key_hash] END)
        FROM old_rows o JOIN new_rows n USING (id)
        WHERE (o.key_hash, o.tier, o.enabled, o.expires_at) IS DISTINCT FROM (n.key_hash, n.tier, n.enabled, n.expires_at)
           OR (o.usage_month = n.usage_month AND n.current_usage < o.current_usage)
        LIMIT 101
    ));
    RETURN NULL;
END;
$$;

CREATE FUNCTION api_keys_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO api_keys_deleted (key_hash) SELECT key_hash FROM old_rows ON CONFLICT DO NOTHING;
    PERFORM notify_beast_keys(ARRAY(SELECT key_hash FROM old_rows LIMIT 101));
    RETURN NULL;
END;
$$;

CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION api_keys_inserted();
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION api_keys_updated();
CREATE TRIGGER api_keys_removed AFTER DELETE ON api_keys
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION api_keys_removed();

CREATE FUNCTION notify_everything() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_ARGV[0], '*');
    RETURN NULL;
END;
$$;

CREATE TRIGGER rate_limit_template_changed AFTER INSERT OR UPDATE OR DELETE ON rate_limit_template
    FOR EACH STATEMENT EXECUTE FUNCTION notify_everything('beast_keys');

-- A row per parameter whose value is not the built-in one.
CREATE TABLE application_parameters (
    name text PRIMARY KEY,
    value jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TRIGGER application_parameters_changed AFTER INSERT OR UPDATE OR DELETE ON application_parameters
    FOR EACH STATEMENT EXECUTE FUNCTION notify_everything('beast_parameters');

CREATE TABLE application_parameter_profiles (
    profile text NOT NULL,
    name text NOT NULL,
    value jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (profile, name)
);
