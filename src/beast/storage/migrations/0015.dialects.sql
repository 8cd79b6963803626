-- depends: 0007.rest

-- What further exchanges need: packed frames, prices counted in small units, and a symbol inside a longer name. Columns
-- mean what beast.feeds.types says.
ALTER TABLE exchange_feeds
    ADD COLUMN compression text NOT NULL DEFAULT 'none' CHECK (compression IN ('none', 'gzip', 'deflate')),
    ADD COLUMN price_scale integer NOT NULL DEFAULT 0 CHECK (price_scale BETWEEN 0 AND 30),
    ADD COLUMN symbol_strip_suffix text NOT NULL DEFAULT '';
