-- children: how a child of a run ends, which settles the call of its parent that it answers.
-- INCLUDE tasks attempts
-- What the tasks of a child, and of those below it, have opened is closed.
local function close_within(branch)
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if is_within(branch_of(task), branch) then close_parts(task) end
  end
end

-- Nothing of a child goes on, nor of those below it. What they said stays.
local function put_away(branch, status, error)
  local why = 'The run that has called it waits for it no longer.'
  close_within(branch)
  local keys = {}
  for _, key in ipairs(run.live) do keys[#keys + 1] = key end
  for _, key in ipairs(keys) do
    local task = get_task(key)
    if is_within(branch_of(task), branch) then
      keep_attempt(key, task, 'dropped', 'Its run has ' .. status .. '.')
      if task.state == 'child' then
        set_own(task.child, 'status', 'aborted')
        set_own(task.child, 'ended', now)
        emit_new('abort', nil, {reason = why}, task.child)
      end
      forget_task(key)
      drop_live(key)
    end
  end
  if status == 'aborted' then emit_new('abort', nil, {reason = why}, branch) end
  set_own(branch, 'status', status)
  set_own(branch, 'ended', now)
  if error then set_own(branch, 'error', error) end
end

-- Its agent has answered: chunks and entry say so to the parent's readers and in its journal.
local function finish_child(branch, reason, chunks, entry, sends)
  local key = get_task(branch).answers
  local call = get_task(key)
  local parent = branch_of(call)
  set_own(branch, 'reason', reason)
  put_away(branch, 'finished')
  for _, chunk in ipairs(chunks) do emit(chunk) end
  add_entry(entry, parent)
  has_news[parent] = true
  finish_task(key, call, {})
  wake_waiting(sends, parent)
  queue_end(sends, parent)
end

-- It has failed, which is for the model of its parent to deal with.
local function fail_child(branch, name, message, sends)
  local key = get_task(branch).answers
  local call = get_task(key)
  put_away(branch, 'failed', {name = name, message = message})
  give_up(key, call, name, message, sends)
  queue_end(sends, branch_of(call))
end

-- A call ends that its child has not answered: nobody waits for the child any more.
local function stop_child(call)
  if call.state == 'child' then put_away(call.child, 'aborted') end
end
