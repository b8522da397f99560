-- drop: forgets a conversation, and where each run is in it.
-- KEYS log places
-- RETURNS (1)
redis.call('UNLINK', LOG, PLACES)
return 1
