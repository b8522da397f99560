-- add_counts: adds what a process has done to the counters, at most once.
-- number says which batch of the process this is, is_again is 1 if it was sent before: it is
-- lost where nobody knows whether it came. Beyond most counters, new ones are counted under no
-- agent. A series has two hashes in turn, each for as long as the whole: that of the time before is
-- begun anew. Its fields are "stretch name agent"; of a peak the largest is kept, in series alone.
-- INCLUDE clock
-- KEYS total sender hour0 hour1 day0 day1
-- ARGV number is_again hour_ms minute_ms day_ms half_hour_ms kept_ms most most_in_series counts...
-- RETURNS ok | already | lost
local SENDER_MS, PERIOD = 3600000, 'period'
local last = redis.call('GET', SENDER)
if last and tonumber(last) >= tonumber(number) then return {'already'} end
if is_again == '1' and not last then return {'lost'} end
-- First of all: whatever is refused below is lost rather than counted twice.
redis.call('SET', SENDER, number, 'PX', SENDER_MS)

local function half_of(halves, span_ms, step_ms)
  span_ms = tonumber(span_ms)
  local period = math.floor(now / span_ms)
  local key = halves[period % 2 + 1]
  if redis.call('HGET', key, PERIOD) ~= int(period) then
    redis.call('DEL', key)
    redis.call('HSET', key, PERIOD, int(period))
  end
  redis.call('PEXPIRE', key, int(2 * span_ms))
  return {key = key, stretch = int(math.floor(now % span_ms / tonumber(step_ms))) .. ' '}
end

local function bounded(key, field, prefix, limit)
  if redis.call('HLEN', key) < tonumber(limit) or redis.call('HEXISTS', key, field) == 1 then
    return field
  end
  return prefix .. string.match(field, '^' .. prefix .. '(%S+)') .. ' '
end

local series = {half_of({HOUR0, HOUR1}, hour_ms, minute_ms), half_of({DAY0, DAY1}, day_ms,
  half_hour_ms)}
for i = COUNTS_AT, #ARGV, 2 do
  local name, by = ARGV[i], ARGV[i + 1]
  local is_peak = string.find(name, '^%S+_peak_ms ') ~= nil
  if not is_peak then
    -- A sum that cannot grow any more keeps the others from nothing.
    redis.pcall('HINCRBY', TOTAL, bounded(TOTAL, name, '', most), by)
  end
  for _, half in ipairs(series) do
    local field = bounded(half.key, half.stretch .. name, half.stretch, most_in_series)
    if not is_peak then
      redis.pcall('HINCRBY', half.key, field, by)
    elseif tonumber(by) > (tonumber(redis.call('HGET', half.key, field) or '') or -1) then
      redis.call('HSET', half.key, field, by)
    end
  end
end
redis.call('PEXPIRE', TOTAL, kept_ms)
return {'ok'}
