-- take_slot: a background call begins, or goes on, if every limit that it counts against has room.
-- KEYS 1 who waits, 2.. the limits' holders. ARGV 1 call, 2 ms until it counts as gone, 3.. limits
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local has_room = true
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  if not redis.call('ZSCORE', KEYS[i], ARGV[1])
    and redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[1 + i]) then has_room = false end
end
if not has_room then
  redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1])
  redis.call('PEXPIRE', KEYS[1], 86400000)
  return 0
end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], now + tonumber(ARGV[2]), ARGV[1])
  redis.call('PEXPIRE', KEYS[i], 86400000)
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
