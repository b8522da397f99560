-- suspend: a tool asks for a person, or a call that was approved no longer fits its tool.
-- The attempt ends, what it said stays, and its slot is free. kind says what they decide; asked is
-- what people are asked, as JSON, ask the chunk that asks them; chunks go before it.
-- INCLUDE record chunks tasks suspensions status ending attempts
-- KEYS run statuses
-- ARGV run_id key token sent kind asked ask chunks...
-- RETURNS ok sends waits | aborted | already sends | deleted | fenced | gap | missing
local state = load_run()
if state then return {state} end
mend_live()
local task, sends = get_task(key), {}
if task and task.paused == token and not owns(task, token) then return {'already', '[]'} end
if not owns(task, token) then return {'fenced'} end
if task.sent ~= tonumber(sent) then return {'gap'} end
for i = CHUNKS_AT, #ARGV do emit(ARGV[i]) end
if is_aborting() then
  keep_attempt(key, task, 'aborted', run.abort_reason)
  finish_task(key, task, {})
  if not has_running() then abort_run() end
  save()
  return {'aborted'}
end
keep_attempt(key, task, 'suspended', kind)
task.paused = token
task.asked = asked
suspend_task(key, task, kind, ask)
wake_waiting(sends, branch_of(task))
save(false, sends)
return {'ok', cjson.encode(sends), run.status == 'suspended' and 1 or 0}
