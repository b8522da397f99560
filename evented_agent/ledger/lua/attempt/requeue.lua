-- requeue: an attempt failed and the task is to run again later.
-- What it said is withdrawn; the alarm holds the wait, no worker does. change (JSON) has fields of
-- the task to change, and may have announces: what readers are told that the run waits for.
-- INCLUDE record chunks tasks status ending attempts
-- KEYS run statuses
-- ARGV run_id key token delay_ms reason change
-- RETURNS ok sends | aborted | already sends | deleted | fenced | missing
local state = load_run()
if state then return {state} end
mend_live()
local task = get_task(key)
if task and task.state == 'queued' and task.retried == token then
  return {'already', cjson.encode({due_message(key, task)})}
end
if not owns(task, token) then return {'fenced'} end
if is_aborting() then
  keep_attempt(key, task, 'aborted', run.abort_reason)
  close_parts(task)
  finish_task(key, task, {})
  if not has_running() then abort_run() end
  save()
  return {'aborted'}
end
local changes = cjson.decode(change)
keep_attempt(key, task, changes.waited and 'waited' or 'retried', reason)
retract(key, task, reason)
task.retries = task.retries + 1
task.retried = token
local announced = changes.announces
changes.announces = nil
local has_waited = (task.waited or 0) > 0
for name, value in pairs(changes) do task[name] = value end
-- What it waits for came while it asked.
local is_there = task.woken and changes.waited
task.woken, task.asks_again = nil, announced and true or nil
local delay = is_there and 0 or tonumber(delay_ms)
if announced then
  emit_new('run-waiting', nil, {['for'] = announced, ['until'] = now + delay}, branch_of(task))
elseif task.waits_for and not task.branch then
  -- A run that waits for its turn has not begun. It asks again and again, and says so once.
  set_status('queued')
  if not has_waited then emit_new('run-waiting', nil, {['for'] = 'turn'}) end
end
if delay > 0 then
  task.not_before = now + delay
  queue_task(key, task, task.not_before)
else
  queue_task(key, task)
end
save()
return {'ok', cjson.encode(delay > 0 and {} or {due_message(key, task)})}
