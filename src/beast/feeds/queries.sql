-- name: feeds
SELECT to_jsonb(f) - 'created_at' - 'updated_at' AS feed
FROM exchange_feeds f
WHERE %(name)s::text IS NULL OR f.name = %(name)s
ORDER BY f.priority, f.name;

-- name: mappings
SELECT exchange, asset, symbol, wire_symbol, currency, enabled, prewarm, coalesce(category, '') AS category
FROM exchange_asset_map
WHERE %(exchange)s::text IS NULL OR exchange = %(exchange)s
ORDER BY exchange, asset;

-- name: save_feed
INSERT INTO exchange_feeds AS f (
    name, display_name, enabled, priority, ws_url, connect_interval_ms, max_connection_age_s, symbols_per_connection,
    subscribe_template, symbol_template, subscribe_chunk, subscribe_delay_ms, subscribe_interval_ms, trade_filter,
    price_path, symbol_path, timestamp_path, timestamp_format, fallback_timestamp_path, fallback_timestamp_format,
    other_shapes, symbol_strip_prefix, symbol_fold, ack_filter, ack_symbol_path, error_filter, error_symbol_path,
    error_message_path, error_scope, reply_id_path, heartbeat_filter, notice_filter, ping_interval_ms, ping_template,
    pong_filter, heartbeat_reply_template, patience_ms
)
SELECT
    name, display_name, enabled, priority, ws_url, connect_interval_ms, max_connection_age_s, symbols_per_connection,
    subscribe_template, symbol_template, subscribe_chunk, subscribe_delay_ms, subscribe_interval_ms, trade_filter,
    price_path, symbol_path, timestamp_path, timestamp_format, fallback_timestamp_path, fallback_timestamp_format,
    other_shapes, symbol_strip_prefix, symbol_fold, ack_filter, ack_symbol_path, error_filter, error_symbol_path,
    error_message_path, error_scope, reply_id_path, heartbeat_filter, notice_filter, ping_interval_ms, ping_template,
    pong_filter, heartbeat_reply_template, patience_ms
FROM jsonb_populate_record(NULL::exchange_feeds, %(feed)s::jsonb)
ON CONFLICT (name) DO UPDATE SET
    display_name = EXCLUDED.display_name,
    enabled = EXCLUDED.enabled,
    priority = EXCLUDED.priority,
    ws_url = EXCLUDED.ws_url,
    connect_interval_ms = EXCLUDED.connect_interval_ms,
    max_connection_age_s = EXCLUDED.max_connection_age_s,
    symbols_per_connection = EXCLUDED.symbols_per_connection,
    subscribe_template = EXCLUDED.subscribe_template,
    symbol_template = EXCLUDED.symbol_template,
    subscribe_chunk = EXCLUDED.subscribe_chunk,
    subscribe_delay_ms = EXCLUDED.subscribe_delay_ms,
    subscribe_interval_ms = EXCLUDED.subscribe_interval_ms,
    trade_filter = EXCLUDED.trade_filter,
    price_path = EXCLUDED.price_path,
    symbol_path = EXCLUDED.symbol_path,
    timestamp_path = EXCLUDED.timestamp_path,
    timestamp_format = EXCLUDED.timestamp_format,
    fallback_timestamp_path = EXCLUDED.fallback_timestamp_path,
    fallback_timestamp_format = EXCLUDED.fallback_timestamp_format,
    other_shapes = EXCLUDED.other_shapes,
    symbol_strip_prefix = EXCLUDED.symbol_strip_prefix,
    symbol_fold = EXCLUDED.symbol_fold,
    ack_filter = EXCLUDED.ack_filter,
    ack_symbol_path = EXCLUDED.ack_symbol_path,
    error_filter = EXCLUDED.error_filter,
    error_symbol_path = EXCLUDED.error_symbol_path,
    error_message_path = EXCLUDED.error_message_path,
    error_scope = EXCLUDED.error_scope,
    reply_id_path = EXCLUDED.reply_id_path,
    heartbeat_filter = EXCLUDED.heartbeat_filter,
    notice_filter = EXCLUDED.notice_filter,
    ping_interval_ms = EXCLUDED.ping_interval_ms,
    ping_template = EXCLUDED.ping_template,
    pong_filter = EXCLUDED.pong_filter,
    heartbeat_reply_template = EXCLUDED.heartbeat_reply_template,
    patience_ms = EXCLUDED.patience_ms,
    updated_at = now();

-- name: enable_feed
UPDATE exchange_feeds SET enabled = %(enabled)s, updated_at = now() WHERE name = %(name)s;

-- name: save_categories
INSERT INTO asset_categories (name, title)
SELECT DISTINCT a.category, a.category
FROM jsonb_to_recordset(%(assets)s::jsonb) AS a (category text)
WHERE a.category <> ''
ON CONFLICT (name) DO NOTHING;

-- name: update_mappings
UPDATE exchange_asset_map m
SET symbol = a.symbol,
    wire_symbol = a.wire_symbol,
    currency = a.currency,
    enabled = a.enabled,
    prewarm = a.prewarm,
    category = nullif(a.category, ''),
    updated_at = now()
FROM jsonb_to_recordset(%(assets)s::jsonb) AS a (
    asset text, symbol text, wire_symbol text, currency text, enabled boolean, prewarm boolean, category text
)
WHERE m.exchange = %(exchange)s AND m.asset = a.asset;

-- name: insert_mappings
INSERT INTO exchange_asset_map (exchange, asset, symbol, wire_symbol, currency, enabled, prewarm, category)
SELECT %(exchange)s, a.asset, a.symbol, a.wire_symbol, a.currency, a.enabled, a.prewarm, nullif(a.category, '')
FROM jsonb_to_recordset(%(assets)s::jsonb) AS a (
    asset text, symbol text, wire_symbol text, currency text, enabled boolean, prewarm boolean, category text
)
WHERE NOT EXISTS (
    SELECT FROM exchange_asset_map m WHERE m.exchange = %(exchange)s AND m.asset = a.asset
);

-- name: delete_other_mappings
DELETE FROM exchange_asset_map WHERE exchange = %(exchange)s AND asset <> ALL (%(kept)s::text[]);
