-- enter: a run waits for its turn in a thread.
-- void is the number of an entry of it that no longer counts, or ''; begun is 1 if a message begins
-- it, so that later ones go to no run before it.
-- INCLUDE conversation
-- KEYS thread
-- ARGV run_id name ttl_ms void begun
-- RETURNS (the run whose turn it is, the number of its entry, the run to which a message with the
--   id run_id went, or '')
local known = redis.call('HGET', PLACES, run_id)
local is_deleted = known and select(2, place_of(known)) == LONGEST
if void ~= '' and redis.call('HGET', ENTRIES, run_id) == void then
  redis.call('LREM', TURNS, 0, run_id)
end
if not redis.call('LPOS', TURNS, run_id) then
  redis.call('RPUSH', TURNS, run_id)
  redis.call('HSET', ENTRIES, run_id, redis.call('HINCRBY', ENTRIES, '#', 1))
  if begun == '1' then redis.call('HSET', ENTRIES, '>', run_id) end
  if not is_deleted then touch(name, ttl_ms) end
end
redis.call('PEXPIRE', TURNS, ttl_ms)
redis.call('PEXPIRE', ENTRIES, ttl_ms)
local holder = redis.call('LINDEX', TURNS, 0)
return {holder, redis.call('HGET', ENTRIES, holder) or '0', redis.call('HGET', SENT, run_id) or ''}
