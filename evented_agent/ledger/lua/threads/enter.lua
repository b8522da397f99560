-- enter: a run waits for its turn in a thread.
-- KEYS turns
-- ARGV run_id ttl_ms
-- RETURNS (the run whose turn it is)
if not redis.call('LPOS', TURNS, run_id) then redis.call('RPUSH', TURNS, run_id) end
redis.call('PEXPIRE', TURNS, ttl_ms)
return redis.call('LINDEX', TURNS, 0)
