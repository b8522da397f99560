-- drop: forgets a conversation, what lists show of it, and where each run is in it.
-- That a run was forgotten stays known: an attempt of it may be under way.
-- INCLUDE conversation
-- KEYS thread
-- RETURNS (1)
redis.call('UNLINK', LOG, ABOUT, SENT)
for _, index in ipairs({LISTED, OWNED}) do redis.call('ZREM', index, digest_in_lists()) end
forget_places()
return 1
