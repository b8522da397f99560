-- leave_thread: a run's turn is over, or its wait for one.
-- KEYS turns
-- ARGV run_id
-- RETURNS (the run whose turn it is now, or '')
redis.call('LREM', TURNS, 0, run_id)
return redis.call('LINDEX', TURNS, 0) or ''
