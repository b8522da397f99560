-- ending: how a run ends, and what stays of it.
-- INCLUDE tasks status children attempts
-- The record last: one that expires says that the others do.
local function expire_all()
  write_after('PEXPIRE', TASKS, run.ttl_record)
  write_after('PEXPIRE', JOURNAL, run.ttl_record)
  write_after('PEXPIRE', BLOBS, run.ttl_record)
  write_after('PEXPIRE', TOPIC, run.ttl_topic)
  write_after('PEXPIRE', RUN, run.ttl_record)
end

-- The script that ended the run died before it was through.
local function mend_end()
  if redis.call('PTTL', RUN) ~= -1 then return end
  for status, index in pairs(STATUS_INDEX) do
    if status ~= run.status then write_after('ZREM', index, run_id) end
  end
  write_after('ZADD', STATUS_INDEX[run.status], int(now), run_id)
  expire_all()
end

local function end_run(status, reason)
  set_status(status)
  set('ended', now)
  if reason then set('finish_reason', reason) end
  for _, key in ipairs(run.live) do
    if status == 'aborted' then
      keep_attempt(key, get_task(key), 'aborted', run.abort_reason)
    else
      keep_attempt(key, get_task(key), 'dropped', 'Its run has ' .. status .. '.')
    end
    forget_task(key)
  end
  set('live', {})
  if tells(status) then
    queue_task('after', new_task('after', {kind = 'after', step = run.step}))
    leave_unsent('after')
  end
  expire_all()
end

-- Aborted and failed runs keep their partial text: parts are closed, nothing is withdrawn.
local function abort_run()
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'running' then close_parts(task) end
  end
  drop_messages('The run was aborted.')
  emit_new('abort', nil, {reason = run.abort_reason})
  end_run('aborted', run.abort_by == 'deadline' and 'deadline' or 'abort')
end

-- What is under way when a run fails, for somebody who wants it to go on.
local function keep_for_retry()
  local kept = {}
  for _, key in ipairs(run.live) do kept[#kept + 1] = {key = key, task = get_task(key)} end
  set('failed_tasks', cjson.encode(kept))
end

local function fail_run(key, name, message, sends)
  local branch = branch_of(get_task(key))
  if branch ~= '' then
    close_within(branch)
    emit_new('error', key, {error = {name = name, message = message}})
    return fail_child(branch, name, message, sends)
  end
  keep_for_retry()
  for _, other in ipairs(run.live) do close_parts(get_task(other)) end
  local failure = {name = name, message = message}
  set('error', cjson.encode(failure))
  drop_messages('The run failed.')
  emit_new('error', key, {error = failure})
  end_run('failed', 'error')
end
