-- read: a consistent view of one run, for people and results.
-- journal is 1 to include the journal.
-- INCLUDE record
-- KEYS run
-- ARGV run_id journal
-- RETURNS ok now fields tasks last_entry_id entries decided | deleted | missing
local state = load_run()
if state then return {state} end
local tasks = {}
for _, key in ipairs(run.live) do
  local task = redis.call('HGET', TASKS, key)
  if task then tasks[#tasks + 1], tasks[#tasks + 2] = key, task end
end
local last = redis.call('XREVRANGE', TOPIC, '+', '-', 'COUNT', 1)
local entries = {}
if journal == '1' then entries = redis.call('LRANGE', JOURNAL, 0, -1) end
local decided = {}
if redis.call('HEXISTS', TASKS, 'latest:') == 1 then
  for _, name in ipairs(redis.call('HKEYS', TASKS)) do
    if string.sub(name, 1, 8) == 'decided:' then
      decided[#decided + 1] = redis.call('HGET', TASKS, name)
    end
  end
end
return {'ok', int(now), redis.call('HGETALL', RUN), tasks, last[1] and last[1][1] or '', entries,
  decided}
