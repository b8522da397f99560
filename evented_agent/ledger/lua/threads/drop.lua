-- drop: forgets a conversation, what lists show of it, and where each run is in it.
-- That a run was forgotten stays known: an attempt of it may be under way.
-- INCLUDE conversation
-- KEYS thread
-- RETURNS (1)
redis.call('UNLINK', LOG, ABOUT, SENT)
for _, index in ipairs({LISTED, OWNED}) do redis.call('ZREM', index, digest_in_lists()) end
local places = redis.call('HGETALL', PLACES)
for i = 1, #places, 2 do
  local _, length = place_of(places[i + 1])
  if length ~= LONGEST then redis.call('HDEL', PLACES, places[i]) end
end
return 1
