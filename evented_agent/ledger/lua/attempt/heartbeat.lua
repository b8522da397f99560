-- heartbeat: renews a lease.
-- The token decides, not the clock: a late heartbeat revives a lease that nobody took.
-- INCLUDE record alarms
-- KEYS run
-- ARGV run_id key token lease_ms
-- RETURNS ok signal | deleted | fenced | missing
local state = load_run()
if state then return {state} end
local task = get_task(key)
if not owns(task, token) then return {'fenced'} end
task.lease_ms = tonumber(lease_ms)
task.lease = now + task.lease_ms
put_task(key, task)
rearm()
flush()
return {'ok', signal(task)}
