-- release_slot: a background call is done; who has waited longest. KEYS as take_slot. ARGV 1 call,
-- 2 how many of those that wait, 3.. of them that no longer do
for i = 2, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 3, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
return redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)
