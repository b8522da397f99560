-- release: a worker hands back what it still runs of this run; it is stopping, or was interrupted.
-- worker and token say which attempts ('' for any). Counts as neither a crash nor a retry.
-- INCLUDE record chunks tasks suspensions status ending attempts
-- KEYS run statuses
-- ARGV run_id worker token reason
-- RETURNS ok sends | deleted | fenced | missing
local state = load_run()
if state then return {state} end
mend_live()
local sends, released = {}, 0
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if task.state == 'running' and (worker == '' or task.worker == worker)
    and (token == '' or task.token == token) then
    released = released + 1
    if is_aborting() then
      keep_attempt(key, task, 'aborted', run.abort_reason)
    else
      keep_attempt(key, task, 'released', reason)
    end
    local why = 'The worker that ran this tool was stopped; it may have done part of its work.'
    if task.on_crash == 'fail' then
      give_up(key, task, 'ToolInterrupted', why, sends)
    elseif task.on_crash == 'ask' then
      ask_person(key, task, why)
      wake_waiting(sends, branch_of(task))
    else
      retract(key, task, reason)
      queue_task(key, task)
      sends[#sends + 1] = due_message(key, task)
    end
  end
end
if released == 0 then return {'fenced'} end
if is_aborting() and not has_running() then
  abort_run()
  sends = {}
end
queue_ends(sends)
save(false, sends)
return {'ok', cjson.encode(sends)}
