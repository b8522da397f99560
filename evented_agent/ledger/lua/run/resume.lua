-- resume: writes a person's decision about a suspended call.
-- The same again gets the same answer; another is refused. number names the suspension (0: the one
-- that is pending, or was last), digest the decision. follows says what becomes of the call:
-- 'approved' and 'data' run its tool with data, 'rerun' runs it again, 'settle' ends it with chunk
-- and the journal entry result. entry is the decision for the journal, told (or '') what readers
-- see of it, as JSON; notifies is 1 if the caller sends the messages. decided in the reply is who
-- said what, and when, as JSON, or ''.
-- INCLUDE record chunks tasks suspensions status
-- KEYS run statuses
-- ARGV run_id call number digest follows notifies entry told data chunk result
-- RETURNS ok sends decided | already sends decided | conflict decided | deleted | expired decided
--   | missing | not-suspended | over
number = tonumber(number)
local state = load_run()
if state then return {state} end
mend_live()
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
  local known = n and redis.call('HGET', TASKS, 'decision:' .. n)
  local decided = n and redis.call('HGET', TASKS, 'decided:' .. n) or ''
  if known == digest then
    if task and task.state == 'queued' then sends[1] = due_message(key, task) end
    return {'already', cjson.encode(sends), decided}
  end
  if known == 'expired' then return {'expired', decided} end
  if known then return {'conflict', decided} end
  return {ENDED[run.status] and 'over' or 'not-suspended'}
end
if is_aborting() then return {'over'} end
if now >= task.suspended.expires then return {'expired', ''} end

local decided = remember_decision(call, task.suspended.n, digest, told)
add_entry(entry)
task.suspended = nil
if follows == 'settle' then
  emit(chunk)
  add_entry(result)
  settled = true
  finish_task(key, task, {})
  wake_waiting(sends)
  queue_end(sends)
else
  task.decided = true
  if follows == 'approved' then task.approval = data end
  if follows == 'data' then
    task.given = task.given or {}
    task.given[#task.given + 1] = data
  end
  if is_deferred(task) then
    queue_task(key, task)
    sends[1] = due_message(key, task)
    -- Waiting for people is not being idle.
    if (run.idle or 0) > 0 then set('idle', now + run.idle_for) end
  else
    -- Behind those that wait for a slot already; a free slot is taken at once.
    task.state = 'waiting'
    put_task(key, task)
    wake_waiting(sends)
  end
end
if notifies ~= '1' then
  -- Nobody sends the messages now: the next look of a watchdog does.
  for _, due in ipairs(sends) do
    local queued = get_task(due.key)
    queued.not_before, queued.send_at = now, now
    put_task(due.key, queued)
  end
end
save()
return {'ok', cjson.encode(sends), decided}
