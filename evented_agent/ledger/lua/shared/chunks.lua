-- chunks: what readers see, appended to the run's topic or withdrawn from it.
-- INCLUDE record
-- 48 bits of the server's own id: an entry written again after a lost last second, or by another
-- server after a failover, gets another id than the one that a reader has seen.
local incarnation_ = nil
local function incarnation()
  if not incarnation_ then
    local info = redis.pcall('INFO', 'server')
    local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
    -- A user who may not ask gets the time, which is never the same for two entries either.
    incarnation_ = id and int(tonumber(string.sub(id, 1, 12), 16)) or int(now)
  end
  return incarnation_
end

local function emit(stored)
  set('seq', run.seq + 1)
  planned.chunks[#planned.chunks + 1] = {seq = run.seq, id = int(run.seq) .. '-' .. incarnation(),
    stored = stored}
end

-- What a child says is stored as a chunk of its own type, that names the child.
local function stored_chunk(type_, task_key, payload, branch)
  branch = branch or task_key and string.match(task_key, '^(~[%d~]+)/') or ''
  if branch == '' then return cjson.encode({type_, task_key or cjson.null, payload}) end
  return cjson.encode({'child', task_key or cjson.null,
    {run = branch, type = type_, payload = payload}})
end

-- The same for a payload that is JSON already.
local function with_payload(type_, task_key, branch, payload)
  local named = cjson.encode(task_key or cjson.null)
  if branch == '' then return '["' .. type_ .. '",' .. named .. ',' .. payload .. ']' end
  return '["child",' .. named .. ',{"run":"' .. branch .. '","type":"' .. type_ .. '","payload":'
    .. payload .. '}]'
end

local function emit_new(type_, task_key, payload, branch)
  emit(stored_chunk(type_, task_key, payload, branch))
end

local function close_parts(task)
  for _, stored in ipairs(task.open or {}) do emit(stored) end
  task.open = nil
end

-- Tell readers to drop what an attempt has said from a number on; failure is what a retry takes
-- back with it.
local function step_reset(key, task, from_seq, reason, failure)
  return stored_chunk('step-reset', key, {step = task.step, toolCallId = task.call,
    fromSeq = from_seq, attempt = task.gen, reason = reason, error = failure})
end

-- Withdraw what an attempt has said: close its parts, then tell readers to drop them.
local function retract(key, task, reason)
  close_parts(task)
  if task.first then emit(step_reset(key, task, task.first, reason)) end
  task.first = nil
  task.sent = 0
end
