-- alarms: when somebody must look at a run again.
-- At ALARMS for what runs, at BELLS for messages that may be lost. Apart, so that a backlog of
-- thousands of old messages delays no recovery. Every script that changes one of these ends with
-- rearm(), or with save(), which calls it.
-- INCLUDE record
local function arm(key, at)
  if at then
    write_before('ZADD', key, int(at), run_id)
  else
    write_after('ZREM', key, run_id)
  end
end

-- Whether calls in the background are all that the run waits for, so that its idle time counts.
local function is_idle()
  if (run.idle or 0) == 0 or ENDED[run.status] or run.status == 'suspended' then return false end
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    -- A call that a person let go on takes the time that it takes.
    if task and task.put_off and task.state ~= 'suspended' then return false end
  end
  return true
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
  end
  -- The run is idle: only deferred calls are left of it, for so long at most.
  if is_idle() then alarm = math.min(alarm or run.idle, run.idle) end
  arm(ALARMS, alarm)
  arm(BELLS, bell)
end
