-- depends: 0003.feeds-seed

-- How far a price may jump before it is held back, and how much an exchange's word counts in the consensus.

ALTER TABLE exchange_asset_map ADD COLUMN band_bps integer CHECK (band_bps BETWEEN 0 AND 1000000);
ALTER TABLE exchange_feeds ADD COLUMN consensus_weight integer NOT NULL DEFAULT 1
    CHECK (consensus_weight BETWEEN 0 AND 1000);
ALTER TABLE exchange_feeds ADD CONSTRAINT exchange_feeds_name_free CHECK (name <> 'consensus');

COMMENT ON COLUMN exchange_asset_map.band_bps IS 'in 1/10,000; 0: every trade is believed; null: price_band_bps';
COMMENT ON COLUMN exchange_feeds.consensus_weight IS 'votes in the consensus; 0: none';
