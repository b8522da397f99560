-- add_counts: adds what a process has done to the counters, at most once.
-- number says which batch of the process this is, is_again is 1 if it was sent before: it is
-- lost where nobody knows whether it came. Each bucket holds bucket_ms of time; the oldest is begun
-- anew. Beyond most counters, new ones are counted under no agent.
-- INCLUDE clock
-- KEYS total sender buckets...
-- ARGV number is_again bucket_ms kept_ms most counts...
-- RETURNS ok | already | lost
local SENDER_MS, PERIOD = 3600000, 'period'
local last = redis.call('GET', SENDER)
if last and tonumber(last) >= tonumber(number) then return {'already'} end
if is_again == '1' and not last then return {'lost'} end
-- First of all: whatever is refused below is lost rather than counted twice.
redis.call('SET', SENDER, number, 'PX', SENDER_MS)
local buckets = #KEYS - BUCKETS_AT + 1
local period = math.floor(now / tonumber(bucket_ms))
local bucket = KEYS[BUCKETS_AT + period % buckets]
if redis.call('HGET', bucket, PERIOD) ~= int(period) then
  redis.call('DEL', bucket)
  redis.call('HSET', bucket, PERIOD, int(period))
end
most = tonumber(most)
for i = COUNTS_AT, #ARGV, 2 do
  local name, by = ARGV[i], ARGV[i + 1]
  if redis.call('HLEN', TOTAL) >= most and redis.call('HEXISTS', TOTAL, name) == 0 then
    name = string.match(name, '^%S+') .. ' '
  end
  -- A sum that cannot grow any more keeps the others from nothing.
  redis.pcall('HINCRBY', TOTAL, name, by)
  redis.pcall('HINCRBY', bucket, name, by)
end
redis.call('PEXPIRE', TOTAL, kept_ms)
redis.call('PEXPIRE', bucket, int((buckets + 1) * tonumber(bucket_ms)))
return {'ok'}
