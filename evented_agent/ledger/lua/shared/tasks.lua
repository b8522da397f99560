-- tasks: how a task is queued, started, finished or given up, and what follows it in its step.
-- INCLUDE record chunks
local SEND_AGAIN = 5000  -- ms until a queued task's message counts as lost

-- A deferred call is under way beside the steps of its run: none of them waits for it.
local function is_deferred(task) return task.bg == 'deferred' end

-- What is live, as the tasks themselves have it: a script of an older version may have died between
-- its writes to the two.
local function mend_live()
  local is_whole = true
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if not task or task.state == 'done' then is_whole = false end
  end
  if is_whole then return end
  local live = {}
  for _, key in ipairs(redis.call('HKEYS', TASKS)) do
    local is_task = key == 'after'
    if not ENDED[run.status] then
      is_task = string.find(key, '^%d+:') or string.find(key, '^hook:')
        or string.find(key, '^~[%d~]+/')
    end
    local task = is_task and get_task(key)
    if task and task.state ~= 'done' then live[#live + 1] = key end
  end
  table.sort(live)
  set('live', live)
end

-- What the step that is under way in a branch still waits for; hooks of suspensions hold back the
-- run's end alone.
local function awaited(branch)
  local count = 0
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if branch_of(task) == branch and not is_deferred(task) and task.kind ~= 'hook' then
      count = count + 1
    end
  end
  return count
end

-- Whether a call waits for people and for nothing else: it does, or all that goes on of its child.
local function only_asks(task)
  if task.state ~= 'child' then return task.state == 'suspended' end
  for _, key in ipairs(run.live) do
    local other = get_task(key)
    if is_within(branch_of(other), task.child) and other.state ~= 'suspended'
      and other.state ~= 'child' then
      return false
    end
  end
  return true
end

local function add_live(key)
  for _, other in ipairs(run.live) do
    if other == key then return end
  end
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

local function queue_task(key, task, send_at)
  task.state = 'queued'
  task.queued_at = now
  task.send_at = send_at or (now + SEND_AGAIN)
  task.token, task.cut = nil, nil
  put_task(key, task)
end

-- Nobody sends the message now: the next look of a watchdog does, as soon as it can.
local function leave_unsent(key)
  local task = get_task(key)
  task.not_before, task.send_at = now, now
  put_task(key, task)
end

local function start_task(task, token, worker, owner, lease_ms)
  task.state = 'running'
  task.gen = task.gen + 1
  task.token = token
  task.worker = worker
  task.owner = owner
  task.lease, task.lease_ms = now + lease_ms, lease_ms
  task.due = task.timeout and (now + task.timeout) or nil
  task.started = now
  task.sent = 0
  task.first = nil
  task.open = nil
  task.sends = 0
  task.not_before = nil
  task.waits_for, task.woken, task.cut = nil, nil, nil
end

-- The short record that stays: a commit whose reply was lost asks again with the same token.
local function finish_task(key, task, sends, ends)
  put_task(key, {state = 'done', kind = task.kind, step = task.step, gen = task.gen,
    token = task.token, sends = sends, ends = ends})
  drop_live(key)
end

-- Whose task it is: of the agent that goes on with the run, or of one that has handed it over.
local function agent_of(task)
  local own = own_of(branch_of(task))
  return task.agent or own.acting or own.agent
end

local function due_message(key, task)
  return {key = key, gen = task.gen + 1, kind = task.kind, tool = task.tool, queue = run.queue,
    agent = agent_of(task)}
end

-- What a worker has to know of a child beside its task: also which call of its parent it answers.
local function child_for(branch)
  local child = get_task(branch)
  local call = get_task(child.answers)
  local found = redis.call('HMGET', RUN, 'options', 'resource', 'trace', 'thread')
  local messages = redis.call('HGET', BLOBS, branch .. '/messages')
  return {child.acting or child.agent, child.agent, found[1], messages, false, found[2], false,
    false, child.trace or found[3], cjson.encode({key = child.answers, call = call.call,
      tool = call.tool, step = call.step, bg = call.bg}), found[4]}
end

-- What a worker has to know of the run beside its task.
local function record_for(task)
  if task.branch then
    local found = child_for(task.branch)
    found[1] = agent_of(task)
    return found
  end
  local found = redis.call('HMGET', RUN, 'options', 'messages', 'thread', 'resource',
    'revived_by', 'yielded', 'trace')
  return {agent_of(task), run.agent, unpack(found)}
end

local function has_running()
  for _, key in ipairs(run.live) do
    if get_task(key).state == 'running' then return true end
  end
  return false
end

-- Calls over the limit wait; finished and suspended calls hand their places on.
local function wake_waiting(sends, branch)
  local busy, waiting = 0, {}
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.kind == 'tool' and branch_of(task) == branch and not is_deferred(task) then
      if task.state == 'queued' or task.state == 'running'
        or task.state == 'child' and not only_asks(task) then
        busy = busy + 1
      end
      if task.state == 'waiting' then waiting[#waiting + 1] = key end
    end
  end
  for at = 1, math.min(#waiting, own_of(branch).tool_limit - busy) do
    local key, task = waiting[at], get_task(waiting[at])
    queue_task(key, task)
    sends[#sends + 1] = due_message(key, task)
  end
end

local function new_task(key, task)
  task.gen, task.crashes, task.retries, task.sends = 0, 0, 0, 0
  add_live(key)
  return task
end

-- Entries are planned like all else, so the length of the journal, read once, counts them.
local journaled, pushed = nil, 0

-- A child's journal is kept beside the large payloads, an entry a field: so all keys of a tree are
-- those of its run.
local function add_entry(entry, branch)
  if branch == '' then
    write_before('RPUSH', JOURNAL, entry)
    pushed = pushed + 1
    return
  end
  local count = get_task(branch).entries
  write_before('HSET', BLOBS, branch .. '/' .. int(count), entry)
  set_own(branch, 'entries', count + 1)
end

local function entry_count(branch)
  if branch ~= '' then return get_task(branch).entries end
  journaled = journaled or redis.call('LLEN', JOURNAL)
  return journaled + pushed
end

-- The entries of a journal from one place to another, as they are in Redis.
local function entries_of(branch, from, to)
  if branch == '' then return redis.call('LRANGE', JOURNAL, from, to) end
  local found = {}
  if to < 0 then to = get_task(branch).entries - 1 end
  for first = from, to, 1000 do
    local names = {}
    for at = first, math.min(first + 999, to) do names[#names + 1] = branch .. '/' .. int(at) end
    for _, entry in ipairs(redis.call('HMGET', BLOBS, unpack(names))) do
      found[#found + 1] = entry
    end
  end
  return found
end

local function key_prefix(branch) return branch == '' and '' or branch .. '/' end

-- A task of a branch; its key begins with the branch.
local function branch_task(branch, task)
  if branch ~= '' then task.branch = branch end
  return task
end

-- Whoever ends the last task of a step without going on with its end task queues that.
local function end_key(branch)
  local key = key_prefix(branch) .. int(own_of(branch).step) .. ':end'
  -- One end task of a step is enough, unless deferred calls go on after it.
  if not get_task(key) then return key end
  return key .. ':' .. int(entry_count(branch))
end

-- The branches whose model there is news for: a call that came to its end without a commit of its
-- own, or a message.
local has_news = {}

-- The deferred calls whose idle time is over: not what people may still decide, nor what they let
-- go on.
local function late_calls(branch)
  local late = {}
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if branch_of(task) == branch and is_deferred(task) and not only_asks(task)
      and not task.put_off then
      late[#late + 1] = task.call
    end
  end
  return late[1] and late
end

local function queue_end(sends, branch, is_late)
  local own = own_of(branch)
  if awaited(branch) > 0 or ENDED[own.status] then return end
  if (own.idle or 0) > 0 and not has_news[branch] and not is_late then return end
  set_own(branch, 'idle', 0)
  local key = end_key(branch)
  local late = is_late and late_calls(branch) or nil
  local task = new_task(key, branch_task(branch, {kind = 'end', step = own.step,
    idle_over = is_late, late = late}))
  queue_task(key, task)
  sends[#sends + 1] = due_message(key, task)
end

-- The end task of each branch whose step has come to its end.
local function queue_ends(sends)
  for _, branch in ipairs(live_branches()) do queue_end(sends, branch) end
end

-- Journal what a call came to without its tool, and go on with what waited for its place.
local function settle_call(key, task, outcome, sends)
  outcome.k, outcome.step, outcome.call, outcome.name = 'result', task.step, task.call, task.tool
  local branch, child = branch_of(task), task.child and get_task(task.child)
  if child and child.usage then outcome.usage = cjson.decode(child.usage) end
  add_entry(cjson.encode(outcome), branch)
  has_news[branch] = true
  finish_task(key, task, {})
  wake_waiting(sends, branch)
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
