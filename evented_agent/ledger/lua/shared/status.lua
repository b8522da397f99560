-- status: the status of a run, which follows from its tasks, and the index of each status.
-- save() is the last word of every script that may have changed the run.
-- INCLUDE alarms
-- KEYS run statuses
-- ARGV run_id
local STATUS_INDEX = {queued = QUEUED, running = RUNNING, suspended = SUSPENDED,
  finished = FINISHED, failed = FAILED, aborted = ABORTED}

local function set_status(status)
  if run.status == status then return end
  write_after('ZREM', STATUS_INDEX[run.status], run_id)
  -- Ended runs are ordered by their end, which is when their records begin to expire.
  write_after('ZADD', STATUS_INDEX[status], int(ENDED[status] and now or run.created), run_id)
  set('status', status)
end

-- A run is suspended while all that is left of it waits for people, or tells them that it does.
local function settle_status()
  if ENDED[run.status] then return end
  local waits = false
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'suspended' then
      waits = true
    elseif task.kind ~= 'hook' then
      if run.status == 'suspended' then set_status('running') end
      return
    end
  end
  if waits then
    set_status('suspended')
  elseif run.status == 'suspended' then
    set_status('running')
  end
end

local function save(is_new)
  set('updated', now)
  settle_status()
  rearm()
  flush(is_new)
end
