-- name: feeds
SELECT to_jsonb(f) - 'created_at' - 'updated_at' AS feed
FROM exchange_feeds f
WHERE %(name)s::text IS NULL OR f.name = %(name)s
ORDER BY f.priority, f.name;

-- name: mappings
SELECT exchange, asset, symbol, wire_symbol, currency, enabled, prewarm, coalesce(category, '') AS category, band_bps
FROM exchange_asset_map
WHERE %(exchange)s::text IS NULL OR exchange = %(exchange)s
ORDER BY exchange, asset;

-- name: save_feed
INSERT INTO exchange_feeds AS f (
    name, display_name, enabled, priority, ws_url, connect_interval_ms, max_connection_age_s, symbols_per_connection,
    token_url, token_method, token_path, endpoint_path, ping_interval_path, subscribe_template, unsubscribe_template,
    symbol_template, subscribe_chunk, subscribe_delay_ms, subscribe_interval_ms, compression, trade_filter,
    price_path, price_scale, symbol_path, timestamp_path, timestamp_format, fallback_timestamp_path,
    fallback_timestamp_format, other_shapes, sequence_scope, sequence_path, symbol_strip_prefix, symbol_strip_suffix,
    symbol_fold, ack_filter, ack_symbol_path, error_filter, error_symbol_path, error_message_path, error_scope,
    channel_path, reply_id_path, heartbeat_filter, notice_filter, ping_interval_ms, ping_template, pong_filter,
    heartbeat_reply_template, patience_ms, rest_ticker_url, rest_price_path, rest_volume_path,
    rest_timestamp_path, rest_timestamp_format, rest_error_filter, rest_products_url, rest_products_path,
    rest_product_symbol_path, rest_product_filter, rest_per_second, rest_timeout_ms, consensus_weight
)
SELECT
    name, display_name, enabled, priority, ws_url, connect_interval_ms, max_connection_age_s, symbols_per_connection,
    token_url, token_method, token_path, endpoint_path, ping_interval_path, subscribe_template, unsubscribe_template,
    symbol_template, subscribe_chunk, subscribe_delay_ms, subscribe_interval_ms, compression, trade_filter,
    price_path, price_scale, symbol_path, timestamp_path, timestamp_format, fallback_timestamp_path,
    fallback_timestamp_format, other_shapes, sequence_scope, sequence_path, symbol_strip_prefix, symbol_strip_suffix,
    symbol_fold, ack_filter, ack_symbol_path, error_filter, error_symbol_path, error_message_path, error_scope,
    channel_path, reply_id_path, heartbeat_filter, notice_filter, ping_interval_ms, ping_template, pong_filter,
    heartbeat_reply_template, patience_ms, rest_ticker_url, rest_price_path, rest_volume_path,
    rest_timestamp_path, rest_timestamp_format, rest_error_filter, rest_products_url, rest_products_path,
    rest_product_symbol_path, rest_product_filter, rest_per_second, rest_timeout_ms, consensus_weight
FROM jsonb_populate_record(NULL::exchange_feeds, %(feed)s::jsonb)
ON CONFLICT (name) DO UPDATE SET
    display_name = EXCLUDED.display_name,
    enabled = EXCLUDED.enabled,
    priority = EXCLUDED.priority,
    ws_url = EXCLUDED.ws_url,
    connect_interval_ms = EXCLUDED.connect_interval_ms,
    max_connection_age_s = EXCLUDED.max_connection_age_s,
    symbols_per_connection = EXCLUDED.symbols_per_connection,
    token_url = EXCLUDED.token_url,
    token_method = EXCLUDED.token_method,
    token_path = EXCLUDED.token_path,
    endpoint_path = EXCLUDED.endpoint_path,
    ping_interval_path = EXCLUDED.ping_interval_path,
    subscribe_template = EXCLUDED.subscribe_template,
    unsubscribe_template = EXCLUDED.unsubscribe_template,
    symbol_template = EXCLUDED.symbol_template,
    subscribe_chunk = EXCLUDED.subscribe_chunk,
    subscribe_delay_ms = EXCLUDED.subscribe_delay_ms,
    subscribe_interval_ms = EXCLUDED.subscribe_interval_ms,
    compression = EXCLUDED.compression,
    trade_filter = EXCLUDED.trade_filter,
    price_path = EXCLUDED.price_path,
    price_scale = EXCLUDED.price_scale,
    symbol_path = EXCLUDED.symbol_path,
    timestamp_path = EXCLUDED.timestamp_path,
    timestamp_format = EXCLUDED.timestamp_format,
    fallback_timestamp_path = EXCLUDED.fallback_timestamp_path,
    fallback_timestamp_format = EXCLUDED.fallback_timestamp_format,
    other_shapes = EXCLUDED.other_shapes,
    sequence_scope = EXCLUDED.sequence_scope,
    sequence_path = EXCLUDED.sequence_path,
    symbol_strip_prefix = EXCLUDED.symbol_strip_prefix,
    symbol_strip_suffix = EXCLUDED.symbol_strip_suffix,
    symbol_fold = EXCLUDED.symbol_fold,
    ack_filter = EXCLUDED.ack_filter,
    ack_symbol_path = EXCLUDED.ack_symbol_path,
    error_filter = EXCLUDED.error_filter,
    error_symbol_path = EXCLUDED.error_symbol_path,
    error_message_path = EXCLUDED.error_message_path,
    error_scope = EXCLUDED.error_scope,
    channel_path = EXCLUDED.channel_path,
    reply_id_path = EXCLUDED.reply_id_path,
    heartbeat_filter = EXCLUDED.heartbeat_filter,
    notice_filter = EXCLUDED.notice_filter,
    ping_interval_ms = EXCLUDED.ping_interval_ms,
    ping_template = EXCLUDED.ping_template,
    pong_filter = EXCLUDED.pong_filter,
    heartbeat_reply_template = EXCLUDED.heartbeat_reply_template,
    patience_ms = EXCLUDED.patience_ms,
    rest_ticker_url = EXCLUDED.rest_ticker_url,
    rest_price_path = EXCLUDED.rest_price_path,
    rest_volume_path = EXCLUDED.rest_volume_path,
    rest_timestamp_path = EXCLUDED.rest_timestamp_path,
    rest_timestamp_format = EXCLUDED.rest_timestamp_format,
    rest_error_filter = EXCLUDED.rest_error_filter,
    rest_products_url = EXCLUDED.rest_products_url,
    rest_products_path = EXCLUDED.rest_products_path,
    rest_product_symbol_path = EXCLUDED.rest_product_symbol_path,
    rest_product_filter = EXCLUDED.rest_product_filter,
    rest_per_second = EXCLUDED.rest_per_second,
    rest_timeout_ms = EXCLUDED.rest_timeout_ms,
    consensus_weight = EXCLUDED.consensus_weight,
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
    band_bps = a.band_bps,
    updated_at = now()
FROM jsonb_to_recordset(%(assets)s::jsonb) AS a (
    asset text, symbol text, wire_symbol text, currency text, enabled boolean, prewarm boolean, category text, band_bps integer
)
WHERE m.exchange = %(exchange)s AND m.asset = a.asset;

-- name: insert_mappings
INSERT INTO exchange_asset_map (exchange, asset, symbol, wire_symbol, currency, enabled, prewarm, category, band_bps)
SELECT %(exchange)s, a.asset, a.symbol, a.wire_symbol, a.currency, a.enabled, a.prewarm, nullif(a.category, ''), a.band_bps
FROM jsonb_to_recordset(%(assets)s::jsonb) AS a (
    asset text, symbol text, wire_symbol text, currency text, enabled boolean, prewarm boolean, category text, band_bps integer
)
WHERE NOT EXISTS (
    SELECT FROM exchange_asset_map m WHERE m.exchange = %(exchange)s AND m.asset = a.asset
);

-- name: delete_other_mappings
DELETE FROM exchange_asset_map WHERE exchange = %(exchange)s AND asset <> ALL (%(kept)s::text[]);

-- name: prewarm_asset
UPDATE exchange_asset_map SET prewarm = true, updated_at = now() WHERE asset = %(asset)s AND enabled AND NOT prewarm;

-- What the exchange admin asks, see beast.feeds.admin_store.

-- name: feed_overview
SELECT
    to_jsonb(f) - 'created_at' - 'updated_at' AS feed,
    f.updated_at,
    count(m.id) AS assets,
    count(m.id) FILTER (WHERE m.enabled) AS enabled_assets,
    count(m.id) FILTER (WHERE m.enabled AND m.prewarm) AS prewarmed_assets
FROM exchange_feeds f LEFT JOIN exchange_asset_map m ON m.exchange = f.name
GROUP BY f.name
ORDER BY f.priority, f.name;

-- name: lock_feeds
-- Always by name, so that two who lock several never wait for each other.
SELECT to_jsonb(f) - 'created_at' - 'updated_at' AS feed
FROM exchange_feeds f
WHERE f.name = ANY (%(names)s::text[])
ORDER BY f.name
FOR NO KEY UPDATE;

-- name: asset_page
SELECT
    id, exchange, asset, symbol, wire_symbol, currency, enabled, prewarm, coalesce(category, '') AS category,
    band_bps, updated_at
FROM exchange_asset_map
WHERE id > %(after)s AND (%(exchanges)s::text[] IS NULL OR exchange = ANY (%(exchanges)s))
ORDER BY id
LIMIT %(limit)s;

-- name: toggle_feed
UPDATE exchange_feeds
SET enabled = coalesce(%(enabled)s::boolean, NOT enabled), updated_at = now()
WHERE name = %(name)s
RETURNING name, enabled;

-- name: toggle_asset
UPDATE exchange_asset_map
SET enabled = CASE
        WHEN %(enabled)s::boolean IS NULL AND %(prewarm)s::boolean IS NULL THEN NOT enabled
        ELSE coalesce(%(enabled)s::boolean, enabled)
    END,
    prewarm = coalesce(%(prewarm)s::boolean, prewarm),
    updated_at = now()
WHERE id = %(id)s::bigint OR (exchange = %(exchange)s::text AND asset = %(asset)s::text)
RETURNING
    id, exchange, asset, symbol, wire_symbol, currency, enabled, prewarm, coalesce(category, '') AS category,
    band_bps, updated_at;

-- name: save_gaps
WITH old AS (DELETE FROM feed_gaps WHERE ended_at < now() - interval '90 days')
INSERT INTO feed_gaps AS f (
    id, node, exchange, connection, symbol, began_at, ended_at, first_missing, last_missing, cause, filled_at
)
SELECT id, %(node)s, exchange, connection, symbol, began_at, ended_at, first_missing, last_missing, cause, filled_at
FROM jsonb_to_recordset(%(gaps)s::jsonb) AS g (
    id uuid, exchange text, connection integer, symbol text, began_at timestamptz, ended_at timestamptz,
    first_missing numeric, last_missing numeric, cause text, filled_at timestamptz
)
ON CONFLICT (id) DO UPDATE SET filled_at = EXCLUDED.filled_at;

-- name: asset_rows
SELECT
    m.exchange, m.symbol, m.currency, m.enabled, f.enabled AS exchange_enabled, m.prewarm, f.priority,
    f.updated_at AS exchange_updated_at, m.updated_at
FROM exchange_asset_map AS m
INNER JOIN exchange_feeds AS f ON f.name = m.exchange
WHERE m.asset = %(asset)s
ORDER BY f.priority, m.exchange;

-- name: asset_versions
-- The newest versions of the rows by which exchanges price an asset, see beast.feeds.watch.why.
SELECT v.exchange, v.number, v.at, v.who, v.feed, found.mapping
FROM unnest(%(exchanges)s::text[]) AS e (exchange)
CROSS JOIN LATERAL (
    SELECT * FROM exchange_feed_versions n WHERE n.exchange = e.exchange ORDER BY n.number DESC LIMIT 5
) AS v
CROSS JOIN LATERAL jsonb_path_query_first(
    v.assets, '$[*] ? (@.asset == $name)', jsonb_build_object('name', %(asset)s::text)
) AS found (mapping)
WHERE v.feed IS NOT NULL AND found.mapping IS NOT NULL
ORDER BY v.exchange, v.number DESC;
