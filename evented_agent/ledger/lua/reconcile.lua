-- reconcile: the alarm rang. End attempts whose lease ran out, send again what was not heard,
-- fence what ignores an abort, and set the next alarm.
-- ARGV 2 leases count only from this time on (ms; after a pause of Redis), 3 1 if a message may be
-- sent again now, 4 jitter in 0..1, 5 Redis time (ms) after which this look is too old to act on
local grace_until = tonumber(ARGV[2])
local may_send = ARGV[3] == '1'
local jitter = tonumber(ARGV[4])
-- Redis was paused between the tick and this call: leases had no chance to be renewed.
if now > tonumber(ARGV[5]) then return {'late'} end
local state = load_run()
if state then
  redis.call('ZREM', ALARMS, run_id)
  redis.call('ZREM', BELLS, run_id)
  return {state}
end
if ENDED[run.status] then
  rearm()
  return {'ended'}
end
local sends, notes = {}, {}

-- A tool call that must not run again becomes an error that the model sees.
local function give_up(key, task, name, message)
  local failure = {name = name, message = message}
  close_parts(task)
  emit_new('tool-error', key, {toolCallId = task.call, toolName = task.tool, error = failure})
  redis.call('RPUSH', JOURNAL, cjson.encode({k = 'result', step = task.step, call = task.call,
    name = task.tool, error = failure}))
  finish_task(key, task, {})
  wake_waiting(sends)
end

local function crashed(key, task)
  task.crashes = task.crashes + 1
  local times = task.crashes .. (task.crashes == 1 and ' time' or ' times')
  notes[#notes + 1] = {key = key, owner = task.owner, crashes = task.crashes}
  if task.kind == 'tool' then
    if task.due and now >= task.due and task.retries >= (task.most_retries or 0) then
      return give_up(key, task, 'ToolTimeout', 'The tool did not answer within its timeout.')
    end
    if task.on_crash == 'fail' or task.crashes >= MAX_CRASHES then
      return give_up(key, task, 'ToolInterrupted',
        'The worker that ran this tool stopped ' .. times .. '; it may have done part of its work.')
    end
  elseif task.crashes >= MAX_CRASHES then
    return fail_run(key, 'Poisoned', 'The worker that ran this ' .. task.kind .. ' task stopped '
      .. times .. '. Last it ran on ' .. (task.owner or 'an unknown worker') .. '.')
  end
  retract(key, task, 'crash')
  queue_task(key, task)
  sends[#sends + 1] = due_message(key, task)
end

local function send_again(key, task)
  -- A retry whose wait is over has not been sent yet.
  local is_first = task.not_before ~= nil
  if may_send or is_first then
    local wait = math.min(SEND_AGAIN * 2 ^ task.sends, SEND_AGAIN_MOST)
    task.sends = task.sends + 1
    task.send_at = now + math.floor(wait * (1 + jitter / 4))
    task.not_before = nil
    sends[#sends + 1] = due_message(key, task)
    may_send = may_send and is_first
  else
    task.send_at = now + math.floor(SEND_AGAIN * (1 + jitter))
  end
  put_task(key, task)
end

local keys = {}
for _, key in ipairs(run.live) do keys[#keys + 1] = key end
if run.abort_at and (now >= run.abort_at + run.abort_grace or not has_running()) then
  abort_run()
  keys = {}
end
for _, key in ipairs(keys) do
  local task = get_task(key)
  if task and not ENDED[run.status] then
    if task.state == 'running' and now >= task.lease and now >= grace_until then
      crashed(key, task)
    elseif task.state == 'queued' and now >= task.send_at then
      send_again(key, task)
    end
  end
end
if #run.live == 0 and not ENDED[run.status] then
  local end_key = int(run.step) .. ':end'
  local end_task = new_task(end_key, {kind = 'end', step = run.step})
  queue_task(end_key, end_task)
  sends[#sends + 1] = due_message(end_key, end_task)
end
if run.abort_at and not ENDED[run.status] and not has_running() then
  abort_run()
  sends = {}
end
save()
return {'ok', cjson.encode(sends), cjson.encode(notes)}
