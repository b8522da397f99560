-- attempts: how the attempts of a run ended, the last that are kept, and those under way or queued.
-- total is how many have ended; each entry is JSON. branch ('' for the run that was started) is a
-- child that there has to be; the attempts are those of the whole tree.
-- INCLUDE record attempts
-- KEYS run
-- ARGV run_id branch
-- RETURNS ok now total kept live | deleted | missing
local function under_way(key)
  local task = get_task(key)
  if task and (task.state == 'running' or task.state == 'queued') then
    return attempt_entry(key, task)
  end
end

local state = load_run(true)
if state then return {state} end
if branch ~= '' and not get_task(branch) then return {'missing'} end
local total, names, kept, live = run.attempts or 0, {}, {}, {}
for number = math.max(1, total - MOST_KEPT + 1), total do
  names[#names + 1] = 'attempt:' .. int(number)
end
if names[1] then
  for _, entry in ipairs(redis.call('HMGET', TASKS, unpack(names))) do
    -- An older version may have failed the run, which took what was kept.
    if entry then kept[#kept + 1] = entry end
  end
end
for _, key in ipairs(run.live) do
  local is_read, entry = pcall(under_way, key)
  -- One whose task is damaged hides no other.
  if is_read then live[#live + 1] = entry end
end
return {'ok', int(now), int(total), kept, live}
