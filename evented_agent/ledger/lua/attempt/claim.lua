-- claim: start an attempt of a queued task. It never takes a running one; only reconcile and
-- release end an attempt.
-- ARGV 2 task key, 3 token, 4 worker, 5 owner, 6 lease ms, 7 newest format served, 8 agents served
local key, token = ARGV[2], ARGV[3]
local state = load_run()
if state then return {state} end
local task = get_task(key)
if not task or task.state == 'done' then return {'stale'} end

local function granted()
  local entries
  if task.kind == 'tool' then
    entries = redis.call('LRANGE', JOURNAL, task.turn, task.turn)
  else
    entries = redis.call('LRANGE', JOURNAL, 0, -1)
  end
  local record = redis.call('HMGET', RUN, 'agent', 'options', 'messages', 'thread', 'resource')
  if task.kind == 'tool' then record[3] = '' end
  return {'ok', cjson.encode(task), is_aborting() and 1 or 0, redis.call('LLEN', JOURNAL),
    record, entries}
end

-- The reply to this very claim was lost: the same token gets the same answer.
if owns(task, token) then return granted() end
if task.state ~= 'queued' then return {'busy'} end
if is_aborting() then
  if not has_running() then
    abort_run()
    save()
  end
  return {'aborted'}
end
if task.not_before and now < task.not_before then return {'early'} end
local function leave_it(why)
  -- Another worker may serve it: the alarm rings the bell again.
  task.send_at = now + SEND_AGAIN
  put_task(key, task)
  save()
  return {why}
end
if run.v > tonumber(ARGV[7]) then return leave_it('newer') end
local served = false
for _, id in ipairs(cjson.decode(ARGV[8])) do
  if id == run.agent then served = true end
end
if not served then return leave_it('unserved') end

start_task(task, token, ARGV[4], ARGV[5], tonumber(ARGV[6]))
put_task(key, task)
if run.status == 'queued' then
  set_status('running')
  set('started', now)
end
set('step', math.max(run.step, task.step))
save()
return granted()
