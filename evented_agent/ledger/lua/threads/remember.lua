-- remember: keeps what a run added to a thread.
-- Again, and from a longer journal, it takes the place that it had; places says which that is.
-- KEYS log places
-- ARGV run_id journal_length entry ttl_ms
-- RETURNS (1, or 0 where a longer journal's is known)
local known = redis.call('HGET', PLACES, run_id)
if known then
  local place, length = string.match(known, '(%d+):(%d+)')
  if tonumber(length) > tonumber(journal_length) then return 0 end
  redis.call('LSET', LOG, place, entry)
  redis.call('HSET', PLACES, run_id, place .. ':' .. journal_length)
else
  local length = redis.call('RPUSH', LOG, entry)
  redis.call('HSET', PLACES, run_id, (length - 1) .. ':' .. journal_length)
end
redis.call('PEXPIRE', LOG, ttl_ms)
if redis.call('PTTL', PLACES) < tonumber(ttl_ms) then redis.call('PEXPIRE', PLACES, ttl_ms) end
return 1
