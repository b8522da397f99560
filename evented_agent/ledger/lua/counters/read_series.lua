-- read_series: what was counted in each stretch of a series, in its two halves of span_ms each.
-- INCLUDE clock
-- KEYS half0 half1
-- ARGV span_ms
-- RETURNS (the time, fields with their values of the half before, and of that of now)
local of = math.floor(now / tonumber(span_ms)) % 2
local halves = {HALF0, HALF1}
return {int(now), redis.call('HGETALL', halves[2 - of]), redis.call('HGETALL', halves[of + 1])}
