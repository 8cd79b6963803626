-- depends: 0003.feeds-seed

-- What is asked of an exchange by REST. Columns mean what beast.feeds.types says.
ALTER TABLE exchange_feeds
    ADD COLUMN rest_ticker_url text NOT NULL DEFAULT '' CHECK (rest_ticker_url ~ '^(https?://|$)'),
    ADD COLUMN rest_price_path text NOT NULL DEFAULT '',
    ADD COLUMN rest_volume_path text NOT NULL DEFAULT '',
    ADD COLUMN rest_timestamp_path text NOT NULL DEFAULT '',
    ADD COLUMN rest_timestamp_format text NOT NULL DEFAULT 'rfc3339'
        CHECK (rest_timestamp_format IN ('rfc3339', 'unix_s', 'unix_ms', 'unix_us', 'unix_ns')),
    ADD COLUMN rest_error_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(rest_error_filter) = 'array'),
    ADD COLUMN rest_products_url text NOT NULL DEFAULT '' CHECK (rest_products_url ~ '^(https?://|$)'),
    ADD COLUMN rest_products_path text NOT NULL DEFAULT '',
    ADD COLUMN rest_product_symbol_path text NOT NULL DEFAULT '',
    ADD COLUMN rest_product_filter jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(rest_product_filter) = 'array'),
    ADD COLUMN rest_per_second numeric NOT NULL DEFAULT 1 CHECK (rest_per_second > 0),
    ADD COLUMN rest_timeout_ms integer NOT NULL DEFAULT 800 CHECK (rest_timeout_ms > 0);

UPDATE exchange_feeds f
SET rest_ticker_url = r.rest_ticker_url,
    rest_price_path = r.rest_price_path,
    rest_volume_path = coalesce(r.rest_volume_path, ''),
    rest_timestamp_path = coalesce(r.rest_timestamp_path, ''),
    rest_timestamp_format = coalesce(r.rest_timestamp_format, 'rfc3339'),
    rest_error_filter = coalesce(r.rest_error_filter, '[]'),
    rest_products_url = r.rest_products_url,
    rest_products_path = coalesce(r.rest_products_path, ''),
    rest_product_symbol_path = coalesce(r.rest_product_symbol_path, ''),
    rest_product_filter = coalesce(r.rest_product_filter, '[]'),
    rest_per_second = r.rest_per_second
FROM (VALUES
('coinbase', $json${
  "rest_ticker_url": "https://api.coinbase.com/api/v3/brokerage/market/products/{SYMBOL}",
  "rest_price_path": "price",
  "rest_volume_path": "volume_24h",
  "rest_products_url": "https://api.coinbase.com/api/v3/brokerage/market/products",
  "rest_products_path": "products",
  "rest_product_symbol_path": "product_id",
  "rest_product_filter": [
    {"path": "status", "value": "online"},
    {"path": "is_disabled", "value": false},
    {"path": "trading_disabled", "value": false}],
  "rest_per_second": 8
}$json$::jsonb),
('kraken', $json${
  "rest_ticker_url": "https://api.kraken.com/0/public/Ticker?pair={BASE}{QUOTE}",
  "rest_price_path": "result.*.c.0",
  "rest_volume_path": "result.*.v.1",
  "rest_error_filter": [{"path": "error.0", "op": "present"}],
  "rest_products_url": "https://api.kraken.com/0/public/AssetPairs",
  "rest_products_path": "result",
  "rest_product_symbol_path": "wsname",
  "rest_product_filter": [{"path": "status", "value": "online"}],
  "rest_per_second": 1
}$json$::jsonb),
('gemini', $json${
  "rest_ticker_url": "https://api.gemini.com/v1/pubticker/{SYMBOL}",
  "rest_price_path": "last",
  "rest_volume_path": "volume.{BASE}",
  "rest_timestamp_path": "volume.timestamp",
  "rest_timestamp_format": "unix_ms",
  "rest_error_filter": [{"path": "result", "value": "error"}],
  "rest_products_url": "https://api.gemini.com/v1/symbols",
  "rest_per_second": 1
}$json$::jsonb),
('cryptocom', $json${
  "rest_ticker_url": "https://api.crypto.com/exchange/v1/public/get-tickers?instrument_name={SYMBOL}",
  "rest_price_path": "result.data.0.a",
  "rest_volume_path": "result.data.0.v",
  "rest_timestamp_path": "result.data.0.t",
  "rest_timestamp_format": "unix_ms",
  "rest_error_filter": [{"path": "message", "op": "present"}, {"path": "result", "op": "absent"}],
  "rest_products_url": "https://api.crypto.com/exchange/v1/public/get-instruments",
  "rest_products_path": "result.data",
  "rest_product_symbol_path": "symbol",
  "rest_product_filter": [{"path": "inst_type", "value": "CCY_PAIR"}, {"path": "tradable", "value": true}],
  "rest_per_second": 20
}$json$::jsonb),
('okx', $json${
  "rest_ticker_url": "https://www.okx.com/api/v5/market/ticker?instId={SYMBOL}",
  "rest_price_path": "data.0.last",
  "rest_volume_path": "data.0.vol24h",
  "rest_timestamp_path": "data.0.ts",
  "rest_timestamp_format": "unix_ms",
  "rest_error_filter": [{"path": "data.0", "op": "absent"}],
  "rest_products_url": "https://www.okx.com/api/v5/public/instruments?instType=SPOT",
  "rest_products_path": "data",
  "rest_product_symbol_path": "instId",
  "rest_product_filter": [{"path": "state", "value": "live"}],
  "rest_per_second": 8
}$json$::jsonb),
('gateio', $json${
  "rest_ticker_url": "https://api.gateio.ws/api/v4/spot/tickers?currency_pair={SYMBOL}",
  "rest_price_path": "0.last",
  "rest_volume_path": "0.base_volume",
  "rest_error_filter": [{"path": "label", "op": "present"}],
  "rest_products_url": "https://api.gateio.ws/api/v4/spot/currency_pairs",
  "rest_product_symbol_path": "id",
  "rest_product_filter": [{"path": "trade_status", "value": "tradable"}],
  "rest_per_second": 15
}$json$::jsonb)) AS seed (name, document)
CROSS JOIN LATERAL jsonb_populate_record(NULL::exchange_feeds, seed.document) AS r
WHERE f.name = seed.name;
