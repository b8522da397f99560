-- release: a worker hands back what it still runs of this run (it is stopping, or was interrupted).
-- Counts nowhere.
-- ARGV 2 worker ('' for any), 3 token ('' for any), 4 reason
local state = load_run()
if state then return {state} end
local sends, released = {}, 0
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if task.state == 'running' and (ARGV[2] == '' or task.worker == ARGV[2])
    and (ARGV[3] == '' or task.token == ARGV[3]) then
    released = released + 1
    local why = 'The worker that ran this tool was stopped; it may have done part of its work.'
    if task.on_crash == 'fail' then
      give_up(key, task, 'ToolInterrupted', why, sends)
    elseif task.on_crash == 'ask' then
      ask_person(key, task, why)
      wake_waiting(sends)
    else
      retract(key, task, ARGV[4])
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
queue_end(sends)
save()
return {'ok', cjson.encode(sends)}
