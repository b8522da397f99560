-- read: a consistent view of one run for people and results.
-- ARGV 2 1 to include the journal
local state = load_run()
if state then return {state} end
local tasks = {}
for _, key in ipairs(run.live) do
  tasks[#tasks + 1] = key
  tasks[#tasks + 1] = redis.call('HGET', TASKS, key)
end
local last = redis.call('XREVRANGE', TOPIC, '+', '-', 'COUNT', 1)
local entries = {}
if ARGV[2] == '1' then entries = redis.call('LRANGE', JOURNAL, 0, -1) end
return {'ok', int(now), redis.call('HGETALL', RUN), tasks, last[1] and last[1][1] or '', entries}
