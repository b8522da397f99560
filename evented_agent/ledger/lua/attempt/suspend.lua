-- suspend: a tool asked for a person. The attempt ends, what it said stays, its place is free.
-- ARGV 2 task key, 3 token, 4 chunks sent before, 5 what people are asked (JSON), 6 the chunk that asks,
-- 7.. chunks to append first
local key, token = ARGV[2], ARGV[3]
local state = load_run()
if state then return {state} end
local task, sends = get_task(key), {}
if task and task.paused == token and not owns(task, token) then return {'already', '[]'} end
if not owns(task, token) then return {'fenced'} end
if task.sent ~= tonumber(ARGV[4]) then return {'gap'} end
for i = 7, #ARGV do emit(ARGV[i]) end
if is_aborting() then
  finish_task(key, task, {})
  if not has_running() then abort_run() end
  save()
  return {'aborted'}
end
task.paused = token
task.asked = ARGV[5]
suspend_task(key, task, 'suspension', ARGV[6])
wake_waiting(sends)
save()
return {'ok', cjson.encode(sends)}
