-- send: a message to a run that is under way; durable from now on.
-- The same id again gets the same answer, also where the run had ended; with other content it is a
-- conflict. digest is one of what was sent, entry the message for the journal, chunk what readers
-- see of it, both as JSON. waits says what becomes of calls that wait for people: 'answer' puts
-- them off, 'hold' lets the message wait with them, 'decline' declines them: by is who, as JSON,
-- or ''. interrupt is 1 if the model's answer is to be cut short, notifies 1 if the caller sends
-- the messages of tasks.
-- INCLUDE record chunks tasks suspensions status
-- KEYS run statuses
-- ARGV run_id id digest entry chunk interrupt waits by notifies
-- RETURNS ok number sends | conflict | deleted | full | missing | over
local MOST, FORMAT, LARGE = 1000, 2, 262144
local state = load_run()
if state then return {state} end
mend_live()
local field, sends = 'message:' .. id, {}
local known = redis.call('HGET', TASKS, field)
if known then
  local number, before = string.match(known, '^(%d+):(.*)$')
  if before ~= digest then return {'conflict'} end
  if number == '0' then return {'over'} end
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'queued' and not task.not_before then
      sends[#sends + 1] = due_message(key, task)
    end
  end
  return {'ok', number, cjson.encode(sends)}
end
if is_over() or is_aborting() then
  -- It stays refused, whatever becomes of the run.
  put_field(field, '0:' .. digest)
  local left = redis.call('PTTL', RUN)
  if left > 0 then write_after('PEXPIRE', TASKS, int(left)) end
  flush()
  return {'over'}
end
if #(run.inbox or {}) >= MOST then return {'full'} end

local function decline(key, task)
  local why, name = 'Somebody wrote something else instead.', nil
  if by ~= '' then name = cjson.decode(by) end
  local told = {toolCallId = task.call, toolName = task.tool, decision = 'declined', by = name,
    reason = why}
  local kind = task.suspended.kind
  if kind == 'approval' then told.approved = false end
  remember_decision(task, task.suspended.n, field, cjson.encode(told))
  task.suspended = nil
  if kind ~= 'approval' then return give_up(key, task, 'Declined', why, sends) end
  emit_new('tool-output-denied', key, {toolCallId = task.call, toolName = task.tool,
    approval = {approved = false, reason = why, by = name}})
  settle_call(key, task, {denied = {reason = why, by = name}}, sends)
end

emit(chunk)
local number, place = run.seq, entry_count('')
entry = '{"n":' .. int(number) .. ',' .. string.sub(entry, 2)
if #entry > LARGE then
  local blob = 'message-' .. int(number)
  write_before('HSET', BLOBS, blob, entry)
  entry = '@' .. blob
end
add_entry(entry, '')
put_field(field, int(number) .. ':' .. digest)
local inbox, asks = run.inbox or {}, false
for _, key in ipairs(run.live) do asks = asks or get_task(key).state == 'suspended' end
-- Where nobody is asked and no step is under way, nothing is to be waited for.
inbox[#inbox + 1] = {place, id, waits == 'hold' and (asks or awaited('') > 0)}
set('inbox', inbox)
if run.v < FORMAT then set('v', FORMAT) end

local keys = {}
for _, key in ipairs(run.live) do keys[#keys + 1] = key end
for _, key in ipairs(keys) do
  local task = get_task(key)
  if interrupt == '1' and task.kind == 'model' and task.state == 'running' and not task.branch then
    task.cut = true
    put_task(key, task)
  elseif waits == 'decline' and task.kind == 'tool' and task.state == 'suspended' then
    decline(key, task)
  end
end
-- Of the run itself, once the message is among what it knows.
for _, branch in ipairs(live_branches()) do
  if branch ~= '' then queue_end(sends, branch) end
end
if notifies ~= '1' then
  for _, due in ipairs(sends) do leave_unsent(due.key) end
end
save(false, notifies == '1' and sends or nil)
return {'ok', int(number), cjson.encode(sends)}
