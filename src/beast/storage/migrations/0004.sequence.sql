-- depends: 0003.feeds-seed

-- Where an exchange numbers what it sends, a gap tells that something was lost. OKX counts trades in lumps, those of
-- Gemini, Crypto.com and Gate.io are numbered across all markets: nothing follows from a gap there.

ALTER TABLE exchange_feeds
    ADD COLUMN sequence_scope text NOT NULL DEFAULT '' CHECK (sequence_scope IN ('', 'connection', 'symbol')),
    ADD COLUMN sequence_path text NOT NULL DEFAULT '',
    ADD CHECK ((sequence_scope = '') = (sequence_path = '')),
    ADD CHECK (timestamp_format IN ('rfc3339', 'unix_s', 'unix_ms', 'unix_us', 'unix_ns')),
    ADD CHECK (fallback_timestamp_format IN ('rfc3339', 'unix_s', 'unix_ms', 'unix_us', 'unix_ns'));

-- Rows whose paths were changed stay as they are.
UPDATE exchange_feeds f
SET sequence_scope = numbered.scope, sequence_path = numbered.path
FROM (VALUES
    ('coinbase', 'events.[first].trades.[first].price', 'connection', 'sequence_num'),
    ('kraken', 'data.[last].price', 'symbol', 'data.[last].trade_id')
) AS numbered (name, price_path, scope, path)
WHERE f.name = numbered.name AND f.price_path = numbered.price_path;
