-- claim: starts an attempt of a queued task.
-- It never takes a running one; only reconcile and release end an attempt. newest is the newest
-- format that the worker serves, agents (a JSON list) the agents.
-- INCLUDE record tasks status ending
-- KEYS run statuses
-- ARGV run_id key token worker owner lease_ms newest agents
-- RETURNS ok task is_aborting journal_length record entries | aborted | busy | deleted | early
--   | missing | newer | stale | unserved
local state = load_run()
if state then return {state} end
mend_live()
local task = get_task(key)
if not task or task.state == 'done' then return {'stale'} end

local function granted()
  local branch, entries = branch_of(task), nil
  if task.kind == 'tool' then
    entries = entries_of(branch, task.turn, task.turn)
  else
    entries = entries_of(branch, 0, -1)
  end
  local record = record_for(task)
  if task.kind == 'tool' then record[4] = '' end
  return {'ok', cjson.encode(task), is_aborting() and 1 or 0, entry_count(branch), record,
    entries}
end

-- The reply to this very claim was lost: the same token gets the same answer.
if owns(task, token) then return granted() end
if task.state ~= 'queued' then return {'busy'} end
if is_aborting() then
  if not has_running() then
    abort_run()
    save()
  end
  return {'aborted'}
end
if task.not_before and now < task.not_before then return {'early'} end
local function leave_it(why)
  -- Another worker may serve it: the watchdog sends the message again.
  task.send_at = now + SEND_AGAIN
  put_task(key, task)
  save()
  return {why}
end
if run.v > tonumber(newest) then return leave_it('newer') end
local served = false
for _, id in ipairs(cjson.decode(agents)) do
  if id == agent_of(task) then served = true end
end
if not served then return leave_it('unserved') end

start_task(task, token, worker, owner, tonumber(lease_ms))
put_task(key, task)
if run.status == 'queued' then
  set_status('running')
  set('started', now)
end
local branch = branch_of(task)
local own = own_of(branch)
if own.step < task.step then set_own(branch, 'step', task.step) end
if branch ~= '' and not own.started then set_own(branch, 'started', now) end
save()
return granted()
