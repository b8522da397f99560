-- count_idle: how many of some runs only wait for their calls in the background, by agent.
-- KEYS records...
-- RETURNS (ids of agents, each followed by how many)
local counts, found = {}, {}
for _, record in ipairs(KEYS) do
  local status, agent, idle = unpack(redis.call('HMGET', record, 'status', 'agent', 'idle'))
  -- One that waits for people as well is suspended.
  if status == 'running' and (tonumber(idle or 0) or 0) > 0 then
    counts[agent] = (counts[agent] or 0) + 1
  end
end
for agent, count in pairs(counts) do
  found[#found + 1], found[#found + 2] = agent, count
end
return found
