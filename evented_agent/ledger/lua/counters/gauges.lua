-- gauges: how many runs of each status a shard has, how old they are, and what is overdue.
-- How many of them are of which agent is told where looking costs at most budget comparisons.
-- late_ms is how late a look at an alarm, or a message that counts as lost, counts as overdue.
-- INCLUDE clock
-- KEYS alarms bells queued running suspended finished failed aborted agents...
-- ARGV late_ms budget
-- RETURNS (how many of each status, ages in ms of the oldest live ones or -1, how many are overdue,
--   for each agent how many are queued, running, suspended; or nothing)
local counts, ages, agents = {}, {}, {}
local live = {QUEUED, RUNNING, SUSPENDED}
for i = 3, 8 do counts[#counts + 1] = redis.call('ZCARD', KEYS[i]) end
for i, status in ipairs(live) do
  local oldest = redis.call('ZRANGE', status, 0, 0, 'WITHSCORES')
  ages[i] = oldest[2] and int(math.max(0, now - tonumber(oldest[2]))) or '-1'
end
local before = int(now - tonumber(late_ms))
local overdue = redis.call('ZCOUNT', ALARMS, '-inf', before)
  + redis.call('ZCOUNT', BELLS, '-inf', before)
local size, others = counts[1] + counts[2] + counts[3], #KEYS - AGENTS_AT + 1
if size * others > tonumber(budget) then return {counts, ages, overdue, agents} end

local function common(status, agent)
  local found = redis.pcall('ZINTERCARD', 2, status, agent)
  if type(found) == 'number' then return found end
  -- Redis 6 does not have that command.
  found = 0
  for _, run_id in ipairs(redis.call('ZRANGE', status, 0, -1)) do
    if redis.call('ZSCORE', agent, run_id) then found = found + 1 end
  end
  return found
end

for i = AGENTS_AT, #KEYS do
  for _, status in ipairs(live) do agents[#agents + 1] = common(status, KEYS[i]) end
end
return {counts, ages, overdue, agents}
