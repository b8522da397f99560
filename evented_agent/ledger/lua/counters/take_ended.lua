-- take_ended: runs that have ended since this was asked last; each is told once at most.
-- most is how many of each status to tell at a time.
-- INCLUDE clock
-- KEYS cursor finished failed aborted
-- ARGV most
-- RETURNS (ids of runs that finished, that failed, that were aborted)
local KEPT_MS = 86400000
local from, found = tonumber(redis.call('GET', CURSOR) or now), {}
-- Of this millisecond, another may still come. A cursor beyond it is of before the clock went back.
local upto = now - 1
from = math.min(from, upto)
for i, status in ipairs({FINISHED, FAILED, ABORTED}) do
  local ended = redis.call('ZRANGEBYSCORE', status, '(' .. int(from), int(upto), 'WITHSCORES',
    'LIMIT', 0, tonumber(most))
  found[i] = ended
  -- The rest is told next time, of the last millisecond all; so are those that ended later.
  if #ended == 2 * tonumber(most) then upto = math.max(from + 1, tonumber(ended[#ended]) - 1) end
end
for i, ended in ipairs(found) do
  local ids = {}
  for j = 1, #ended, 2 do
    if tonumber(ended[j + 1]) <= upto then ids[#ids + 1] = ended[j] end
  end
  found[i] = ids
end
redis.call('SET', CURSOR, int(upto), 'PX', KEPT_MS)
return found
