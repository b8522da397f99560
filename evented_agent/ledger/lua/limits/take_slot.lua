-- take_slot: a background call begins, or goes on, if every limit that it counts against has room.
-- The slot is free again after ttl_ms. There is one limit for each key of holders.
-- INCLUDE clock
-- KEYS waiting holders...
-- ARGV holder ttl_ms limits...
-- RETURNS (1, or 0 where the call waits)
local has_room = true
for i = HOLDERS_AT, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  -- Taken before the clock went back, and held for as long as any slot can be.
  local most = int(now + tonumber(ttl_ms))
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '(' .. most, '+inf')) do
    redis.call('ZADD', KEYS[i], most, each)
  end
  if not redis.call('ZSCORE', KEYS[i], holder)
    and redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[LIMITS_AT + i - HOLDERS_AT]) then
    has_room = false
  end
end
if not has_room then
  redis.call('ZADD', WAITING, 'NX', now, holder)
  redis.call('PEXPIRE', WAITING, 86400000)
  return 0
end
for i = HOLDERS_AT, #KEYS do
  redis.call('ZADD', KEYS[i], now + tonumber(ttl_ms), holder)
  redis.call('PEXPIRE', KEYS[i], 86400000)
end
redis.call('ZREM', WAITING, holder)
return 1
