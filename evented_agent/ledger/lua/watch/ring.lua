-- ring: the bells that ring last ring now: a worker has come that may take what waits so long.
-- after (ms from now) tells which; most is how many at a time.
-- INCLUDE clock
-- KEYS bells
-- ARGV after most
-- RETURNS (how many)
local far = redis.call('ZRANGEBYSCORE', BELLS, int(now + tonumber(after)), '+inf', 'LIMIT', 0,
  tonumber(most))
for _, run_id in ipairs(far) do redis.call('ZADD', BELLS, int(now), run_id) end
return #far
