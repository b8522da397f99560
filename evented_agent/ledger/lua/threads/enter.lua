-- enter: a run waits for its turn in a thread.
-- INCLUDE conversation
-- KEYS thread
-- ARGV run_id name ttl_ms
-- RETURNS (the run whose turn it is)
local known = redis.call('HGET', PLACES, run_id)
local is_deleted = known and select(2, place_of(known)) == LONGEST
if not redis.call('LPOS', TURNS, run_id) then
  redis.call('RPUSH', TURNS, run_id)
  if not is_deleted then touch(name, ttl_ms) end
end
redis.call('PEXPIRE', TURNS, ttl_ms)
return redis.call('LINDEX', TURNS, 0)
