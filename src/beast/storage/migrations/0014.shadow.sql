-- depends: 0008.gaps

-- Every version of an exchange's rows, whoever changed them; and drafts, which run beside the live rows until they
-- have agreed with the other exchanges for long enough.

CREATE TABLE exchange_feed_versions (
    exchange text NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    feed jsonb,
    assets jsonb NOT NULL,
    PRIMARY KEY (exchange, number)
);

COMMENT ON COLUMN exchange_feed_versions.who IS 'the setting beast.who of the transaction, else its application_name';
COMMENT ON COLUMN exchange_feed_versions.feed IS 'null: the exchange was deleted';
COMMENT ON COLUMN exchange_feed_versions.assets IS 'all rows of exchange_asset_map, by asset';

-- Notes the rows of one exchange as they are, unless they are what the newest version says.
CREATE FUNCTION keep_feed_version(of_exchange text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    row_now jsonb;
    assets_now jsonb;
    newest exchange_feed_versions;
BEGIN
    SELECT to_jsonb(f) - '{created_at,updated_at}'::text[] INTO row_now FROM exchange_feeds f WHERE f.name = of_exchange;
    SELECT coalesce(jsonb_agg(to_jsonb(m) - '{id,exchange,created_at,updated_at}'::text[] ORDER BY m.asset), '[]')
    INTO assets_now FROM exchange_asset_map m WHERE m.exchange = of_exchange;
    SELECT * INTO newest FROM exchange_feed_versions v WHERE v.exchange = of_exchange ORDER BY v.number DESC LIMIT 1;
    IF FOUND AND newest.feed IS NOT DISTINCT FROM row_now AND newest.assets = assets_now THEN
        RETURN;
    END IF;
    INSERT INTO exchange_feed_versions (exchange, number, who, feed, assets)
    VALUES (
        of_exchange,
        coalesce(newest.number, 0) + 1,
        coalesce(nullif(current_setting('beast.who', true), ''), nullif(current_setting('application_name'), ''), 'SQL'),
        row_now,
        assets_now
    );
    DELETE FROM exchange_feed_versions v WHERE v.exchange = of_exchange AND v.number <= newest.number - 100;
END;
$$;

-- Runs when a transaction commits, once for each row that it has changed; the first of an exchange does the work. One
-- lock for all exchanges: whoever waits for it holds all else already, so that nobody waits for each other.
CREATE FUNCTION keep_feed_versions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept text := coalesce(current_setting('beast.versions_kept', true), '');
    changed text;
BEGIN
    FOR changed IN
        SELECT DISTINCT image ->> TG_ARGV[0]
        FROM unnest(ARRAY[
            CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END
        ]) AS image
        WHERE image IS NOT NULL
    LOOP
        IF position(',' || changed || ',' IN kept) = 0 THEN
            PERFORM pg_advisory_xact_lock(7454135);
            PERFORM keep_feed_version(changed);
            kept := kept || ',' || changed || ',';
            PERFORM set_config('beast.versions_kept', kept, true);
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;

-- A later migration that changes rows and then the tables says SET CONSTRAINTS ALL IMMEDIATE in between.
CREATE CONSTRAINT TRIGGER exchange_feeds_version_new AFTER INSERT OR DELETE ON exchange_feeds
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep_feed_versions('name');
CREATE CONSTRAINT TRIGGER exchange_feeds_version AFTER UPDATE ON exchange_feeds
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (to_jsonb(OLD) - 'updated_at' IS DISTINCT FROM to_jsonb(NEW) - 'updated_at')
    EXECUTE FUNCTION keep_feed_versions('name');
CREATE CONSTRAINT TRIGGER exchange_asset_map_version_new AFTER INSERT OR DELETE ON exchange_asset_map
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep_feed_versions('exchange');
CREATE CONSTRAINT TRIGGER exchange_asset_map_version AFTER UPDATE ON exchange_asset_map
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (to_jsonb(OLD) - 'updated_at' IS DISTINCT FROM to_jsonb(NEW) - 'updated_at')
    EXECUTE FUNCTION keep_feed_versions('exchange');

DO $$
BEGIN
    PERFORM keep_feed_version(name) FROM exchange_feeds;
END;
$$;

CREATE TABLE exchange_feed_drafts (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL CHECK (exchange ~ '^[a-z0-9_-]{1,16}$'),
    state text NOT NULL DEFAULT 'shadow' CHECK (state IN ('shadow', 'agreeing', 'live', 'rejected', 'fallen_back')),
    who text NOT NULL,
    created_at timestamptz NOT NULL,
    change jsonb NOT NULL,
    bps integer CHECK (bps BETWEEN 1 AND 10000),
    minutes integer CHECK (minutes BETWEEN 1 AND 10080),
    auto boolean NOT NULL,
    tested text NOT NULL DEFAULT '',
    agreed integer NOT NULL DEFAULT 0,
    proven text[] NOT NULL DEFAULT '{}',
    ripe boolean NOT NULL DEFAULT false,
    waits_for text NOT NULL DEFAULT 'the first minute',
    judged_at timestamptz,
    verdict jsonb,
    minutes_past jsonb NOT NULL DEFAULT '[]',
    base integer,
    version integer,
    live_at timestamptz,
    ended_at timestamptz,
    ended_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT ''
);

CREATE UNIQUE INDEX exchange_feed_drafts_running ON exchange_feed_drafts (exchange)
    WHERE state IN ('shadow', 'agreeing');
CREATE INDEX exchange_feed_drafts_exchange ON exchange_feed_drafts (exchange, id);

COMMENT ON COLUMN exchange_feed_drafts.change IS 'columns of the feed, rows of assets, and whether all others go';
COMMENT ON COLUMN exchange_feed_drafts.bps IS 'null: the parameter shadow_bps; likewise minutes';
COMMENT ON COLUMN exchange_feed_drafts.tested IS 'digest of the whole rows that ran: nothing else goes live';
COMMENT ON COLUMN exchange_feed_drafts.agreed IS 'minutes in a row';
COMMENT ON COLUMN exchange_feed_drafts.proven IS 'assets that were compared in these minutes';
COMMENT ON COLUMN exchange_feed_drafts.waits_for IS 'empty: it may go live';
COMMENT ON COLUMN exchange_feed_drafts.base IS 'the version before it went live; null: there was no such exchange';

CREATE FUNCTION notify_beast_drafts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('beast_feed_drafts', NEW.exchange);
    RETURN NULL;
END;
$$;

-- What is judged every minute is nobody's news.
CREATE TRIGGER exchange_feed_drafts_new AFTER INSERT ON exchange_feed_drafts
    FOR EACH ROW EXECUTE FUNCTION notify_beast_drafts();
CREATE TRIGGER exchange_feed_drafts_notify AFTER UPDATE ON exchange_feed_drafts
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION notify_beast_drafts();
