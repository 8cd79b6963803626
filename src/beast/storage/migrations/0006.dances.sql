-- depends: 0003.feeds-seed

-- What some exchanges want before and during a connection: a token fetched over HTTP, numbers instead of symbols in
-- trade frames; and the message that ends one symbol's subscription.

ALTER TABLE exchange_feeds
    ADD COLUMN token_url text NOT NULL DEFAULT '' CHECK (token_url = '' OR token_url ~ '^https?://'),
    ADD COLUMN token_method text NOT NULL DEFAULT 'POST' CHECK (token_method IN ('POST', 'GET')),
    ADD COLUMN token_path text NOT NULL DEFAULT '',
    ADD COLUMN endpoint_path text NOT NULL DEFAULT '',
    ADD COLUMN ping_interval_path text NOT NULL DEFAULT '',
    ADD COLUMN unsubscribe_template text NOT NULL DEFAULT '',
    ADD COLUMN channel_path text NOT NULL DEFAULT '',
    DROP CONSTRAINT exchange_feeds_ws_url_check,
    ADD CONSTRAINT exchange_feeds_ws_url_check CHECK (ws_url ~ '^(wss?://|\{ENDPOINT\})');

UPDATE exchange_feeds f
SET unsubscribe_template = known.template
FROM (VALUES
    ('coinbase', '{"type":"unsubscribe","product_ids":"{SYMBOLS}","channel":"market_trades"}'),
    ('kraken', '{"method":"unsubscribe","params":{"channel":"trade","symbol":"{SYMBOLS}"},"req_id":"{ID}"}'),
    ('gemini', '{"id":"{ID}","method":"unsubscribe","params":"{SYMBOLS}"}'),
    ('cryptocom', '{"id":"{ID}","method":"unsubscribe","params":{"channels":"{SYMBOLS}"},"nonce":"{NOW_MS}"}'),
    ('okx', '{"op":"unsubscribe","args":[{"channel":"trades","instId":"{SYMBOL}"}]}'),
    ('gateio', '{"id":"{ID}","time":"{NOW_S}","channel":"spot.trades","event":"unsubscribe","payload":"{SYMBOLS}"}')
) AS known (name, template)
WHERE f.name = known.name;
