-- Shared by every script about one run; it is put in front of each of them.
-- KEYS 1-7 are the run's own keys, 8-13 (where given) the status indexes of its shard.
-- ARGV[1] is always the run id. Rule: check everything first, then write; a Lua error undoes nothing.
local RUN, TASKS, JOURNAL, TOPIC, BLOBS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ALARMS, BELLS = KEYS[6], KEYS[7]
local STATUS_INDEX = {queued = 8, running = 9, suspended = 10, finished = 11, failed = 12, aborted = 13}
local ENDED = {finished = true, failed = true, aborted = true}
local MAX_CRASHES = 5
local SEND_AGAIN = 5000            -- ms until a queued task's message counts as lost
local SEND_AGAIN_MOST = 300000
local LAST_DAY = 86400000          -- ms before its expiry in which a suspension is warned of

local run_id = ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local FIELDS = {'v', 'status', 'agent', 'seq', 'live', 'abort_at', 'abort_reason',
  'queue', 'tool_limit', 'created', 'ttl_topic', 'ttl_record', 'abort_grace', 'deleted', 'deleted_by', 'digest', 'step', 'abort_by',
  'deadline', 'deadline_in', 'tells', 'revived_by', 'idle', 'idle_for'}
local NUMBERS = {v = true, seq = true, abort_at = true, tool_limit = true,
  created = true, ttl_topic = true, ttl_record = true, abort_grace = true, step = true,
  deadline = true, deadline_in = true, idle = true, idle_for = true}
local run = {}
local changed = {}

local function load_run()
  local values = redis.call('HMGET', RUN, unpack(FIELDS))
  for i, name in ipairs(FIELDS) do
    if values[i] then
      run[name] = NUMBERS[name] and tonumber(values[i]) or values[i]
    end
  end
  if run.deleted then return 'deleted' end
  if not run.status then return 'missing' end
  run.live = cjson.decode(run.live)
  return nil
end

local function set(name, value)
  run[name] = value
  changed[name] = true
end

local function int(n) return string.format('%.0f', n) end

local function save_run()
  local pairs_ = {}
  for name in pairs(changed) do
    local value = run[name]
    if name == 'live' then value = cjson.encode(value) end
    if type(value) == 'number' then value = int(value) end
    pairs_[#pairs_ + 1] = name
    pairs_[#pairs_ + 1] = value
  end
  if #pairs_ > 0 then redis.call('HSET', RUN, unpack(pairs_)) end
end

local function get_task(key)
  local stored = redis.call('HGET', TASKS, key)
  return stored and cjson.decode(stored) or nil
end

local function put_task(key, task) redis.call('HSET', TASKS, key, cjson.encode(task)) end

local function owns(task, token)
  return task and task.state == 'running' and task.token == token
end

-- Whether somebody has to be told of this: 'suspended', 'failed' or 'aborted'.
local function tells(what)
  return run.tells and string.find(run.tells, what, 1, true) ~= nil
end

-- An ended run may have one task left, which tells people so; nothing aborts that.
local function is_aborting() return run.abort_at and not ENDED[run.status] end

-- A deferred call is under way beside the steps of its run: none of them waits for it.
local function is_deferred(task) return task.bg == 'deferred' end

-- What the step that is under way still waits for.
local function awaited()
  local count = 0
  for _, key in ipairs(run.live) do
    if not is_deferred(get_task(key)) then count = count + 1 end
  end
  return count
end

local function add_live(key)
  run.live[#run.live + 1] = key
  changed.live = true
end

local function drop_live(key)
  local rest = {}
  for _, other in ipairs(run.live) do
    if other ~= key then rest[#rest + 1] = other end
  end
  set('live', rest)
end

-- Chunks ------------------------------------------------------------------------------------------

-- 48 bits of the server's own id: an entry written again after a lost last second, or by another
-- server after a failover, gets another id than the one that a reader has seen.
local incarnation_ = nil
local function incarnation()
  if not incarnation_ then
    local id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
    incarnation_ = int(tonumber(string.sub(id, 1, 12), 16))
  end
  return incarnation_
end

local function emit(stored)
  set('seq', run.seq + 1)
  redis.call('XADD', TOPIC, int(run.seq) .. '-' .. incarnation(), 'd', stored)
end

local function emit_new(type_, task_key, payload)
  emit(cjson.encode({type_, task_key or cjson.null, payload}))
end

local function close_parts(task)
  for _, stored in ipairs(task.open or {}) do emit(stored) end
  task.open = nil
end

-- Withdraw what an attempt has said: close its parts, then tell readers to drop them.
local function retract(key, task, reason)
  close_parts(task)
  if task.first then
    emit_new('step-reset', key, {step = task.step, toolCallId = task.call, fromSeq = task.first,
      attempt = task.gen, reason = reason})
  end
  task.first = nil
  task.sent = 0
end

-- Time ---------------------------------------------------------------------------------------------

-- When somebody must look at this run again: at ALARMS for what runs, at BELLS for messages that may
-- be lost. Apart, so that a backlog of thousands of old messages delays no recovery.
-- Every script that changes one of these ends here.
local function arm(key, at)
  if at then redis.call('ZADD', key, int(at), run_id) else redis.call('ZREM', key, run_id) end
end

local function rearm()
  local alarm, bell = nil, nil
  if is_aborting() then
    alarm = run.abort_at + run.abort_grace
  elseif run.deadline and not ENDED[run.status] then
    alarm = run.deadline
  end
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'running' then alarm = math.min(alarm or task.lease, task.lease) end
    if task.state == 'queued' then bell = math.min(bell or task.send_at, task.send_at) end
    if task.state == 'suspended' then
      local at = task.suspended.warns or task.suspended.expires
      alarm = math.min(alarm or at, at)
    end
  end
  -- The run is idle: only deferred calls are left of it, for so long at most.
  if (run.idle or 0) > 0 and not ENDED[run.status] and run.status ~= 'suspended' then
    alarm = math.min(alarm or run.idle, run.idle)
  end
  arm(ALARMS, alarm)
  arm(BELLS, bell)
end

local function set_status(status)
  if run.status == status then return end
  redis.call('ZREM', KEYS[STATUS_INDEX[run.status]], run_id)
  -- Ended runs are ordered by their end, which is when their records begin to expire.
  redis.call('ZADD', KEYS[STATUS_INDEX[status]], int(ENDED[status] and now or run.created), run_id)
  set('status', status)
end

-- A run is suspended while all that is left of it waits for people, or tells them that it does.
local function settle_status()
  if ENDED[run.status] then return end
  local waits = false
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'suspended' then
      waits = true
    elseif task.kind ~= 'hook' then
      if run.status == 'suspended' then set_status('running') end
      return
    end
  end
  if waits then
    set_status('suspended')
  elseif run.status == 'suspended' then
    set_status('running')
  end
end

local function save()
  set('updated', now)
  settle_status()
  save_run()
  rearm()
end

-- Tasks --------------------------------------------------------------------------------------------

local function queue_task(key, task, send_at)
  task.state = 'queued'
  task.queued_at = now
  task.send_at = send_at or (now + SEND_AGAIN)
  task.token = nil
  put_task(key, task)
end

local function start_task(task, token, worker, owner, lease_ms)
  task.state = 'running'
  task.gen = task.gen + 1
  task.token = token
  task.worker = worker
  task.owner = owner
  task.lease = now + lease_ms
  task.due = task.timeout and (now + task.timeout) or nil
  task.started = now
  task.sent = 0
  task.first = nil
  task.open = nil
  task.sends = 0
  task.not_before = nil
  task.waits_for = nil
end

-- The short record that stays: a commit whose reply was lost asks again with the same token.
local function finish_task(key, task, sends, ends)
  put_task(key, {state = 'done', kind = task.kind, step = task.step, gen = task.gen,
    token = task.token, sends = sends, ends = ends})
  drop_live(key)
end

local function due_message(key, task)
  return {key = key, gen = task.gen + 1, kind = task.kind, tool = task.tool, queue = run.queue,
    agent = run.agent}
end

local function has_running()
  for _, key in ipairs(run.live) do
    if get_task(key).state == 'running' then return true end
  end
  return false
end

-- Calls over the limit wait; a finished or suspended call hands its place on.
local function wake_waiting(sends)
  local busy, first_waiting, waiting_task = 0, nil, nil
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.kind == 'tool' and not is_deferred(task) then
      if task.state == 'queued' or task.state == 'running' then busy = busy + 1 end
      if task.state == 'waiting' and not first_waiting then
        first_waiting, waiting_task = key, task
      end
    end
  end
  if first_waiting and busy < run.tool_limit then
    queue_task(first_waiting, waiting_task)
    sends[#sends + 1] = due_message(first_waiting, waiting_task)
  end
end

local function new_task(key, task)
  task.gen, task.crashes, task.retries, task.sends = 0, 0, 0, 0
  add_live(key)
  return task
end

-- Whoever ends the last task of a step without going on with its end task queues that.
local function end_key()
  local key = int(run.step) .. ':end'
  -- One end task of a step is enough, unless deferred calls go on after it.
  if redis.call('HEXISTS', TASKS, key) == 0 then return key end
  return key .. ':' .. int(redis.call('LLEN', JOURNAL))
end

-- Whether a call came to its end in this script without a commit of its own.
local settled = false

local function queue_end(sends, is_over)
  if awaited() > 0 or ENDED[run.status] then return end
  if (run.idle or 0) > 0 and not settled and not is_over then return end
  set('idle', 0)
  local key = end_key()
  local task = new_task(key, {kind = 'end', step = run.step, idle_over = is_over})
  queue_task(key, task)
  sends[#sends + 1] = due_message(key, task)
end

-- Journal what a call came to without its tool, and go on with what waited for its place.
local function settle_call(key, task, outcome, sends)
  outcome.k, outcome.step, outcome.call, outcome.name = 'result', task.step, task.call, task.tool
  redis.call('RPUSH', JOURNAL, cjson.encode(outcome))
  settled = true
  finish_task(key, task, {})
  wake_waiting(sends)
end

-- A tool call that must not run again becomes an error that the model sees.
local function give_up(key, task, name, message, sends)
  local failure = {name = name, message = message}
  close_parts(task)
  if task.bg then
    emit_new('background-task-failed', key, {taskId = run_id .. ':' .. task.call,
      toolCallId = task.call, toolName = task.tool, error = failure})
  end
  emit_new('tool-error', key, {toolCallId = task.call, toolName = task.tool, error = failure})
  settle_call(key, task, {error = failure}, sends)
end

-- People ---------------------------------------------------------------------------------------------

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
  redis.call('RPUSH', JOURNAL, cjson.encode({k = 'suspended', step = task.step, call = task.call,
    n = run.seq, kind = kind}))
  put_task(key, task)
  if tells('suspended') then
    local hook = {kind = 'hook', step = task.step, call = task.call, tool = task.tool,
      held = task.suspended, asked = task.asked, args = task.args}
    local hook_key = 'hook:' .. int(run.seq)
    queue_task(hook_key, new_task(hook_key, hook), now)
  end
end

-- The tool had begun and its worker is gone: a person says what becomes of the call.
local function ask_person(key, task, why)
  retract(key, task, 'crash')
  local payload = cjson.encode({reason = why, attempt = task.gen, crashes = task.crashes})
  task.asked = '{"payload":' .. payload .. '}'
  suspend_task(key, task, 'crash', '["tool-call-suspended",' .. cjson.encode(key)
    .. ',{"toolCallId":' .. cjson.encode(task.call) .. ',"toolName":' .. cjson.encode(task.tool)
    .. ',"args":' .. task.args .. ',"suspendPayload":' .. payload .. '}]')
end

-- A question that nobody answered in time is asked anew.
local function ask_again(key, task)
  local kind = task.suspended.kind
  local type_ = kind == 'approval' and 'tool-call-approval' or 'tool-call-suspended'
  suspend_task(key, task, kind, task.asking or cjson.encode({type_, key,
    {toolCallId = task.call, toolName = task.tool}}))
end

local function remember_decision(call, n, digest)
  redis.call('HSET', TASKS, 'decision:' .. int(n), digest, 'latest:' .. call, int(n),
    'latest:', int(n))
end

local function end_run(status, reason)
  set_status(status)
  set('ended', now)
  if reason then set('finish_reason', reason) end
  for _, key in ipairs(run.live) do redis.call('HDEL', TASKS, key) end
  set('live', {})
  if tells(status) then
    -- The next look of a watchdog sends it.
    queue_task('after', new_task('after', {kind = 'after', step = run.step}), now)
  end
  redis.call('PEXPIRE', RUN, run.ttl_record)
  redis.call('PEXPIRE', TASKS, run.ttl_record)
  redis.call('PEXPIRE', JOURNAL, run.ttl_record)
  redis.call('PEXPIRE', BLOBS, run.ttl_record)
  redis.call('PEXPIRE', TOPIC, run.ttl_topic)
end

-- Aborted and failed runs keep their partial text: parts are closed, nothing is withdrawn.
local function abort_run()
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'running' then close_parts(task) end
  end
  emit_new('abort', nil, {reason = run.abort_reason})
  end_run('aborted', run.abort_by == 'deadline' and 'deadline' or 'abort')
end

-- What is under way when a run fails, for somebody who wants it to go on.
local function keep_for_retry()
  local kept = {}
  for _, key in ipairs(run.live) do kept[#kept + 1] = {key = key, task = get_task(key)} end
  set('failed_tasks', cjson.encode(kept))
end

local function fail_run(key, name, message)
  keep_for_retry()
  for _, other in ipairs(run.live) do close_parts(get_task(other)) end
  local failure = {name = name, message = message}
  set('error', cjson.encode(failure))
  emit_new('error', key, {error = failure})
  end_run('failed', 'error')
end
