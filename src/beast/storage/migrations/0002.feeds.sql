-- depends: 0001.accounts

-- The exchanges: what stands in these tables is all that the server knows of one. Columns mean what
-- beast.feeds.types says; docs/add_an_exchange.md explains them.

CREATE TABLE exchange_feeds (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9_-]{1,16}$'),
    display_name text NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    priority integer NOT NULL DEFAULT 100 CHECK (priority >= 0),
    ws_url text NOT NULL CHECK (ws_url ~ '^wss?://'),
    connect_interval_ms integer NOT NULL DEFAULT 1000 CHECK (connect_interval_ms >= 0),
    max_connection_age_s integer NOT NULL DEFAULT 0 CHECK (max_connection_age_s >= 0),
    symbols_per_connection integer NOT NULL DEFAULT 0 CHECK (symbols_per_connection >= 0),
    subscribe_template text NOT NULL DEFAULT '',
    symbol_template text NOT NULL DEFAULT '{SYMBOL}',
    subscribe_chunk integer NOT NULL DEFAULT 0 CHECK (subscribe_chunk >= 0),
    subscribe_delay_ms integer NOT NULL DEFAULT 0 CHECK (subscribe_delay_ms >= 0),
    subscribe_interval_ms integer NOT NULL DEFAULT 0 CHECK (subscribe_interval_ms >= 0),
    trade_filter jsonb NOT NULL CHECK (jsonb_typeof(trade_filter) = 'array'),
    price_path text NOT NULL CHECK (price_path <> ''),
    symbol_path text NOT NULL CHECK (symbol_path <> ''),
    timestamp_path text NOT NULL DEFAULT '',
    timestamp_format text NOT NULL DEFAULT 'rfc3339',
    fallback_timestamp_path text NOT NULL DEFAULT '',
    fallback_timestamp_format text NOT NULL DEFAULT 'rfc3339',
    other_shapes jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(other_shapes) = 'array'),
    symbol_strip_prefix text NOT NULL DEFAULT '',
    symbol_fold text NOT NULL DEFAULT 'none' CHECK (symbol_fold IN ('none', 'upper', 'lower')),
    ack_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(ack_filter) = 'array'),
    ack_symbol_path text NOT NULL DEFAULT '',
    error_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(error_filter) = 'array'),
    error_symbol_path text NOT NULL DEFAULT '',
    error_message_path text NOT NULL DEFAULT '',
    error_scope text NOT NULL DEFAULT 'symbol' CHECK (error_scope IN ('symbol', 'message')),
    reply_id_path text NOT NULL DEFAULT '',
    heartbeat_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(heartbeat_filter) = 'array'),
    notice_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(notice_filter) = 'array'),
    ping_interval_ms integer NOT NULL DEFAULT 0 CHECK (ping_interval_ms >= 0),
    ping_template text NOT NULL DEFAULT '',
    pong_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(pong_filter) = 'array'),
    heartbeat_reply_template text NOT NULL DEFAULT '',
    patience_ms integer NOT NULL DEFAULT 30000 CHECK (patience_ms >= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE asset_categories (
    name text PRIMARY KEY CHECK (name <> ''),
    title text NOT NULL,
    position integer NOT NULL DEFAULT 1000
);

-- A unique constraint that waits for the commit lets one statement exchange two symbols.
CREATE TABLE exchange_asset_map (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL REFERENCES exchange_feeds (name) ON UPDATE CASCADE ON DELETE CASCADE,
    asset text NOT NULL CHECK (asset ~ '^[A-Z0-9._-]{1,20}$'),
    symbol text NOT NULL CHECK (octet_length(symbol) BETWEEN 1 AND 64),
    wire_symbol text NOT NULL DEFAULT '' CHECK (octet_length(wire_symbol) <= 64),
    currency text NOT NULL CHECK (currency ~ '^[A-Z0-9]{1,10}$'),
    enabled boolean NOT NULL DEFAULT true,
    prewarm boolean NOT NULL DEFAULT true,
    category text REFERENCES asset_categories (name) ON UPDATE CASCADE ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (exchange, asset),
    UNIQUE (exchange, symbol) DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX exchange_asset_map_asset ON exchange_asset_map (asset);

COMMENT ON COLUMN exchange_asset_map.symbol IS 'as subscribed';
COMMENT ON COLUMN exchange_asset_map.wire_symbol IS 'as trade frames name it, where that differs';
COMMENT ON COLUMN exchange_asset_map.prewarm IS 'subscribed from the start';

-- Whoever runs feeds listens on beast_feeds; the payload is the exchange whose rows changed. Equal notifications of
-- one transaction are sent once.
CREATE FUNCTION notify_beast_feeds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_row jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    PERFORM pg_notify('beast_feeds', of_row ->> TG_ARGV[0]);
    RETURN NULL;
END;
$$;

CREATE TRIGGER exchange_feeds_notify AFTER INSERT OR UPDATE OR DELETE ON exchange_feeds
    FOR EACH ROW EXECUTE FUNCTION notify_beast_feeds('name');
CREATE TRIGGER exchange_asset_map_notify AFTER INSERT OR UPDATE OR DELETE ON exchange_asset_map
    FOR EACH ROW EXECUTE FUNCTION notify_beast_feeds('exchange');
