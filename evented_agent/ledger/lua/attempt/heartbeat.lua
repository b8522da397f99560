-- heartbeat: renew a lease. The token decides, not the clock: a late heartbeat revives a lease that
-- nobody took.
-- ARGV 2 task key, 3 token, 4 lease ms
local state = load_run()
if state then return {state} end
local task = get_task(ARGV[2])
if not owns(task, ARGV[3]) then return {'fenced'} end
task.lease = now + tonumber(ARGV[4])
put_task(ARGV[2], task)
rearm()
return {'ok', is_aborting() and 1 or 0}
