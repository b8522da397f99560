-- forget_run: takes what a run added out of a conversation, for good.
-- The entry is blank from now on, since the places of others count it; the run's place says that it
-- came from a longer journal than any.
-- INCLUDE clock conversation
-- KEYS thread
-- ARGV run_id ttl_ms
-- RETURNS (1)
local known = redis.call('HGET', PLACES, run_id)
local place, length, messages = place_of(known or '0:0')
if known and length ~= LONGEST then
  if tonumber(place) < redis.call('LLEN', LOG) then redis.call('LSET', LOG, place, '["",[]]') end
  if redis.call('HEXISTS', ABOUT, 'runs') == 1 then
    redis.call('HINCRBY', ABOUT, 'runs', -1)
    redis.call('HINCRBY', ABOUT, 'messages', int(0 - messages))
  end
end
redis.call('HSET', PLACES, run_id, place .. ':' .. LONGEST)
if redis.call('PTTL', PLACES) < tonumber(ttl_ms) then redis.call('PEXPIRE', PLACES, ttl_ms) end
return 1
