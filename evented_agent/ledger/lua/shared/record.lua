-- record: the record of a run and those of its tasks, read and written.
-- Since a Lua error undoes nothing, scripts about a run only plan their writes; flush() carries
-- them out, last of all. By then everything has been read, decoded, added up and encoded.
-- INCLUDE clock
-- KEYS run
-- ARGV run_id
local ENDED = {finished = true, failed = true, aborted = true}

local FIELDS = {'v', 'status', 'agent', 'seq', 'live', 'abort_at', 'abort_reason', 'queue',
  'tool_limit', 'created', 'ttl_topic', 'ttl_record', 'abort_grace', 'deleted', 'deleted_by',
  'digest', 'step', 'abort_by', 'deadline', 'deadline_in', 'tells', 'revived_by', 'idle',
  'idle_for', 'inbox', 'closed', 'yielded', 'acting', 'children', 'descendants',
  'attempts'}
local NUMBERS = {v = true, seq = true, abort_at = true, tool_limit = true,
  created = true, ttl_topic = true, ttl_record = true, abort_grace = true, step = true,
  deadline = true, deadline_in = true, idle = true, idle_for = true, children = true,
  descendants = true, attempts = true}
local run = {}
local changed = {}
-- What is planned: chunks for the topic, commands before the record and after it, tasks by key,
-- other fields beside the tasks.
local planned = {chunks = {}, before = {}, after = {}, tasks = {}, fields = {}}
-- Tasks that were read or planned; false for one that is not there.
local seen_tasks = {}

-- nil, or why there is no such run: 'deleted' or 'missing'. is_to_show: what is damaged of its
-- lists hides nothing else; a script that writes rather errs, so that the run is given up.
local function load_run(is_to_show)
  local values = redis.call('HMGET', RUN, unpack(FIELDS))
  for i, name in ipairs(FIELDS) do
    if values[i] then
      run[name] = NUMBERS[name] and tonumber(values[i]) or values[i]
    end
  end
  if run.deleted then return 'deleted' end
  if not run.status then return 'missing' end
  if is_to_show then
    local is_read, live = pcall(cjson.decode, run.live)
    run.live, run.inbox = {}, nil
    for _, key in ipairs(is_read and type(live) == 'table' and live or {}) do
      if type(key) == 'string' then run.live[#run.live + 1] = key end
    end
    return nil
  end
  run.live = cjson.decode(run.live)
  if run.inbox then run.inbox = cjson.decode(run.inbox) end
  if run.yielded == '' then run.yielded = nil end
  return nil
end

local function set(name, value)
  run[name] = value
  changed[name] = true
end

-- Journal entries and alarms come before the record: a run that is not yet there, or goes on, has
-- them too early rather than never. What forgets something comes after it.
local function write_before(...) planned.before[#planned.before + 1] = {...} end
local function write_after(...) planned.after[#planned.after + 1] = {...} end

local function get_task(key)
  if seen_tasks[key] == nil then
    local stored = redis.call('HGET', TASKS, key)
    seen_tasks[key] = stored and cjson.decode(stored) or false
  end
  return seen_tasks[key] or nil
end

local function put_task(key, task)
  seen_tasks[key] = task
  planned.tasks[key] = true
end

local function forget_task(key) put_task(key, false) end

-- A field beside the tasks.
local function put_field(name, value)
  local fields = planned.fields
  fields[#fields + 1], fields[#fields + 2] = name, value
end

-- The record is behind its topic, as a script of an older version may have left it: from now on it
-- is not, and the call is to be sent again. Nothing has been written yet.
local function catch_up(refusal)
  local stream = redis.pcall('XINFO', 'STREAM', TOPIC)
  -- No topic yet: it was refused for another reason, such as a full Redis.
  if stream.err then error(refusal) end
  for i = 1, #stream, 2 do
    local seq = stream[i] == 'last-generated-id' and string.match(stream[i + 1], '^(%d+)-')
    if seq and tonumber(seq) >= planned.chunks[1].seq then
      redis.call('HSET', RUN, 'seq', seq)
      error({err = 'TRYAGAIN The record of the run was behind its topic.'})
    end
  end
  error(refusal)
end

local function encoded_record()
  local fields = {}
  for name in pairs(changed) do
    local value = run[name]
    if type(value) == 'table' then value = #value > 0 and cjson.encode(value) or '[]' end
    if type(value) == 'number' then value = int(value) end
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  return fields
end

local function encoded_tasks()
  local fields = planned.fields
  for key in pairs(planned.tasks) do
    if seen_tasks[key] then
      fields[#fields + 1], fields[#fields + 2] = key, cjson.encode(seen_tasks[key])
    end
  end
  return fields
end

local function write_hash(key, fields)
  for i = 1, #fields, 1000 do
    redis.call('HSET', key, unpack(fields, i, math.min(i + 999, #fields)))
  end
end

-- Carry out what is planned. Before its first write comes all that can err; a topic that is ahead
-- refuses that first write. is_new: nobody may find the record before all else is there.
local function flush(is_new)
  local record, tasks = encoded_record(), encoded_tasks()
  if planned.clear then redis.call(unpack(planned.clear)) end
  for i, chunk in ipairs(planned.chunks) do
    local reply = redis.pcall('XADD', TOPIC, chunk.id, 'd', chunk.stored)
    if type(reply) == 'table' and reply.err then
      if i == 1 then catch_up(reply) end
      error(reply)
    end
  end
  for _, command in ipairs(planned.before) do redis.call(unpack(command)) end
  if is_new then write_hash(TASKS, tasks) end
  write_hash(RUN, record)
  if not is_new then write_hash(TASKS, tasks) end
  for key in pairs(planned.tasks) do
    if not seen_tasks[key] then redis.call('HDEL', TASKS, key) end
  end
  for _, command in ipairs(planned.after) do redis.call(unpack(command)) end
end

-- A tree of runs is one record: '' is the run that was started, '~1' its first child, '~1~2' a
-- child of that. A child's tasks name it as their branch; what else is its own (agent, step, usage
-- and so on) is kept under its name among the tasks, with the names that the run has for it.
local function branch_of(task) return task.branch or '' end
local function is_within(branch, other)
  return other == '' or branch == other or string.sub(branch, 1, #other + 1) == other .. '~'
end

-- What a branch has of its own: the record of the run, or that of a child.
local function own_of(branch) return branch == '' and run or get_task(branch) end

local function set_own(branch, name, value)
  if branch == '' then return set(name, value) end
  local child = get_task(branch)
  child[name] = value
  put_task(branch, child)
end

-- The run, and its children that are under way.
local function live_branches()
  local found = {''}
  for _, key in ipairs(run.children and run.live or {}) do
    local task = get_task(key)
    if task and task.state == 'child' then found[#found + 1] = task.child end
  end
  return found
end

local function owns(task, token)
  return task and task.state == 'running' and task.token == token
end

-- Whether somebody has to be told of this: 'suspended', 'failed' or 'aborted'.
local function tells(what)
  return run.tells and string.find(run.tells, what, 1, true) ~= nil
end

-- An ended run may have one task left, which tells people so; nothing aborts that.
local function is_aborting() return run.abort_at and not ENDED[run.status] end

-- Nothing can be asked of it any more: its end is being told, or was.
local function is_over() return ENDED[run.status] or run.closed end

-- Why the attempt that asks is to stop, for its reply: 1 the run is being aborted, 2 a message does
-- not wait for the model's answer, 0 it goes on.
local function signal(task) return is_aborting() and 1 or task.cut and 2 or 0 end
