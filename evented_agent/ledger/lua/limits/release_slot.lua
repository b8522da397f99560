-- release_slot: a background call is done; who has waited longest.
-- most says how many of those that wait to name; gone are calls that no longer wait.
-- KEYS waiting holders...
-- ARGV holder most gone...
-- RETURNS (calls that wait, the longest first)
for i = HOLDERS_AT, #KEYS do redis.call('ZREM', KEYS[i], holder) end
redis.call('ZREM', WAITING, holder)
for i = GONE_AT, #ARGV do redis.call('ZREM', WAITING, ARGV[i]) end
return redis.call('ZRANGE', WAITING, 0, tonumber(most) - 1)
