-- depends: 0003.feeds-seed

-- When prices may have been missed. An exchange's name stays as it was: what happened doesn't change with its rows.
CREATE TABLE feed_gaps (
    id uuid PRIMARY KEY,
    node text NOT NULL,
    exchange text NOT NULL,
    connection integer NOT NULL,
    symbol text NOT NULL DEFAULT '',
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    first_missing numeric(20),
    last_missing numeric(20),
    cause text NOT NULL,
    filled_at timestamptz,
    CHECK (began_at <= ended_at),
    CHECK ((first_missing IS NULL) = (last_missing IS NULL))
);

CREATE INDEX feed_gaps_ended ON feed_gaps (ended_at);
CREATE INDEX feed_gaps_exchange ON feed_gaps (exchange, ended_at);

COMMENT ON COLUMN feed_gaps.symbol IS 'empty: all of the connection';
COMMENT ON COLUMN feed_gaps.first_missing IS 'the exchange''s own numbers, where it gives them';
COMMENT ON COLUMN feed_gaps.filled_at IS 'when every price concerned had been told anew, by a trade or by REST';
