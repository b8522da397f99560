-- suspensions: calls that wait for a person.
-- INCLUDE tasks
local LAST_DAY = 86400000  -- ms before its expiry in which a suspension is warned of

-- The call waits for a person, holding no worker. Its number is the seq of the chunk that says so.
local function suspend_task(key, task, kind, chunk)
  emit(chunk)
  task.state = 'suspended'
  task.token, task.lease, task.due, task.owner, task.worker = nil, nil, nil, nil, nil
  -- To be asked again after a retry, unless it is very large.
  task.asking = #chunk <= 65536 and chunk or nil
  local expires = now + task.expiry
  task.suspended = {n = run.seq, kind = kind, at = now, expires = expires,
    warns = expires - math.min(task.expiry / 10, LAST_DAY)}
  add_entry(cjson.encode({k = 'suspended', step = task.step, call = task.call, n = run.seq,
    kind = kind}), branch_of(task))
  put_task(key, task)
  if tells('suspended') then
    local hook = {kind = 'hook', step = task.step, call = task.call, tool = task.tool,
      held = task.suspended, asked = task.asked, args = task.args}
    local hook_key = 'hook:' .. int(run.seq)
    queue_task(hook_key, new_task(hook_key, hook))
    leave_unsent(hook_key)
  end
end

-- The tool had begun and its worker is gone: a person says what becomes of the call.
local function ask_person(key, task, why)
  retract(key, task, 'crash')
  local payload = cjson.encode({reason = why, attempt = task.gen, crashes = task.crashes})
  task.asked = '{"payload":' .. payload .. '}'
  suspend_task(key, task, 'crash', with_payload('tool-call-suspended', key, branch_of(task),
    '{"toolCallId":' .. cjson.encode(task.call) .. ',"toolName":' .. cjson.encode(task.tool)
    .. ',"args":' .. task.args .. ',"suspendPayload":' .. payload .. '}'))
end

-- A question that nobody answered in time is asked anew.
local function ask_again(key, task)
  local kind = task.suspended.kind
  local type_ = kind == 'approval' and 'tool-call-approval' or 'tool-call-suspended'
  suspend_task(key, task, kind, task.asking or stored_chunk(type_, key,
    {toolCallId = task.call, toolName = task.tool}))
end

-- Waiting for people is not being idle: for all that waited for the call the time begins anew.
local function renew_idle(branch)
  while branch do
    local own = own_of(branch)
    if (own.idle or 0) > 0 then set_own(branch, 'idle', now + own.idle_for) end
    branch = string.match(branch, '^(.*)~%d+$')
  end
end

-- What was decided, for whoever decides again; told (JSON) says it to readers, before its effects.
-- It belongs to no task, so that nothing withdraws it. Returns who said what, and when, or ''.
local function remember_decision(task, n, digest, told)
  local call = task.call
  renew_idle(branch_of(task))
  put_field('decision:' .. int(n), digest)
  put_field('latest:' .. call, int(n))
  put_field('latest:', int(n))
  if told == '' then return '' end
  emit(with_payload('tool-call-decided', nil, branch_of(task),
    '{"number":' .. int(n) .. ',' .. string.sub(told, 2)))
  local decided = '{"n":' .. int(n) .. ',"at":' .. int(now) .. ',' .. string.sub(told, 2)
  put_field('decided:' .. int(n), decided)
  return decided
end
