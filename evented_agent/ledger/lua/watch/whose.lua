-- whose: which queue and agent runs are of, and the format of their records.
-- KEYS runs...
-- RETURNS (queue, agent, format and acting agent for each)
local found = {}
for i = 1, #KEYS do
  found[i] = redis.call('HMGET', KEYS[i], 'queue', 'agent', 'v', 'acting')
end
return found
