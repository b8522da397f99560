-- alarms: when somebody must look at a run again.
-- At ALARMS for what runs, at BELLS for messages that may be lost. Apart, so that a backlog of
-- thousands of old messages delays no recovery. Every script that changes one of these ends with
-- rearm(), or with save(), which calls it.
-- INCLUDE tasks
local function arm(key, at)
  if at then
    write_before('ZADD', key, int(at), run_id)
  else
    write_after('ZREM', key, run_id)
  end
end

-- Whether calls in the background are all that a branch waits for, so that its idle time counts.
local function is_idle(branch)
  local own = own_of(branch)
  if (own.idle or 0) == 0 or ENDED[own.status] then return false end
  local waits, goes_on = false, false
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task and branch_of(task) == branch then
      -- A call that a person let go on takes the time that it takes.
      if task.put_off and not only_asks(task) then return false end
      if only_asks(task) then waits = true elseif task.kind ~= 'hook' then goes_on = true end
    end
  end
  return goes_on or not waits
end

local function rearm()
  local alarm, bell = nil, nil
  if is_aborting() then
    alarm = run.abort_at + run.abort_grace
  elseif run.deadline and not is_over() then
    alarm = run.deadline
  end
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if not task then task = {} end
    if task.state == 'running' then alarm = math.min(alarm or task.lease, task.lease) end
    if task.state == 'queued' then bell = math.min(bell or task.send_at, task.send_at) end
    if task.state == 'suspended' then
      local at = task.suspended.warns or task.suspended.expires
      alarm = math.min(alarm or at, at)
    end
    -- A child has as long as the call that it answers.
    if task.state == 'child' and task.due then alarm = math.min(alarm or task.due, task.due) end
  end
  -- Only deferred calls are left of it, for so long at most.
  for _, branch in ipairs(live_branches()) do
    if is_idle(branch) then
      local idle = own_of(branch).idle
      alarm = math.min(alarm or idle, idle)
    end
  end
  arm(ALARMS, alarm)
  arm(BELLS, bell)
end
