-- wake: a task that waits for its turn may try now. ARGV 2 task key
local state = load_run()
if state then return {state} end
local task = get_task(ARGV[2])
if not task or task.state ~= 'queued' or not task.not_before then return {'ok', '[]'} end
task.not_before = nil
task.send_at = now + SEND_AGAIN
put_task(ARGV[2], task)
save()
return {'ok', cjson.encode({due_message(ARGV[2], task)})}
