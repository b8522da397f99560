-- drop: forgets a conversation, and where each run is in it.
-- That a run was forgotten stays known: an attempt of it may be under way.
-- KEYS log places
-- RETURNS (1)
local LONGEST = '9007199254740991'
redis.call('UNLINK', LOG)
local places = redis.call('HGETALL', PLACES)
for i = 1, #places, 2 do
  if string.match(places[i + 1], ':(%d+)') ~= LONGEST then redis.call('HDEL', PLACES, places[i]) end
end
return 1
