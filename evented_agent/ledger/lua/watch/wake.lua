-- wake: a task that waits for its turn, or for a slot, may try now.
-- Without a key, whatever task of the run waits for its turn in the thread. One that is just being
-- told that it has to wait tries again at once.
-- INCLUDE record tasks status
-- KEYS run statuses
-- ARGV run_id key
-- RETURNS ok sends | deleted | missing
local state = load_run()
if state then return {state} end
mend_live()
local sends = {}
for _, each in ipairs(key == '' and run.live or {key}) do
  local task = get_task(each)
  if task and task.state == 'running'
    and (key ~= '' or task.kind == 'model' and not task.branch) then
    task.woken = true
    put_task(each, task)
  elseif task and task.state == 'queued' and task.not_before
    and (key ~= '' or task.waits_for and not task.asks_again and not task.branch) then
    task.not_before = nil
    task.send_at = now + SEND_AGAIN
    put_task(each, task)
    sends[#sends + 1] = due_message(each, task)
  end
end
save()
return {'ok', cjson.encode(sends)}
