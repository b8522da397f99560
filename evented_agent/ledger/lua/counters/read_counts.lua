-- read_counts: the counters, all of them.
-- KEYS total
-- RETURNS (counters with their values)
return redis.call('HGETALL', TOTAL)
