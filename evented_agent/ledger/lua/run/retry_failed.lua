-- retry_failed: a failed run goes on at the tasks that were under way when it failed.
-- notifies is 1 if the caller sends the messages. The same token again (the reply may have been
-- lost) gets the same answer.
-- INCLUDE record chunks tasks suspensions status
-- KEYS run statuses
-- ARGV run_id notifies token
-- RETURNS ok sends | deleted | missing | not-failed status | not-kept | telling
local state = load_run()
if state then return {state} end
local sends = {}
if run.revived_by ~= token then
  if run.status ~= 'failed' then return {'not-failed', run.status} end
  -- Somebody is still being told that it failed.
  if #run.live > 0 then return {'telling'} end
  local stored = redis.call('HGET', RUN, 'failed_tasks')
  if not stored then return {'not-kept'} end
  for _, key in ipairs({RUN, TASKS, JOURNAL, BLOBS, TOPIC}) do redis.call('PERSIST', key) end
  local kept = cjson.decode(stored)

  -- The end is taken back: its number is given again, so that whoever has read it starts over.
  local last = redis.call('XREVRANGE', TOPIC, '+', '-', 'COUNT', 1)[1]
  local first = run.seq + 1
  for _, each in ipairs(kept) do first = math.min(first, each.task.first or first) end
  local reset = cjson.encode({'step-reset', kept[1].key,
    {step = kept[1].task.step, toolCallId = kept[1].task.call, fromSeq = first,
    attempt = kept[1].task.gen, reason = 'retry'}})
  if last then
    local seq, life = string.match(last[1], '(%d+)-(%d+)')
    redis.call('XDEL', TOPIC, last[1])
    redis.call('XADD', TOPIC, seq .. '-' .. int(tonumber(life) + 1), 'd', reset)
  else
    emit(reset)
  end

  set_status('running')
  redis.call('HDEL', RUN, 'error', 'ended', 'finish_reason', 'failed_tasks', 'abort_at', 'abort_by',
    'abort_reason')
  run.abort_at, run.abort_by, run.abort_reason = nil, nil, nil
  changed.abort_at, changed.abort_by, changed.abort_reason = nil, nil, nil
  if run.deadline_in then set('deadline', now + run.deadline_in) end
  set('revived_by', token)
  for _, each in ipairs(kept) do
    local key, task = each.key, each.task
    add_live(key)
    task.crashes, task.tries, task.model = 0, nil, nil
    task.first, task.open, task.sent = nil, nil, 0
    if task.state == 'suspended' and now >= task.suspended.expires then
      ask_again(key, task)
    elseif task.state == 'running' or task.state == 'queued' then
      task.not_before = nil
      queue_task(key, task)
      if notifies ~= '1' then task.send_at = now end
    end
    put_task(key, task)
  end
end
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if task.state == 'queued' then sends[#sends + 1] = due_message(key, task) end
end
save()
return {'ok', cjson.encode(sends)}
