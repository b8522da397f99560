-- cancel: a background call is no longer wanted.
-- The same token again (the reply may have been lost) gets the same answer.
-- INCLUDE record chunks tasks status children attempts
-- KEYS run statuses
-- ARGV run_id call reason token
-- RETURNS ok | deleted | missing | over
local state = load_run()
if state then return {state} end
mend_live()
local sends = {}
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if task.call == call and task.bg and not ENDED[run.status] then
    stop_child(task)
    keep_attempt(key, task, 'cancelled', reason)
    close_parts(task)
    emit_new('background-task-cancelled', key, {taskId = run_id .. ':' .. task.call,
      toolCallId = task.call, toolName = task.tool, reason = reason})
    settle_call(key, task, {error = {name = 'Cancelled', message = reason}}, sends)
    put_field('cancelled:' .. call, token)
    queue_end(sends, branch_of(task))
    for _, due in ipairs(sends) do leave_unsent(due.key) end
    save()
    return {'ok'}
  end
end
return {redis.call('HGET', TASKS, 'cancelled:' .. call) == token and 'ok' or 'over'}
