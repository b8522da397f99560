-- commit: completes an attempt.
-- Journal entries, closing chunks, next tasks, status and counters in one go; messages follow
-- outside, and the alarm set here repairs a crash in between. sent says how many chunks the attempt
-- had sent before. spec is JSON:
--   chunks, entries  how many of texts are chunks; how many, after them, are journal entries
--   next, turn       tasks to queue; which of the entries they belong to
--   usage            tokens to add to those of the run, and what they cost
--   seen             how much of the journal the model had been shown
--   journal          how long the journal was when this was decided; refused if it has grown
--   idle             ms that deferred calls may take from now on
--   drop             deferred calls that are over; what they came to is among the entries
--   hand             the agent that goes on with the run, with fields of the record to set
--   claim            token, worker, owner and lease for the step's end task, if this was the last,
--                    and the newest format that the worker serves
--   finish           status, reason and error with which the run ends; of a child that has finished
--                    also chunks and entry, with which its call is answered
-- INCLUDE record tasks suspensions status ending attempts
-- KEYS run statuses
-- ARGV run_id key token sent spec texts...
-- RETURNS ok sends end waits | aborted | already sends end | deleted | fenced | gap
--   | grew journal_length entries | missing | newer sends
spec = cjson.decode(spec)
local state = load_run()
if state then return {state} end
mend_live()
local task = get_task(key)

local function claimed_end(end_key)
  local claimed = end_key and get_task(end_key)
  if not spec.claim or not owns(claimed, spec.claim.token) then return '' end
  local branch = branch_of(claimed)
  return {end_key, cjson.encode(claimed), is_aborting() and 1 or 0, entry_count(branch),
    record_for(claimed), entries_of(branch, 0, -1)}
end

-- A number of tokens, or of nano-dollars, as the record can hold it, whatever a provider says.
local function tokens(n)
  n = tonumber(n)
  return n and n > 0 and math.min(math.floor(n), 2 ^ 53) or 0
end

local function added_usage(stored, more)
  local is_json, total = pcall(cjson.decode, stored)
  if not is_json or type(total) ~= 'table' then total = {} end
  for name, n in pairs(more) do total[name] = tokens(total[name]) + tokens(n) end
  local parts = {}
  for name, n in pairs(total) do
    parts[#parts + 1] = cjson.encode(tostring(name)) .. ':' .. int(tokens(n))
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

if task and task.state == 'done' and task.token == token then
  return {'already', cjson.encode(task.sends or {}), claimed_end(task.ends)}
end
if not owns(task, token) then return {'fenced'} end
if task.sent ~= tonumber(sent) then return {'gap'} end
local branch = branch_of(task)
local own = own_of(branch)
if spec.journal and entry_count(branch) ~= spec.journal then
  if run.v > spec.claim.newest then
    -- What has come is of a kind that this worker does not know: another goes on.
    keep_attempt(key, task, 'released', 'newer')
    retract(key, task, 'newer')
    queue_task(key, task)
    save()
    return {'newer', cjson.encode({due_message(key, task)})}
  end
  return {'grew', entry_count(branch), entries_of(branch, 0, -1)}
end

local turn = entry_count(branch) + (spec.turn or 0)
local began = run.seq + 1
local entries_at = TEXTS_AT + spec.chunks
if spec.seen then take_seen(spec.seen) end
task.open = nil
for i = TEXTS_AT, entries_at - 1 do
  -- The last chunk of a run says how it ended; what it leaves unanswered or open comes before that.
  local ends_it = spec.finish and i == entries_at - 1
  if ends_it and branch == '' then drop_messages('The run failed.') end
  if ends_it and branch ~= '' and not is_aborting() then close_within(branch) end
  -- A child that would have ended is aborted with its tree, whose last chunk says so of all.
  if not (ends_it and branch ~= '' and is_aborting()) then emit(ARGV[i]) end
end
for i = entries_at, entries_at + spec.entries - 1 do add_entry(ARGV[i], branch) end
if spec.usage then
  set('usage', added_usage(redis.call('HGET', RUN, 'usage') or '{}', spec.usage))
  -- What a child uses, each of those above it has used as well.
  local counted = branch
  while counted ~= '' do
    set_own(counted, 'usage', added_usage(get_task(counted).usage or '{}', spec.usage))
    counted = string.match(counted, '^(.*)~%d+$')
  end
end

local sends = {}
local failure = spec.finish and spec.finish.error
if failure then
  keep_attempt(key, task, 'failed', failure.name .. ': ' .. failure.message)
elseif is_aborting() and not spec.finish then
  keep_attempt(key, task, 'aborted', run.abort_reason)
else
  keep_attempt(key, task, 'committed')
end
if spec.finish and branch == '' then
  if failure then
    set('error', cjson.encode(failure))
    task.first = task.first or began
    put_task(key, task)
    keep_for_retry()
  end
  finish_task(key, task, sends)
  end_run(spec.finish.status, spec.finish.reason)
  save()
  return {'ok', '[]', ''}
end
if is_aborting() then
  finish_task(key, task, sends)
  if not has_running() then abort_run() end
  save()
  return {'aborted'}
end
if spec.finish then
  finish_task(key, task, sends)
  if spec.finish.error then
    fail_child(branch, spec.finish.error.name, spec.finish.error.message, sends)
  else
    finish_child(branch, spec.finish.reason, spec.finish.chunks, spec.finish.entry, sends)
  end
  save(false, sends)
  return {'ok', cjson.encode(sends), ''}
end

if spec.hand then
  -- What is under way stays with the agent that began it.
  for _, live in ipairs(run.live) do
    local other = get_task(live)
    if live ~= key and not other.agent and branch_of(other) == branch then
      other.agent = agent_of(other)
      put_task(live, other)
    end
  end
  set_own(branch, 'acting', spec.hand.agent)
  for name, value in pairs(spec.hand.fields) do set_own(branch, name, value) end
  if run.v < 2 then set('v', 2) end
end
if spec.drop then
  local is_dropped = {}
  for _, id in ipairs(spec.drop) do is_dropped[id] = true end
  for _, live in ipairs(run.live) do
    local call = get_task(live)
    if call and branch_of(call) == branch and is_dropped[call.call] then
      stop_child(call)
      keep_attempt(live, call, 'dropped', 'The run no longer waits for background calls.')
      close_parts(call)
      finish_task(live, call, {})
    end
  end
end
local calls = 0
for _, next_task in ipairs(spec.next or {}) do
  local next_key = key_prefix(branch) .. next_task.key
  next_task.key = nil
  branch_task(branch, next_task)
  next_task.turn = turn
  local ask = next_task.ask
  next_task.ask = nil
  new_task(next_key, next_task)
  if ask then
    suspend_task(next_key, next_task, 'approval', ask)
  elseif is_deferred(next_task) then
    queue_task(next_key, next_task)
    sends[#sends + 1] = due_message(next_key, next_task)
  elseif next_task.kind == 'tool' and calls >= own.tool_limit then
    next_task.state = 'waiting'
    put_task(next_key, next_task)
  else
    calls = calls + 1
    queue_task(next_key, next_task)
    sends[#sends + 1] = due_message(next_key, next_task)
  end
end
drop_live(key)
if task.kind == 'tool' then wake_waiting(sends, branch) end

-- Whoever commits last in a step goes on with its end task at once, without a message.
local ends = nil
if spec.idle then
  set_own(branch, 'idle', now + spec.idle)
  set_own(branch, 'idle_for', spec.idle)
elseif awaited(branch) == 0 and task.kind ~= 'end' and not ENDED[run.status]
  -- A hook's commit is the last of a step only where an older version has let the step wait for it.
  and (task.kind ~= 'hook' or (run.idle or 0) == 0) then
  set_own(branch, 'idle', 0)
  ends = end_key(branch)
  local end_task = new_task(ends, branch_task(branch, {kind = 'end', step = own.step}))
  start_task(end_task, spec.claim.token, spec.claim.worker, spec.claim.owner, spec.claim.lease)
  -- The Celery task of this attempt runs it as well.
  end_task.within = key .. ':' .. int(task.gen)
  put_task(ends, end_task)
end
finish_task(key, task, sends, ends)
if run.yielded and task.kind == 'model' and branch == '' then set('yielded', '') end
save(false, sends)
local waits = run.status == 'suspended' or spec.idle and branch == ''
return {'ok', cjson.encode(sends), claimed_end(ends), waits and 1 or 0}
