-- next_turn: who waits for the turn that a run has.
-- KEYS turns
-- ARGV run_id
-- RETURNS (the run, or '')
if redis.call('LINDEX', TURNS, 0) ~= run_id then return '' end
return redis.call('LINDEX', TURNS, 1) or ''
