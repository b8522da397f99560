-- tick: one watchdog of the fleet looks at the alarms of one shard.
-- KEYS 1 lock, 2 alarms, 3 pulse, 4 bells. ARGV 1 watchdog, 2 lock ms, 3 Redis time of its last tick (0: none),
-- 4 ms since then by its own clock, 5 1 if it saw Redis pause, 6 most runs of either kind,
-- 7 ms that count as a pause, 8 ms that leases get extra after one
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function int(n) return string.format('%.0f', n) end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {'other', int(now), redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])

-- A Redis that was paused, restarted, or whose clock jumped could not take heartbeats: healthy
-- attempts must get the chance to renew before anybody calls them dead.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local pulse = redis.call('HMGET', KEYS[3], 'server', 'grace')
local grace = tonumber(pulse[2] or '0')
local last, elapsed, pause = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[7])
local restarted = pulse[1] and pulse[1] ~= server
local jumped = last > 0 and math.abs((now - last) - elapsed) > pause
local paused = ARGV[5] == '1'
local why = restarted and 'restarted' or paused and 'paused' or jumped and 'jumped in time' or ''
if why ~= '' then grace = now + tonumber(ARGV[8]) end
redis.call('HSET', KEYS[3], 'server', server, 'grace', int(grace))
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, tonumber(ARGV[6]))
local unheard = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, tonumber(ARGV[6]))
return {'ok', int(now), int(grace), due, unheard, why}
