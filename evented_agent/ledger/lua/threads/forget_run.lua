-- forget_run: takes what a run added out of a conversation, for good.
-- The entry is blank from now on, since the places of others count it; the run's place says that it
-- came from a longer journal than any, so that an attempt which is still under way adds nothing.
-- KEYS log places
-- ARGV run_id ttl_ms
-- RETURNS (1)
local LONGEST = '9007199254740991'
local known = redis.call('HGET', PLACES, run_id)
local place, length = string.match(known or '0:0', '(%d+):(%d+)')
if known and length ~= LONGEST and tonumber(place) < redis.call('LLEN', LOG) then
  redis.call('LSET', LOG, place, '["",[]]')
end
redis.call('HSET', PLACES, run_id, place .. ':' .. LONGEST)
if redis.call('PTTL', PLACES) < tonumber(ttl_ms) then redis.call('PEXPIRE', PLACES, ttl_ms) end
return 1
