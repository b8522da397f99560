-- list: run ids of one index with their times, newest first.
-- KEYS index
-- ARGV newest oldest offset limit
-- RETURNS (run ids, each followed by its time)
return redis.call('ZREVRANGEBYSCORE', INDEX, newest, oldest, 'WITHSCORES', 'LIMIT', offset, limit)
