-- attempts: how each attempt of a task ended, for people; nothing that a run does depends on it.
-- Entries stand beside the tasks, as attempt:<n>, and the record counts them. So they cost no
-- command of their own, and expire and are deleted with the tasks, whatever version does it.
-- INCLUDE record
local MOST_KEPT, MOST_WHY = 500, 300  -- entries of a run; bytes of a reason

-- A reason comes from outside: cut, but not inside a character.
local function short_why(why)
  if not why or #why <= MOST_WHY then return why end
  local cut = string.gsub(string.sub(why, 1, MOST_WHY), '[\192-\255][\128-\191]*$', '')
  return cut .. '…'
end

-- An attempt of a task as it is now, as JSON; all but queued and ended ones run.
local function attempt_entry(key, task, how, why, ended)
  local is_queued = task.state == 'queued'
  return cjson.encode({key = key, step = task.step, kind = task.kind, call = task.call,
    tool = task.tool, gen = is_queued and task.gen + 1 or task.gen,
    owner = not is_queued and task.owner or nil,
    within = task.gen == 1 and not is_queued and task.within or nil,
    queued = task.queued_at, began = not is_queued and task.started or nil,
    ended = ended, how = how, why = short_why(why)})
end

-- The attempts that this script has kept, so that the first of several ends of one counts.
local ends_told = {}

-- Call it before the task is changed. how is how the attempt ended, why says more, ended is when,
-- if not now. A repeated script finds the attempt ended, and keeps nothing twice.
local function keep_attempt(key, task, how, why, ended)
  if not task or task.state ~= 'running' or ends_told[task] then return end
  ends_told[task] = true
  local number = (run.attempts or 0) + 1
  if how == 'waited' then
    -- One that asks again and again would push out all others: the last wait stands for all.
    if task.wait_kept == run.attempts then number = run.attempts or 1 end
    task.wait_kept = number
  end
  set('attempts', number)
  -- Not before it began, where Redis's clock went back meanwhile.
  local at = math.max(task.started or 0, ended or now)
  put_field('attempt:' .. int(number), attempt_entry(key, task, how, why, at))
  if number > MOST_KEPT then
    write_after('HDEL', TASKS, 'attempt:' .. int(number - MOST_KEPT))
  end
end
