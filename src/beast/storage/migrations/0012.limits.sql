-- depends: 0010.accounts

-- What several nodes need to keep one limit: whose it is, and how many they are.

-- A key with its limits as the servers' memory takes it: digest, id, whose limits it shares, per_second (0: none), burst,
-- the month's cap (-1: none), what of it is used, expiry in ns since 1970 (0: never), a byte of bits (1: good, 2: partner,
-- 4: opens prices), and its networks behind their length in bytes, each as cidr_send() writes it. Network byte order.
CREATE OR REPLACE FUNCTION pack_api_key(k api_keys, t rate_limit_template, month date) RETURNS bytea LANGUAGE sql STABLE
RETURN k.key_hash || int8send(k.id) || int8send(coalesce(k.quota_key_id, k.id))
    || int4send(coalesce(t.per_second, 0)) || int4send(coalesce(t.burst, 0))
    || int8send(coalesce(t.monthly_queries, -1))
    || int8send(CASE WHEN t.monthly_queries IS NULL THEN 0 ELSE used_in_month(k, month) END)
    || int8send(coalesce((extract(epoch FROM k.expires_at) * 1000000000)::bigint, 0))
    || set_byte('\x00'::bytea, 0, (k.enabled AND k.paused_at IS NULL)::int + t.partner::int * 2
        + ('price' = ANY (k.scopes))::int * 4)
    || CASE
        WHEN cardinality(k.networks) = 0 THEN int2send(0::int2)
        ELSE (
            SELECT int2send(octet_length(packed)::int2) || packed
            FROM (SELECT string_agg(cidr_send(network), '') AS packed FROM unnest(k.networks) AS network) AS all_of_them
        )
    END;

-- Nodes that answer now, as each of them says every few seconds.
CREATE TABLE limit_nodes (
    node text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
