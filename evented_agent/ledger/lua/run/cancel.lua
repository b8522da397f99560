-- cancel: a background call is no longer wanted. ARGV 2 call, 3 reason, 4 token: asked again after
-- a lost reply, the same answer
local state = load_run()
if state then return {state} end
local sends = {}
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if task.call == ARGV[2] and task.bg and not ENDED[run.status] then
    close_parts(task)
    emit_new('background-task-cancelled', key, {taskId = run_id .. ':' .. task.call,
      toolCallId = task.call, toolName = task.tool, reason = ARGV[3]})
    settle_call(key, task, {error = {name = 'Cancelled', message = ARGV[3]}}, sends)
    redis.call('HSET', TASKS, 'cancelled:' .. ARGV[2], ARGV[4])
    queue_end(sends)
    for _, due in ipairs(sends) do
      -- The next look of a watchdog sends what nobody sends now.
      local queued = get_task(due.key)
      queued.send_at = now
      put_task(due.key, queued)
    end
    save()
    return {'ok'}
  end
end
return {redis.call('HGET', TASKS, 'cancelled:' .. ARGV[2]) == ARGV[4] and 'ok' or 'over'}
