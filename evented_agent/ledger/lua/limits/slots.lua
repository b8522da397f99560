-- slots: how many hold each limit. KEYS the limits' holders
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local held = {}
for i = 1, #KEYS do held[i] = redis.call('ZCOUNT', KEYS[i], '(' .. string.format('%.0f', now), '+inf') end
return held
