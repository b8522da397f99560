-- leave_thread: a run's turn is over; whose turn it is now, or ''. KEYS 1 turns. ARGV 1 run id
redis.call('LREM', KEYS[1], 0, ARGV[1])
return redis.call('LINDEX', KEYS[1], 0) or ''
