-- oldest: run ids of one index from before a time, oldest first.
-- KEYS index
-- ARGV before offset limit
-- RETURNS (run ids)
return redis.call('ZRANGEBYSCORE', INDEX, '-inf', before, 'LIMIT', offset, limit)
