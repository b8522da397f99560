-- enter: a run waits for its turn in a thread. KEYS 1 turns. ARGV 1 run id, 2 ms to keep it
if not redis.call('LPOS', KEYS[1], ARGV[1]) then redis.call('RPUSH', KEYS[1], ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('LINDEX', KEYS[1], 0)
