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
  local kept = cjson.decode(stored)
  if not kept[1] then return {'not-kept'} end

  -- First of all, so that a look mends what this may leave.
  write_before('ZADD', ALARMS, int(now), run_id)
  write_before('PERSIST', RUN)
  -- The end is taken back: its number is given again, so that whoever has read it starts over.
  -- What a call said that waits for a person stays, as does what the call asked.
  local last = redis.call('XREVRANGE', TOPIC, '+', '-', 'COUNT', 1)[1]
  local seq, life = string.match(last and last[1] or '', '(%d+)-(%d+)')
  if last then
    set('seq', tonumber(seq) - 1)
    write_before('PERSIST', TOPIC)
  end
  -- The first reset says what is taken back.
  local failure = redis.call('HGET', RUN, 'error')
  failure = failure and cjson.decode(failure)
  -- The run's own come first: a child's reset is none of the run's, and cannot say so.
  local own, others, is_said = {}, {}, false
  for _, each in ipairs(kept) do
    local list = each.task.branch and others or own
    list[#list + 1] = each
    is_said = is_said or list == own and each.task.state == 'running' and each.task.first
  end
  kept = own
  for _, each in ipairs(others) do kept[#kept + 1] = each end
  if not is_said then
    emit(step_reset(kept[1].key, kept[1].task, run.seq + 1, 'retry', failure))
    failure = nil
  end
  for _, each in ipairs(kept) do
    if each.task.state == 'running' and each.task.first then
      emit(step_reset(each.key, each.task, each.task.first, 'retry', failure))
      failure = nil
    end
  end
  if last then
    planned.chunks[1].id = seq .. '-' .. int(tonumber(life) + 1)
    for _, entry in ipairs(redis.call('XRANGE', TOPIC, seq, seq)) do
      write_before('XDEL', TOPIC, entry[1])
    end
  end

  for _, key in ipairs({TASKS, JOURNAL, BLOBS}) do write_before('PERSIST', key) end
  set_status('running')
  write_before('HDEL', RUN, 'abort_at', 'abort_by', 'abort_reason')
  write_after('HDEL', RUN, 'error', 'ended', 'finish_reason', 'failed_tasks')
  run.abort_at, run.abort_by, run.abort_reason = nil, nil, nil
  changed.abort_at, changed.abort_by, changed.abort_reason = nil, nil, nil
  if run.deadline_in then set('deadline', now + run.deadline_in) end
  set('revived_by', token)
  if run.closed then
    -- Its end is decided anew.
    write_after('HDEL', RUN, 'closed')
    add_entry(cjson.encode({k = 'decision', step = run.step, follows = 'reopened'}), '')
  end
  for _, each in ipairs(kept) do
    local key, task = each.key, each.task
    add_live(key)
    task.crashes, task.tries, task.model, task.waited, task.list_tries = 0, nil, nil, nil, nil
    task.first, task.open, task.sent = nil, nil, 0
    if task.state == 'suspended' and now >= task.suspended.expires then
      ask_again(key, task)
    elseif task.state == 'running' or task.state == 'queued' then
      task.not_before = nil
      queue_task(key, task)
      if notifies ~= '1' then task.not_before, task.send_at = now, now end
    elseif task.state == 'child' and task.due then
      task.due = now + task.timeout
    end
    put_task(key, task)
  end
end
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if task.state == 'queued' then sends[#sends + 1] = due_message(key, task) end
end
save(true)
return {'ok', cjson.encode(sends)}
