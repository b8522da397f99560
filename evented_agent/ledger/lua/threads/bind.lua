-- bind: which run a message to a thread goes to; the same for the same message.
-- to is the run that is meant, or '' for the one whose turn it is, or the last one that a message
-- has begun and that waits for its turn: later messages do not overtake that one. otherwise is
-- where it goes if none has the turn ('': nowhere yet).
-- KEYS thread
-- ARGV message_id to otherwise ttl_ms
-- RETURNS (the run, or '')
local known = redis.call('HGET', SENT, message_id)
if known then return known end
local begun = redis.call('HGET', ENTRIES, '>')
local waits = begun and redis.call('LPOS', TURNS, begun) and begun
local run_id = to ~= '' and to or waits or redis.call('LINDEX', TURNS, 0) or otherwise
if run_id == '' then return '' end
redis.call('HSET', SENT, message_id, run_id)
redis.call('PEXPIRE', SENT, ttl_ms)
return run_id
