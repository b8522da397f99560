-- forget: takes runs whose records have expired out of an index.
-- KEYS index
-- ARGV run_ids...
-- RETURNS (how many were taken out)
return redis.call('ZREM', INDEX, unpack(ARGV))
