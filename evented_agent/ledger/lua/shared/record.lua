-- record: the record of a run and those of its tasks, read and written.
-- Every script about a run checks everything first, then writes: a Lua error undoes nothing.
-- INCLUDE clock
-- KEYS run
-- ARGV run_id
local ENDED = {finished = true, failed = true, aborted = true}

local FIELDS = {'v', 'status', 'agent', 'seq', 'live', 'abort_at', 'abort_reason', 'queue',
  'tool_limit', 'created', 'ttl_topic', 'ttl_record', 'abort_grace', 'deleted', 'deleted_by',
  'digest', 'step', 'abort_by', 'deadline', 'deadline_in', 'tells', 'revived_by', 'idle',
  'idle_for'}
local NUMBERS = {v = true, seq = true, abort_at = true, tool_limit = true,
  created = true, ttl_topic = true, ttl_record = true, abort_grace = true, step = true,
  deadline = true, deadline_in = true, idle = true, idle_for = true}
local run = {}
local changed = {}

-- nil, or why there is no such run: 'deleted' or 'missing'.
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
