-- resume: a person's decision about a suspended call. The same again is the same; another is refused.
-- ARGV 2 call, 3 number (0: the one that is pending, or was last), 4 digest of the decision,
-- 5 what follows: 'approved' or 'data' (run the tool with it), 'rerun', 'settle' (ends the call),
-- 6 1 if the caller rings the bell, 7 the decision for the journal, 8 data for the tool or '',
-- 9 chunk and 10 journal entry that settle the call
local call, number, digest, what = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local state = load_run()
if state then return {state} end
local key, task = nil, nil
for _, live_key in ipairs(run.live) do
  local live = get_task(live_key)
  if live.kind == 'tool' and live.call == call then key, task = live_key, live end
end
local sends = {}
local is_pending = task and task.state == 'suspended'
  and (number == 0 or task.suspended.n == number)
if not is_pending then
  local n = number ~= 0 and int(number) or redis.call('HGET', TASKS, 'latest:' .. call)
  local decided = n and redis.call('HGET', TASKS, 'decision:' .. n)
  if decided == digest then
    if task and task.state == 'queued' then sends[1] = due_message(key, task) end
    return {'already', cjson.encode(sends)}
  end
  if decided == 'expired' then return {'expired'} end
  if decided then return {'conflict'} end
  return {ENDED[run.status] and 'over' or 'not-suspended'}
end
if is_aborting() then return {'over'} end
if now >= task.suspended.expires then return {'expired'} end

remember_decision(call, task.suspended.n, digest)
redis.call('RPUSH', JOURNAL, ARGV[7])
task.suspended = nil
if what == 'settle' then
  emit(ARGV[9])
  redis.call('RPUSH', JOURNAL, ARGV[10])
  settled = true
  finish_task(key, task, {})
  wake_waiting(sends)
  queue_end(sends)
else
  if what == 'approved' then task.approval = ARGV[8] end
  if what == 'data' then
    task.given = task.given or {}
    task.given[#task.given + 1] = ARGV[8]
  end
  if is_deferred(task) then
    queue_task(key, task)
    sends[1] = due_message(key, task)
    -- Waiting for people is not being idle.
    if (run.idle or 0) > 0 then set('idle', now + run.idle_for) end
  else
    -- Behind those that wait for a place already; a free place is taken at once.
    task.state = 'waiting'
    put_task(key, task)
    wake_waiting(sends)
  end
end
if ARGV[6] ~= '1' then
  -- Nobody rings now: the next look of a watchdog does.
  for _, due in ipairs(sends) do
    local queued = get_task(due.key)
    queued.not_before, queued.send_at = now, now
    put_task(due.key, queued)
  end
end
save()
return {'ok', cjson.encode(sends)}
