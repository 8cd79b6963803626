-- depends: 0009.usage

-- A day takes its rows with one index, `at` with the key: it leads to the records of a time in their order, page by page,
-- and to those of an owner. The other three are made when the day is over, see usage/partitions.py: while rows come,
-- each index costs PostgreSQL as much again as the row itself, and afterwards a small part of that. Those of days that
-- are over go here, too, and are made again behind the server's back, the newest day first: a partitioned index would
-- want to be on every day.
DROP INDEX usage_logs_asset, usage_logs_source, usage_logs_node;

COMMENT ON INDEX usage_logs_key IS 'of every day; the others are made when a day is over';
