-- slots: how many calls count against each limit.
-- INCLUDE clock
-- KEYS holders...
-- RETURNS (a number for each key)
local held = {}
for i = 1, #KEYS do held[i] = redis.call('ZCOUNT', KEYS[i], '(' .. int(now), '+inf') end
return held
