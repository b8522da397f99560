-- wake: a task that waits for its turn may try now.
-- INCLUDE record tasks status
-- KEYS run statuses
-- ARGV run_id key
-- RETURNS ok sends | deleted | missing
local state = load_run()
if state then return {state} end
mend_live()
local task = get_task(key)
if not task or task.state ~= 'queued' or not task.not_before then return {'ok', '[]'} end
task.not_before = nil
task.send_at = now + SEND_AGAIN
put_task(key, task)
save()
return {'ok', cjson.encode({due_message(key, task)})}
