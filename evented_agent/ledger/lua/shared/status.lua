-- status: the status of a run, which follows from its tasks, and the index of each status.
-- save() is the last word of every script that may have changed the run.
-- INCLUDE alarms chunks inbox
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

-- A turn has ended, and all that is left are calls in the background, suspended ones aside. Not its
-- last chunk: they go on.
local function tell_idle()
  if not changed.idle or run.idle == 0 then return end
  local calls = {}
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.kind == 'tool' and not task.branch and task.state ~= 'suspended' then
      calls[#calls + 1] = task.call
    end
  end
  emit_new('run-waiting', nil, {['for'] = 'background', calls = calls,
    ['until'] = is_idle('') and run.idle or nil})
end

-- A run is suspended while all that is left of it waits for people, or tells them that it does.
-- Its last chunk says so.
local function settle_status()
  if ENDED[run.status] then return end
  local calls = {}
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.state == 'suspended' then
      calls[#calls + 1] = task.call
    -- What goes on of a child, its own tasks say.
    elseif task.kind ~= 'hook' and task.state ~= 'child' then
      if run.status == 'suspended' then set_status('running') end
      return tell_idle()
    end
  end
  if #calls > 0 then
    if run.status ~= 'suspended' or changed.seq then
      emit_new('run-waiting', nil, {['for'] = 'people', calls = calls})
    end
    set_status('suspended')
  elseif run.status == 'suspended' then
    set_status('running')
  end
end

-- A call whose child begins to wait for people holds no place any longer.
local function hand_places_on(sends)
  if is_over() or is_aborting() then return end
  local due = sends or {}
  local before = #due
  for _, branch in ipairs(live_branches()) do wake_waiting(due, branch) end
  for at = before + 1, sends and 0 or #due do leave_unsent(due[at].key) end
end

-- sends takes the messages that become due here; nobody sends them where it is not given, until the
-- next look.
local function save(is_new, sends)
  set('updated', now)
  if run.inbox then answer_meanwhile(sends) end
  if run.children then hand_places_on(sends) end
  settle_status()
  rearm()
  flush(is_new)
end
