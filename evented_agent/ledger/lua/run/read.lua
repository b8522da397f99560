-- read: a consistent view of one run, for people and results.
-- branch names a child of it, or is ''; journal is 1 to include its journal. The last of the reply
-- are the children of the tree, each its branch and its record, and what the child was asked.
-- INCLUDE record tasks
-- KEYS run
-- ARGV run_id branch journal
-- RETURNS ok now fields tasks last_entry_id entries decided children messages | deleted | missing
local state = load_run(true)
if state then return {state} end
local tasks = {}
for _, key in ipairs(run.live) do
  local task = redis.call('HGET', TASKS, key)
  if task then tasks[#tasks + 1], tasks[#tasks + 2] = key, task end
end
local last = redis.call('XREVRANGE', TOPIC, '+', '-', 'COUNT', 1)
local children, messages, named = {}, '', {}
if run.children then named = redis.call('HKEYS', TASKS) end
for _, name in ipairs(named) do
  if string.find(name, '^~[%d~]+$') then
    children[#children + 1], children[#children + 2] = name, redis.call('HGET', TASKS, name)
  end
end
if branch ~= '' then
  if not get_task(branch) then return {'missing'} end
  messages = redis.call('HGET', BLOBS, branch .. '/messages') or ''
end
local entries = {}
if journal == '1' then entries = entries_of(branch, 0, -1) end
local decided = {}
if redis.call('HEXISTS', TASKS, 'latest:') == 1 then
  for _, name in ipairs(redis.call('HKEYS', TASKS)) do
    if string.sub(name, 1, 8) == 'decided:' then
      decided[#decided + 1] = redis.call('HGET', TASKS, name)
    end
  end
end
return {'ok', int(now), redis.call('HGETALL', RUN), tasks, last[1] and last[1][1] or '', entries,
  decided, children, messages}
