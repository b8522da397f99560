-- tick: one watchdog of the fleet looks at the alarms of one shard.
-- last is the Redis time of its last look (0: none), elapsed the ms since then by its own clock,
-- saw_pause 1 if it saw Redis pause; most is how many runs of either kind to name. A silence of
-- pause_ms counts as a pause; leases get grace_ms extra after one.
-- INCLUDE clock
-- KEYS lock alarms pulse bells
-- ARGV watchdog lock_ms last elapsed saw_pause most pause_ms grace_ms
-- RETURNS ok now grace due unconfirmed why | other now wait_ms
local holder, left = redis.call('GET', LOCK), redis.call('PTTL', LOCK)
-- One that would last longer than any can was taken before the clock went back.
if holder and holder ~= watchdog and left >= 0 and left <= tonumber(lock_ms) then
  return {'other', int(now), left}
end
redis.call('SET', LOCK, watchdog, 'PX', lock_ms)

-- A Redis that was paused, restarted, or whose clock jumped could not take heartbeats: healthy
-- attempts must get the chance to renew before anybody calls them dead.
-- Who may not ask which server it is still sees that time went by.
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local pulse = redis.call('HMGET', PULSE, 'server', 'grace', 'now')
local grace = math.min(tonumber(pulse[2] or '0'), now + tonumber(grace_ms))
local before = tonumber(pulse[3] or '0')
last, elapsed, pause_ms = tonumber(last), tonumber(elapsed), tonumber(pause_ms)
local restarted = pulse[1] and pulse[1] ~= server
-- Whoever looked before may be dead, and this watchdog may have begun after the jump.
local went_back = before - now > pause_ms
local jumped = went_back or last > 0 and math.abs((now - last) - elapsed) > pause_ms
local paused = saw_pause == '1'
local why = restarted and 'restarted' or paused and 'paused' or jumped and 'jumped in time' or ''
if why ~= '' then grace = now + tonumber(grace_ms) end
-- After a jump back, what was to ring within ten minutes of the old clock is looked at now.
if went_back then
  for _, key in ipairs({ALARMS, BELLS}) do
    local ids = redis.call('ZRANGEBYSCORE', key, '(' .. int(now), int(before + 600000))
    for _, id in ipairs(ids) do redis.call('ZADD', key, int(now), id) end
  end
end
redis.call('HSET', PULSE, 'server', server, 'grace', int(grace), 'now', int(now))
local due = redis.call('ZRANGEBYSCORE', ALARMS, '-inf', now, 'LIMIT', 0, tonumber(most))
local unconfirmed = redis.call('ZRANGEBYSCORE', BELLS, '-inf', now, 'LIMIT', 0, tonumber(most))
return {'ok', int(now), int(grace), due, unconfirmed, why}
