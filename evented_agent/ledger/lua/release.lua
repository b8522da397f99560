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
    retract(key, task, ARGV[4])
    queue_task(key, task)
    sends[#sends + 1] = due_message(key, task)
    released = released + 1
  end
end
if released == 0 then return {'fenced'} end
if run.abort_at and not has_running() then
  abort_run()
  sends = {}
end
save()
return {'ok', cjson.encode(sends)}
