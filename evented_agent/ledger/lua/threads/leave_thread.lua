-- leave_thread: a run's turn is over, or its wait for one.
-- number is that of the entry that is meant, or ''.
-- KEYS turns entries
-- ARGV run_id number
-- RETURNS (the run whose turn it is now, or '')
if number == '' or (redis.call('HGET', ENTRIES, run_id) or '0') == number then
  redis.call('LREM', TURNS, 0, run_id)
  redis.call('HDEL', ENTRIES, run_id)
end
return redis.call('LINDEX', TURNS, 0) or ''
