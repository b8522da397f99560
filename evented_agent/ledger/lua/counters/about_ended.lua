-- about_ended: of which agent ended runs are, and how long they took.
-- KEYS runs...
-- RETURNS (agent and milliseconds from creation to end, of each; '' and 0 where it is gone)
local found = {}
for i = 1, #KEYS do
  local agent, acting, created, ended = unpack(redis.call('HMGET', KEYS[i], 'agent', 'acting',
    'created', 'ended'))
  local took = (tonumber(ended or '') or 0) - (tonumber(created or '') or 0)
  found[i] = {acting or agent or '', string.format('%.0f', math.max(0, ended and took or 0))}
end
return found
