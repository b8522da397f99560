-- spawn: a call of an agent is answered by a child of its run, which begins.
-- The attempt ends, and the call holds no worker until the child has ended. child has agent,
-- tool_limit and, where it is traced, trace of its record, as JSON, messages what it is asked;
-- chunks go before its first one.
-- most_depth, most_children and most_live bound the tree; newest is its format.
-- INCLUDE record chunks tasks status ending attempts
-- KEYS run statuses
-- ARGV run_id key token sent child messages most_depth most_children most_live newest chunks...
-- RETURNS ok sends | aborted | already sends | deleted | fenced | gap | full why | missing
local state = load_run()
if state then return {state} end
mend_live()
local task, sends = get_task(key), {}
if task and task.state == 'child' and task.spawned == token then
  local first = task.child .. '/1:model'
  local queued = get_task(first)
  if queued and queued.state == 'queued' then sends = {due_message(first, queued)} end
  return {'already', cjson.encode(sends)}
end
if not owns(task, token) then return {'fenced'} end
if task.sent ~= tonumber(sent) then return {'gap'} end
local parent = branch_of(task)
local _, depth = string.gsub(parent, '~', '')
if depth >= tonumber(most_depth) then return {'full', 'depth'} end
if (run.descendants or 0) >= tonumber(most_children) then return {'full', 'children'} end
if #live_branches() > tonumber(most_live) then return {'full', 'live'} end
for i = CHUNKS_AT, #ARGV do emit(ARGV[i]) end
if is_aborting() then
  keep_attempt(key, task, 'aborted', run.abort_reason)
  finish_task(key, task, {})
  if not has_running() then abort_run() end
  save()
  return {'aborted'}
end

local count = (own_of(parent).children or 0) + 1
local branch = parent .. '~' .. int(count)
set_own(parent, 'children', count)
set('descendants', (run.descendants or 0) + 1)
if run.v < tonumber(newest) then set('v', tonumber(newest)) end
local own = cjson.decode(child)
own.status, own.answers, own.call, own.created = 'running', key, task.call, now
own.step, own.entries = 1, 0
put_task(branch, own)
keep_attempt(key, task, 'spawned', branch)
write_before('HSET', BLOBS, branch .. '/messages', messages)
task.state, task.child, task.spawned = 'child', branch, token
task.token, task.lease, task.owner, task.worker, task.open = nil, nil, nil, nil, nil
put_task(key, task)
emit_new('start', nil, {id = own.agent}, branch)
emit_new('step-start', nil, {step = 1}, branch)
local first = branch .. '/1:model'
queue_task(first, new_task(first, branch_task(branch, {kind = 'model', step = 1})))
sends[1] = due_message(first, get_task(first))
save(false, sends)
return {'ok', cjson.encode(sends)}
