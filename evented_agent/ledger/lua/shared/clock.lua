-- clock: the time of the Redis server, the only clock that counts.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Lua's own form of a number this large would lose digits.
local function int(n) return string.format('%.0f', n) end
