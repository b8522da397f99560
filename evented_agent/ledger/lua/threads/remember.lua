-- remember: what a run added to a thread; again, and from a longer journal, it takes its own place.
-- KEYS 1 the conversation, 2 where each run is in it. ARGV 1 run id, 2 journal length, 3 entry,
-- 4 ms to keep it
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then
  local place, length = string.match(known, '(%d+):(%d+)')
  if tonumber(length) > tonumber(ARGV[2]) then return 0 end
  redis.call('LSET', KEYS[1], place, ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[1], place .. ':' .. ARGV[2])
else
  local length = redis.call('RPUSH', KEYS[1], ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[1], (length - 1) .. ':' .. ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
