-- resume: writes people's decisions about suspended calls of a run: all of them, or none.
-- The same again gets the same answer; another is refused. Of each decision, number names the
-- suspension (0: the one that is pending, or was last), digest what was decided. follows says what
-- becomes of the call: 'approved' and 'data' run its tool with data, 'rerun' runs it again, and
-- 'settle' ends it with chunk and the journal entry result. entry is the decision for the journal,
-- told (or '') what readers see of it, as JSON; notifies is 1 if the caller sends the messages.
-- The reply has for each decision whether it is new, and who said what, and when, as JSON, or '';
-- a refusal the place of the decision that it is about, and what was decided before.
-- INCLUDE record chunks tasks suspensions status
-- KEYS run statuses
-- ARGV run_id notifies decisions...
-- RETURNS ok sends (is_new decided)... | conflict place decided | deleted | expired place decided
--   | missing | not-suspended place | over place
local state = load_run()
if state then return {state} end
mend_live()
local decisions = {}
for at = DECISIONS_AT, #ARGV, 9 do
  decisions[#decisions + 1] = {call = ARGV[at], number = tonumber(ARGV[at + 1]),
    digest = ARGV[at + 2], follows = ARGV[at + 3], entry = ARGV[at + 4], told = ARGV[at + 5],
    data = ARGV[at + 6], chunk = ARGV[at + 7], result = ARGV[at + 8]}
end
local sends = {}

local function task_of(each)
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if task.kind == 'tool' and task.call == each.call then return key, task end
  end
end

-- Why a decision is refused; nil for one that is to be written, and for one that is known.
local function refusal(each, place)
  local key, task = task_of(each)
  if task and task.state == 'suspended'
    and (each.number == 0 or task.suspended.n == each.number) then
    if is_aborting() then return {'over', place, ''} end
    if now >= task.suspended.expires then return {'expired', place, ''} end
    return nil
  end
  local latest = 'latest:' .. each.call
  local n = each.number ~= 0 and int(each.number) or redis.call('HGET', TASKS, latest)
  local known = n and redis.call('HGET', TASKS, 'decision:' .. n)
  local decided = n and redis.call('HGET', TASKS, 'decided:' .. n) or ''
  if known == each.digest then
    each.is_known, each.decided = true, decided
    if task and task.state == 'queued' then sends[#sends + 1] = due_message(key, task) end
    return nil
  end
  if known == 'expired' then return {'expired', place, decided} end
  if known then return {'conflict', place, decided} end
  if ENDED[run.status] then return {'over', place, ''} end
  return {'not-suspended', place, ''}
end

local function write(each)
  local key, task = task_of(each)
  local branch = branch_of(task)
  each.decided = remember_decision(task, task.suspended.n, each.digest, each.told)
  add_entry(each.entry, branch)
  task.suspended = nil
  if each.follows == 'settle' then
    emit(each.chunk)
    add_entry(each.result, branch)
    has_news[branch] = true
    finish_task(key, task, {})
    wake_waiting(sends, branch)
    queue_end(sends, branch)
    return
  end
  task.decided = true
  if each.follows == 'approved' then task.approval = each.data end
  if each.follows == 'data' then
    task.given = task.given or {}
    task.given[#task.given + 1] = each.data
  end
  if is_deferred(task) then
    queue_task(key, task)
    sends[#sends + 1] = due_message(key, task)
  else
    -- Behind those that wait for a slot already; a free slot is taken at once.
    task.state = 'waiting'
    put_task(key, task)
    wake_waiting(sends, branch)
  end
end

for at, each in ipairs(decisions) do
  local refused = refusal(each, at - 1)
  if refused then return refused end
end
local news, told = 0, {}
for _, each in ipairs(decisions) do
  if not each.is_known then
    write(each)
    news = news + 1
  end
  told[#told + 1] = each.is_known and 0 or 1
  told[#told + 1] = each.decided
end
if news > 0 and notifies ~= '1' then
  for _, due in ipairs(sends) do leave_unsent(due.key) end
end
if news > 0 then save(false, sends) end
return {'ok', cjson.encode(sends), unpack(told)}
