-- read_counts: the counters, all of them and those of the last periods of bucket_ms.
-- INCLUDE clock
-- KEYS total buckets...
-- ARGV bucket_ms
-- RETURNS (counters with their values, and a list of the same for each bucket of the time before)
local period, found = math.floor(now / tonumber(bucket_ms)), {}
for i = BUCKETS_AT, #KEYS do
  local of = tonumber(redis.call('HGET', KEYS[i], 'period') or 0)
  if of > period - (#KEYS - BUCKETS_AT + 1) and of <= period then
    found[#found + 1] = redis.call('HGETALL', KEYS[i])
  end
end
return {redis.call('HGETALL', TOTAL), found}
