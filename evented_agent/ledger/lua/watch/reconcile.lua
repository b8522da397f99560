-- reconcile: the alarm of a run rang.
-- Ends attempts whose lease ran out, sends again what nobody took, fences what ignores an abort,
-- and sets the next alarm. Leases count only from grace_until on (after a pause of Redis); may_send
-- is 1 if a message may be sent again now, 0 if not, unserved if no live worker would take it;
-- jitter is in 0..1; after latest (Redis time, ms) this look is too old to act on.
-- INCLUDE record chunks tasks suspensions alarms status ending attempts
-- KEYS run statuses
-- ARGV run_id grace_until may_send jitter latest
-- RETURNS ok sends notes | deleted | ended | late | missing
local MAX_CRASHES = 5
local SEND_AGAIN_MOST = 300000  -- ms between two messages, at most

local is_unserved = may_send == 'unserved'
grace_until, may_send, jitter = tonumber(grace_until), may_send == '1', tonumber(jitter)
-- Redis was paused between the tick and this call: leases had no chance to be renewed.
if now > tonumber(latest) then return {'late'} end
local state = load_run()
if state then
  redis.call('ZREM', ALARMS, run_id)
  redis.call('ZREM', BELLS, run_id)
  return {state}
end
mend_live()
local had_ended = ENDED[run.status]
if had_ended then mend_end() end
if had_ended and #run.live == 0 then
  rearm()
  flush()
  return {'ended'}
end
local sends, notes = {}, {}

local function crashed(key, task)
  local is_late = task.due and now >= task.due
  keep_attempt(key, task, is_late and 'timed_out' or 'crashed', nil, math.min(now, task.lease))
  task.crashes = task.crashes + 1
  task.lost = {gen = task.gen, at = task.lease}
  local times = task.crashes .. (task.crashes == 1 and ' time' or ' times')
  notes[#notes + 1] = {key = key, owner = task.owner, crashes = task.crashes}
  if task.kind == 'tool' then
    if is_late and task.retries >= (task.most_retries or 0) then
      return give_up(key, task, 'ToolTimeout', 'The tool did not answer within its timeout.', sends)
    end
    local why = 'The worker that ran this tool stopped ' .. times
      .. '; it may have done part of its work.'
    if task.on_crash == 'ask' then
      ask_person(key, task, why)
      return wake_waiting(sends, branch_of(task))
    end
    if task.on_crash == 'fail' or task.crashes >= MAX_CRASHES then
      return give_up(key, task, 'ToolInterrupted', why, sends)
    end
  elseif task.crashes >= MAX_CRASHES and (task.kind == 'after' or task.kind == 'hook') then
    -- What it should have told is lost; the run is not.
    has_news[branch_of(task)] = true
    return finish_task(key, task, sends)
  elseif task.crashes >= MAX_CRASHES then
    return fail_run(key, 'Poisoned', 'The worker that ran this ' .. task.kind .. ' task stopped '
      .. times .. '. Last it ran on ' .. (task.owner or 'an unknown worker') .. '.', sends)
  end
  retract(key, task, 'crash')
  queue_task(key, task)
  sends[#sends + 1] = due_message(key, task)
end

-- Nobody decided in time: the call is declined, or the run fails.
local function expired(key, task)
  local n, kind = task.suspended.n, task.suspended.kind
  local why = 'Nobody decided within ' .. int(task.expiry / 1000) .. ' s.'
  local told = {toolCallId = task.call, toolName = task.tool, decision = 'expired', reason = why}
  if kind == 'approval' then told.approved = false end
  remember_decision(task, n, 'expired', cjson.encode(told))
  if task.on_expiry == 'fail' then
    return fail_run(key, 'SuspensionExpired', 'Call ' .. task.tool .. ': ' .. why, sends)
  elseif kind ~= 'approval' then
    return give_up(key, task, 'SuspensionExpired', why, sends)
  end
  emit_new('tool-output-denied', key, {toolCallId = task.call, toolName = task.tool,
    approval = {approved = false, reason = why}})
  settle_call(key, task, {denied = {reason = why}}, sends)
end

local function send_again(key, task)
  -- A retry whose wait is over has not been sent yet.
  local is_first = task.not_before ~= nil
  if is_unserved and not is_first then
    -- Looked at again when a worker comes that serves other agents or queues: see ring. Until then
    -- it is sent as seldom as can be, for workers that do not announce themselves.
    if task.unserved then sends[#sends + 1] = due_message(key, task) end
    task.unserved = true
    task.send_at = now + math.floor(SEND_AGAIN_MOST * (1 + jitter / 4))
  elseif may_send or is_first then
    local wait = math.min(SEND_AGAIN * 2 ^ task.sends, SEND_AGAIN_MOST)
    task.sends = task.sends + 1
    task.send_at = now + math.floor(wait * (1 + jitter / 4))
    task.not_before, task.unserved = nil, nil
    sends[#sends + 1] = due_message(key, task)
    may_send = may_send and is_first
  else
    task.unserved = nil
    task.send_at = now + math.floor(SEND_AGAIN * (1 + jitter))
  end
  put_task(key, task)
end

-- Redis's clock went back: what lies further ahead than it can is brought near again.
local function bring_near(key, task)
  local lease_most = now + (task.lease_ms or 60000)
  if task.state == 'running' and task.lease > lease_most then
    task.lease = lease_most
    put_task(key, task)
  elseif task.state == 'queued' and task.queued_at > now then
    local ahead = task.queued_at - now
    task.queued_at, task.send_at = now, task.send_at - ahead
    if task.not_before then task.not_before = task.not_before - ahead end
    put_task(key, task)
  elseif task.state == 'child' and task.due and task.due > now + task.timeout then
    task.due = now + task.timeout
    put_task(key, task)
  end
end

for _, key in ipairs(run.live) do bring_near(key, get_task(key)) end
if run.abort_at and run.abort_at > now then set('abort_at', now) end
if run.deadline and run.deadline_in and run.deadline > now + run.deadline_in then
  set('deadline', now + run.deadline_in)
end

local keys = {}
for _, key in ipairs(run.live) do keys[#keys + 1] = key end
if run.deadline and now >= run.deadline and not run.abort_at and not is_over() then
  set('abort_at', now)
  set('abort_by', 'deadline')
  set('abort_reason', 'The run did not end within its deadline.')
end
if is_aborting() and (now >= run.abort_at + run.abort_grace or not has_running()) then
  abort_run()
  keys = {}
end
for _, key in ipairs(keys) do
  local task = get_task(key)
  if task and (had_ended or not ENDED[run.status]) then
    if task.state == 'running' and now >= task.lease and now >= grace_until then
      crashed(key, task)
    elseif task.state == 'queued' and (now >= task.send_at
      or task.unserved and not is_unserved) then
      send_again(key, task)
    elseif task.state == 'suspended' and now >= task.suspended.expires then
      expired(key, task)
    elseif task.state == 'child' and task.due and now >= task.due then
      stop_child(task)
      give_up(key, task, 'ToolTimeout', 'The agent did not answer within the timeout.', sends)
    elseif task.state == 'suspended' and task.suspended.warns and now >= task.suspended.warns then
      task.suspended.warns = nil
      put_task(key, task)
      notes[#notes + 1] = {key = key, expires = task.suspended.expires, on_expiry = task.on_expiry}
    end
  end
end
for _, branch in ipairs(live_branches()) do
  queue_end(sends, branch, is_idle(branch) and now >= own_of(branch).idle)
end
if is_aborting() and not has_running() then
  abort_run()
  sends = {}
end
save(false, sends)
return {'ok', cjson.encode(sends), cjson.encode(notes)}
