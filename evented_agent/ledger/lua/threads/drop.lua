-- drop: forget a conversation. KEYS 1 conversation, 2 where each run is in it
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
