-- workers: who lives; those that were silent for silence_ms are forgotten.
-- One that was heard of in the future was so before the clock went back; it soon is again.
-- INCLUDE clock
-- KEYS workers
-- ARGV silence_ms
-- RETURNS (workers, each followed by its state)
local all = redis.call('HGETALL', WORKERS)
local live = {}
for i = 1, #all, 2 do
  if math.abs(now - cjson.decode(all[i + 1]).pulse) > tonumber(silence_ms) then
    redis.call('HDEL', WORKERS, all[i])
  else
    live[#live + 1] = all[i]
    live[#live + 1] = all[i + 1]
  end
end
return live
